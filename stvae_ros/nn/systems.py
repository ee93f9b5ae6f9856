"""The ten systems of the paper by name: Table 1 (final version) and Table 2 (first version, "v1")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from stvae_ros.nn.autoencoder import spatial_decoder, spatial_encoder
from stvae_ros.nn.conv_lstm import conv_memory
from stvae_ros.nn.flow_regressor import FlowRegressor
from stvae_ros.nn.interface import FramePredictor
from stvae_ros.nn.lstm import FullyConnectedMemory
from stvae_ros.nn.stacked_frames import StackedFrames
from stvae_ros.nn.video_autoencoder import VideoAutoencoder


def convolutional(
    encoder: Sequence[int],
    memory: Sequence[int],
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
    """A system with ConvLSTM memory, for frames of any size.

    encoder: filters of each CPD module. memory: channels of each ConvLSTM. flow: move the features, else
    decode the memory, whose channels must then be those of the encoder. flow_bias, flow_scale: see `FlowRegressor`.
    huber_weight: w_H. encoder_gain: 0 for the paper's initialisation of E; see `autoencoder.contrast`.
    sigmoid, untied_first_step, recurrent_flow: see `VideoAutoencoder`, `ConvLSTMCell`, `FlowRegressor`.
    """
    channels = (in_channels, *encoder)
    theta = None
    if flow:
        theta = FlowRegressor(
            memory[-1], huber_weight=huber_weight, bias=flow_bias, scale=flow_scale, recurrent=recurrent_flow
        )
    return VideoAutoencoder(
        spatial_encoder(channels, gain=encoder_gain),
        conv_memory((encoder[-1], *memory), untied_first_step),
        theta,
        spatial_decoder(channels[::-1]),
        in_channels,
        2 ** len(encoder),
        sigmoid=sigmoid,
    )


def fully_connected(
    hidden: Sequence[int],
    encoder: Sequence[int] = (16, 32),
    flow: bool = True,
    peepholes: bool = False,
    frame_size: tuple[int, int] = (64, 64),
    in_channels: int = 1,
    huber_weight: float = 1e-2,
    encoder_gain: float = 0.0,
    sigmoid: bool = False,
    untied_first_step: bool = False,
    recurrent_flow: bool = False,
) -> VideoAutoencoder:
    """A system with LSTMs on vectors, for frames of one size, (height, width) = ``frame_size``.

    hidden: units of the linear layer before the LSTMs and of each LSTM. With ``flow`` the last hidden vector,
    reshaped to maps, gives the flow; without, a linear layer brings it back to the features, which are decoded.
    The other arguments are those of `convolutional`.
    """
    downscaling = 2 ** len(encoder)
    channels = (in_channels, *encoder)
    features = (encoder[-1], frame_size[0] // downscaling, frame_size[1] // downscaling)
    memory = FullyConnectedMemory(features, hidden, None if flow else features, peepholes, untied_first_step)
    theta = FlowRegressor(memory.out_channels, huber_weight=huber_weight, recurrent=recurrent_flow) if flow else None
    return VideoAutoencoder(
        spatial_encoder(channels, gain=encoder_gain),
        memory,
        theta,
        spatial_decoder(channels[::-1]),
        in_channels,
        downscaling,
        frame_size=(frame_size[0], frame_size[1]),
        sigmoid=sigmoid,
    )


SYSTEMS: Mapping[str, Callable[..., FramePredictor]] = {
    "ae-conv": StackedFrames,
    "ae-fclstm": partial(fully_connected, hidden=(1024, 1024, 1024), flow=False),
    "ae-convlstm": partial(convolutional, encoder=(16,), memory=(64, 16), flow=False),
    "ae-convlstm-flow": partial(convolutional, encoder=(16,), memory=(64,)),
    "conv-1enc-1lstm": partial(convolutional, encoder=(32,), memory=(45,), flow_bias=True, flow_scale=True),
    "conv-1enc-2lstm": partial(convolutional, encoder=(32,), memory=(64, 128)),
    "conv-2enc-1lstm": partial(convolutional, encoder=(16, 32), memory=(64,)),
    "conv-2enc-2lstm": partial(convolutional, encoder=(16, 32), memory=(64, 128)),
    "fc-2enc-1lstm": partial(fully_connected, hidden=(2048, 2048), peepholes=True),
    "fc-2enc-2lstm": partial(fully_connected, hidden=(2048, 2048, 2048), peepholes=True),
}
