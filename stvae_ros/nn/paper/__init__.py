"""The ten systems of arXiv 1511.06309."""
