"""The outputs of one camera: which there are, how each is made, and who wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import Image

from stvae_ros.nodes.conversion import array_to_image, to_time
from stvae_ros.streaming import Motion
from stvae_ros.visualization.flow_color import flow_to_color


@dataclass(frozen=True)
class Output:
    """An output topic. ``make`` returns None where this frame has nothing to publish.

    of_next_frame: the message is about the next frame and carries its stamp.
    """

    name: str
    make: Callable[[Motion, float], tuple[NDArray[np.generic], str] | None]
    of_next_frame: bool = False


def _image(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], str]:
    return array, "mono8" if array.ndim == 2 else "bgr8"


def _flow_color(motion: Motion, color_max: float) -> tuple[NDArray[np.generic], str]:
    height, width = motion.image.shape[:2]
    # Colours are looked up at processing size, a fraction of the pixels, and then scaled like the flow itself.
    colors = flow_to_color(motion.small_flow, color_max or width / 40)
    return cv2.resize(colors, (width, height), interpolation=cv2.INTER_LINEAR), "bgr8"


def _surprise(motion: Motion, color_max: float) -> tuple[NDArray[np.generic], str] | None:
    return None if motion.surprise is None else (motion.surprise, "32FC1")


OUTPUTS = (
    Output("flow", lambda motion, _: (motion.flow, "32FC2")),
    Output("prediction", lambda motion, _: _image(motion.prediction), of_next_frame=True),
    Output("flow_color", _flow_color),
    Output("surprise", _surprise),
    Output("decoded", lambda motion, _: _image(motion.decoded), of_next_frame=True),
)


def messages(motion: Motion, wanted: Iterable[Output], frame_id: str, color_max: float) -> Iterable[tuple[str, Image]]:
    """Yield (output name, message) for each wanted output that this frame has.

    frame_id: of the input. color_max: parameter flow_color_max, in pixels per frame, 0 for the default.
    """
    for output in wanted:
        made = output.make(motion, color_max)
        if made is not None:
            array, encoding = made
            stamp = to_time(motion.next_stamp if output.of_next_frame else motion.stamp)
            yield output.name, array_to_image(array, encoding, stamp, frame_id)


def is_wanted(publisher: LifecyclePublisher) -> bool:
    """Whether somebody subscribes."""
    return publisher.get_subscription_count() > 0
