"""The `stvae` command."""
