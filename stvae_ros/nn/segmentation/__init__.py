"""Semantic segmentation networks."""
