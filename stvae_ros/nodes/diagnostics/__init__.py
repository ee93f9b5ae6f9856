"""Diagnostics of the perception node."""
