"""Evaluation on the camera topics of rosbags."""
