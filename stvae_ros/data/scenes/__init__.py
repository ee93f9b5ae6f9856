"""Synthetic scenes with exact flow, occlusion and labels."""
