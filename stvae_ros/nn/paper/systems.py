"""The ten systems of the paper (arXiv 1511.06309): Table 1 of the final version, Table 2 of the first version, "v1"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.layers.conv_lstm import conv_memory
from stvae_ros.nn.layers.memory import MemoryStack
from stvae_ros.nn.paper.autoencoder import spatial_decoder, spatial_encoder
from stvae_ros.nn.paper.flow_regressor import FlowRegressor
from stvae_ros.nn.paper.lstm import FullyConnectedMemory
from stvae_ros.nn.paper.stacked_frames import StackedFrames
from stvae_ros.nn.paper.video_autoencoder import VideoAutoencoder


def recurrent(
    encoder: Sequence[int],
    memory: Sequence[int],
    frame_size: Sequence[int] | None = None,
    peepholes: bool = False,
    flow: bool = True,
    flow_bias: bool = False,
    flow_scale: bool = False,
    in_channels: int = 1,
    huber_weight: float = 1e-2,
    encoder_gain: float = 0.0,
    sigmoid: bool = False,
    untied_first_step: bool = False,
    recurrent_flow: bool = False,
) -> VideoAutoencoder:
    """Build a recurrent system of the paper.

    Args:
        encoder: output channels of each CPD module of E; D mirrors them.
        memory: channels of each ConvLSTM. With ``frame_size``: units of the linear layer and of each fully connected
            LSTM.
        frame_size: (height, width) of the frames of a fully connected system. None builds a convolutional system, which
            takes frames of any size.
        peepholes: whether fully connected LSTMs have peepholes.
        flow: whether the hidden state gives a flow that warps the features. Otherwise D decodes the hidden state, so
            the last ConvLSTM must have the channels of the last CPD module.
        flow_bias, flow_scale, recurrent_flow: ``bias``, ``scale`` and ``recurrent`` of `FlowRegressor`.
        in_channels: channels of a frame.
        huber_weight: w_H.
        encoder_gain: see `zero_mean_filters`; 0 for the paper's initialisation.
        sigmoid: see `VideoAutoencoder`.
        untied_first_step: see `MemoryStack`.
    """
    channels = (in_channels, *encoder)
    downscaling = 2 ** len(encoder)
    stack: MemoryStack | FullyConnectedMemory
    if frame_size is None:
        stack, hidden_channels = conv_memory((encoder[-1], *memory), untied_first_step), memory[-1]
    else:
        features = (encoder[-1], frame_size[0] // downscaling, frame_size[1] // downscaling)
        stack = FullyConnectedMemory(features, memory, None if flow else features, peepholes, untied_first_step)
        hidden_channels = stack.out_channels
    theta = None
    if flow:
        theta = FlowRegressor(
            hidden_channels, huber_weight=huber_weight, bias=flow_bias, scale=flow_scale, recurrent=recurrent_flow
        )
    return VideoAutoencoder(
        spatial_encoder(channels, gain=encoder_gain),
        stack,
        theta,
        spatial_decoder(channels[::-1]),
        in_channels,
        downscaling,
        None if frame_size is None else (frame_size[0], frame_size[1]),
        sigmoid,
    )


_fully_connected = partial(recurrent, encoder=(16, 32), frame_size=(64, 64))

SYSTEMS: Mapping[str, Callable[..., FramePredictor]] = {
    "ae-conv": StackedFrames,
    "ae-fclstm": partial(_fully_connected, memory=(1024, 1024, 1024), flow=False),
    "ae-convlstm": partial(recurrent, encoder=(16,), memory=(64, 16), flow=False),
    "ae-convlstm-flow": partial(recurrent, encoder=(16,), memory=(64,)),
    "conv-1enc-1lstm": partial(recurrent, encoder=(32,), memory=(45,), flow_bias=True, flow_scale=True),
    "conv-1enc-2lstm": partial(recurrent, encoder=(32,), memory=(64, 128)),
    "conv-2enc-1lstm": partial(recurrent, encoder=(16, 32), memory=(64,)),
    "conv-2enc-2lstm": partial(recurrent, encoder=(16, 32), memory=(64, 128)),
    "fc-2enc-1lstm": partial(_fully_connected, memory=(2048, 2048), peepholes=True),
    "fc-2enc-2lstm": partial(_fully_connected, memory=(2048, 2048, 2048), peepholes=True),
}
"""Constructors by name; rows of Table 1, then of Table 2."""
