"""Running a network over live cameras: memory, time rules and outputs; arrays in, arrays out."""

from stvae_ros.streaming.predictor import Frame, FrameError, StreamingPredictor
from stvae_ros.streaming.step_result import StepResult

__all__ = ["Frame", "FrameError", "StepResult", "StreamingPredictor"]
