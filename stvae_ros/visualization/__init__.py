"""Drawing: flow colours, event colours, class colours, panels and animations."""
