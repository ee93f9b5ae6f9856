"""Motion memory for robot cameras: next frame, dense flow and change images from a ConvLSTM."""

from stvae_ros.resources import package_version

__version__ = package_version()
