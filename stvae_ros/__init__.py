"""Motion memory for robot cameras: next frame, dense flow and change images from a ConvLSTM."""

__version__ = "0.1.0"
