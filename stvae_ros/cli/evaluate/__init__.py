"""The subcommands of `stvae evaluate`."""
