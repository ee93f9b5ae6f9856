"""Predicting further than one frame: the network is shown its own predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from stvae_ros.nn.interface import FramePredictor, Prediction, State
from stvae_ros.nn.layers.warp import warp


def predicted_frame(network: FramePredictor, frame: Tensor, prediction: Prediction) -> Tensor:
    """What ``network`` expects after ``frame``, (B, C, H, W) in [0, 1].

    Its own frame if it draws detail or has no flow, else the frame moved by its flow, which is sharper.
    """
    if network.draws_detail or prediction.flow is None:
        return prediction.frame.float().clamp(0, 1)
    return warp(frame, prediction.flow)


def rollout(
    network: FramePredictor, frame: Tensor, prediction: Prediction, state: State, horizon: int
) -> list[Prediction]:
    """Predictions 1, 2, ... ``horizon`` frames after ``frame``, of which ``prediction`` is the first.

    state: after ``frame``; it is not changed. The flow of each prediction leads from its frame back to ``frame``, and
    its confidence is the product of those on the way.
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
