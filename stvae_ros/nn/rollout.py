"""Prediction of several frames ahead, by feeding the network its own predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.layers.warp import warp


def predicted_frame(network: FramePredictor, frame: Tensor, prediction: Prediction) -> Tensor:
    """The predicted next frame, (B, C, H, W) in [0, 1].

    It is the network's own frame if that has detail or if there is no flow, else ``frame`` warped by the flow, which is
    sharper.

    Args:
        network: The network that made the prediction.
        frame: The frame that it was made from (B, C, H, W).
        prediction: The prediction.
    """
    if network.draws_detail or prediction.flow is None:
        return prediction.frame.float().clamp(0, 1)
    return warp(frame, prediction.flow)


def rollout(
    network: FramePredictor, frame: Tensor, prediction: Prediction, state: State, horizon: int
) -> list[Prediction]:
    """Predictions of the next ``horizon`` frames.

    Args:
        network: The network.
        frame: The last frame (B, C, H, W).
        prediction: Prediction made from ``frame``.
        state: Memory after ``frame``. It is not changed.
        horizon: Number of frames, at least 1.

    Returns:
        One prediction for each frame, ``prediction`` first. Each flow leads from the predicted frame back to ``frame``,
        and each confidence is the product of the confidences on the way.
    """
    predictions = [prediction]
    for _ in range(horizon - 1):
        frame = predicted_frame(network, frame, prediction)
        prediction, state = network.step(frame, state)
        last = predictions[-1]
        flow, confidence = prediction.flow, prediction.confidence
        if flow is not None and last.flow is not None:
            if confidence is not None and last.confidence is not None:
                scale = confidence.shape[-1] / flow.shape[-1]
                small = torch.nn.functional.interpolate(flow, size=confidence.shape[-2:], mode="bilinear") * scale
                confidence = confidence * warp(last.confidence, small)
            flow = flow + warp(last.flow, flow)
        predictions.append(prediction._replace(flow=flow, confidence=confidence))
    return predictions
