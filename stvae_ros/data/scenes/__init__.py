"""Synthetic scenes with exact flow and visibility."""
