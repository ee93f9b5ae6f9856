"""The boxes of a detector for one camera in the node: vision_msgs/Detection2DArray in and out, if it is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from stvae_ros.nodes.conversion import array_to_image, to_nanoseconds, to_time
from stvae_ros.nodes.perception.carried_input import CarriedInput
from stvae_ros.streaming import StepResult
from stvae_ros.streaming.boxes import BoxPropagator, BoxSet
from stvae_ros.visualization.boxes import draw_boxes

try:
    from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, Point2D, Pose2D
except ImportError:  # missing, or older than 4.1
    BoundingBox2D = Detection2D = Detection2DArray = Point2D = Pose2D = None


__all__ = ["CameraDetections", "Detection2DArray"]


class CameraDetections(CarriedInput[Any]):
    """Receives and carries detections. `put` may be called from another thread than the other methods.

    Args:
        history: see `BoxPropagator`.
    """

    what = "detections"
    remedy = "lower the rate of the camera, or run the detector on other frames"

    def __init__(self, history: float = 2.0) -> None:
        self.propagator = BoxPropagator(history)
        super().__init__(self.propagator)

    def message(self, motion: StepResult, header: Header) -> Any:
        """Make the vision_msgs/Detection2DArray of a frame, or of the predicted frame for a horizon above 1.

        Args:
            motion: of the frame, to which `advance` has come.
            header: of its image.

        Returns:
            The message; None before the first detections.
        """
        ahead = len(motion.views) > 1
        found = self.propagator.boxes(ahead)
        if found is None:
            return None
        stamp = header.stamp
        if ahead:
            stamp = to_time(to_nanoseconds(stamp) + motion.next_stamp - motion.stamp)
        header = Header(stamp=stamp, frame_id=header.frame_id)
        height, width = motion.image.shape[:2]
        message = Detection2DArray(header=header)
        for given, box in zip(found.attached.detections, found.boxes, strict=True):
            if np.isfinite(box).all():
                bbox = _carried(given.bbox, box, width, height)
                message.detections.append(Detection2D(header=header, results=given.results, id=given.id, bbox=bbox))
        return message

    def drawn(self, motion: StepResult, message: Any) -> Image:
        """Draw the upright boxes and classes of `message` on the frame, or on the predicted frame. Returns bgr8."""
        boxes = np.array([_edges(detection.bbox) for detection in message.detections], np.float64).reshape(-1, 4)
        names = [
            max(each.results, key=_score).hypothesis.class_id if each.results else "" for each in message.detections
        ]
        picture = draw_boxes(motion.prediction if len(motion.views) > 1 else motion.image, boxes, names)
        return array_to_image(picture, "bgr8", message.header.stamp, message.header.frame_id)

    def values(self) -> dict[str, object]:
        """Values for /diagnostics; empty before the first detections."""
        values = super().values()
        if values:
            dropped = self.propagator.dropped
            values["boxes dropped"] = sum(dropped.values())
            values |= {f"boxes dropped: {reason}": count for reason, count in sorted(dropped.items())}
            values["detection age (s)"] = f"{self.propagator.age:.2f}"
        return values

    def _take(self, message: Any) -> None:
        boxes = np.array([_edges(detection.bbox) for detection in message.detections], np.float64).reshape(-1, 4)
        self.propagator.add(BoxSet(boxes, message), to_nanoseconds(message.header.stamp))


def _score(result: Any) -> float:
    return float(result.hypothesis.score)


def _edges(box: Any) -> tuple[float, float, float, float]:
    """Left, top, right and bottom edge of a vision_msgs/BoundingBox2D, or of the upright box around a rotated one."""
    x, y = box.center.position.x, box.center.position.y
    width, height = box.size_x, box.size_y
    if box.center.theta and math.isfinite(box.center.theta):
        cos, sin = abs(math.cos(box.center.theta)), abs(math.sin(box.center.theta))
        width, height = cos * width + sin * height, sin * width + cos * height
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _carried(given: Any, box: np.ndarray, width: int, height: int) -> Any:
    """The message of a carried box: upright ones are clipped to the image, rotated ones keep their angle.

    Args:
        given: vision_msgs/BoundingBox2D of the detector.
        box: its upright box in this frame, (4,).
        width, height: of the image.
    """
    if given.center.theta:
        left, _, right, _ = _edges(given)
        zoom = float((box[2] - box[0]) / (right - left))
        size = np.array([given.size_x, given.size_y]) * zoom
    else:
        box = np.clip(box, 0, (width, height, width, height))
        size = box[2:] - box[:2]
    x, y = (box[:2] + box[2:]) / 2
    center = Pose2D(position=Point2D(x=float(x), y=float(y)), theta=given.center.theta)
    return BoundingBox2D(center=center, size_x=float(size[0]), size_y=float(size[1]))
