"""The frames of a camera topic of a bag, each with its true flow and its labels where the bag has them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stvae_ros.data.bags.bag import Bag, BagImage, Message
from stvae_ros.data.image_messages import ImageError, floats_to_array, labels_to_array
from stvae_ros.evaluation.core.loop import Sample
from stvae_ros.streaming.flow import Flow
from stvae_ros.streaming.labels import LabelMap

_PATIENCE = 500_000_000
"""Nanoseconds of the bag's time that a frame waits for its ground truth."""
_REMEMBERED = 64
"""Largest number of ground-truth messages that wait for their frame, of each kind."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BagFrame(Sample):
    """A frame of a bag; its labels are true ones or a segmenter's.

    Args:
        time: when the bag recorded it, in nanoseconds.
        frame_id: of its header.
    """

    time: int
    frame_id: str


class Truth(NamedTuple):
    """Topics with the ground truth of a camera, None where there is none."""

    flow: str | None
    labels: str | None


def truth_topics(bag: Bag, camera: str, flow: str | None = None, labels: str | None = None) -> Truth:
    """Find the topics with ground truth.

    Args:
        bag: the bag.
        camera: the camera's topic.
        flow: a topic that the user chose, or None.
        labels: a topic that the user chose, or None.

    Returns:
        The chosen topics, else ``ground_truth/flow`` and ``ground_truth/labels`` beside the camera's topic, where
        `stvae bag make` and `video_publisher` write them.
    """
    namespace = camera.removesuffix("/compressed").rpartition("/")[0]
    found = []
    for given, kind in ((flow, "flow"), (labels, "labels")):
        default = f"{namespace}/ground_truth/{kind}"
        found.append(given or (default if default in bag.topics else None))
    return Truth(*found)


def bag_frames(bag: Bag, camera: str, truth: Truth, start: int, stop: int) -> Iterator[BagFrame]:
    """Read the frames of a camera in order; few frames are held at a time.

    Messages that cannot be read are left out and named in `Bag.problems`.

    Args:
        bag: the bag.
        camera: the camera's topic.
        truth: topics with ground truth; it is matched to frames by stamp.
        start: first time of recording, in nanoseconds.
        stop: end of the time of recording, in nanoseconds.
    """
    waiting: deque[BagImage] = deque()
    flows: OrderedDict[int, Flow] = OrderedDict()
    labels: OrderedDict[int, LabelMap] = OrderedDict()

    def joined(frame: BagImage) -> BagFrame:
        flow = flows.pop(frame.stamp, None)
        if flow is not None and flow.shape != (*frame.image.shape[:2], 2):
            bag.report(str(truth.flow), f"flow of {flow.shape[1]}x{flow.shape[0]} is not of the size of its frame")
            flow = None
        return BagFrame(
            frame.image,
            frame.stamp,
            flow=flow,
            labels=labels.pop(frame.stamp, None),
            time=frame.time,
            frame_id=frame.frame_id,
        )

    def is_ready(frame: BagImage, now: int) -> bool:
        known = (truth.flow is None or frame.stamp in flows) and (truth.labels is None or frame.stamp in labels)
        return known or now - frame.time > _PATIENCE

    topics = [topic for topic in (camera, *truth) if topic is not None]
    for message in bag.messages(topics, start, stop):
        if message.topic == camera:
            image = bag.decode(message)
            if image is not None:
                waiting.append(BagImage(image, message.stamp, message.time, message.frame_id))
        else:
            _remember(bag, message, truth, flows, labels)
        while waiting and is_ready(waiting[0], message.time):
            yield joined(waiting.popleft())
    while waiting:
        yield joined(waiting.popleft())


def _remember(
    bag: Bag, message: Message, truth: Truth, flows: OrderedDict[int, Flow], labels: OrderedDict[int, LabelMap]
) -> None:
    """Keep the ground truth of a message until its frame comes."""
    try:
        if message.topic == truth.flow:
            flows[message.stamp] = floats_to_array(message.message)
        else:
            labels[message.stamp] = labels_to_array(message.message)
    except ImageError as error:
        bag.report(message.topic, str(error))
    for known in (flows, labels):
        while len(known) > _REMEMBERED:
            known.popitem(last=False)
