"""Drawing: the flow colour code and picture strips."""
