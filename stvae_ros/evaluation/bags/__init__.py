"""Evaluation of the camera topics of rosbags."""
