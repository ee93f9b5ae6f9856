"""Running a network over live cameras: memory, time rules and outputs; arrays in, arrays out."""

from stvae_ros.streaming.motion import Motion
from stvae_ros.streaming.predictor import Frame, FrameError, StreamingPredictor

__all__ = ["Frame", "FrameError", "Motion", "StreamingPredictor"]
