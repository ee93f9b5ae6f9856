"""Layers and operations that several networks use."""
