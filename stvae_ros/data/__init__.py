"""Data of files as arrays, and back: videos, images, bags, synthetic scenes and training sequences."""
