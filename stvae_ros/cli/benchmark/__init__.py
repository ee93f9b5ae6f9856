"""The subcommands of `stvae benchmark`."""
