"""Training with Lightning: losses, modules, data modules and callbacks."""
