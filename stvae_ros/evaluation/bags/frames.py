"""The frames of a camera topic of a bag, each with its true flow and its labels where the bag has them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import NamedTuple

from stvae_ros.data.bags.bag import Bag, BagImage, Message
from stvae_ros.data.image_messages import ImageError, floats_to_array, labels_to_array
from stvae_ros.streaming.flow import Flow, Image
from stvae_ros.streaming.labels import LabelMap

_PATIENCE = 500_000_000
"""Nanoseconds of the bag that a frame waits for its truth."""
_REMEMBERED = 64


class BagFrame(NamedTuple):
    """A frame. flow: true forward flow to the next frame, (H, W, 2). labels: (h, w), true ones or a segmenter's."""

    image: Image
    stamp: int
    time: int
    frame_id: str
    flow: Flow | None = None
    labels: LabelMap | None = None


class Truth(NamedTuple):
    """Topics with the truth about a camera's frames, None where there is none."""

    flow: str | None
    labels: str | None


def truth_topics(bag: Bag, camera: str, flow: str | None = None, labels: str | None = None) -> Truth:
    """Where the bag has the truth: what is asked for, else ``ground_truth/flow`` and ``ground_truth/labels``.

    These are looked for beside the camera's topic, as `stvae bag make` and `video_publisher` name them.
    """
    namespace = camera.removesuffix("/compressed").rpartition("/")[0]
    found = [
        given or next((name for name in (f"{namespace}/ground_truth/{kind}",) if name in bag.topics), None)
        for given, kind in ((flow, "flow"), (labels, "labels"))
    ]
    return Truth(*found)


def bag_frames(bag: Bag, camera: str, truth: Truth, start: int, stop: int) -> Iterator[BagFrame]:
    """Frames recorded between start and stop, in nanoseconds, in order; truth is found by its stamp.

    What cannot be read is left out, and named in `Bag.problems`. Few frames are held at a time.
    """
    if truth == (None, None):
        for found in bag.images(camera, start, stop):
            yield BagFrame(found.image, found.stamp, found.time, found.frame_id)
        return
    waiting: deque[BagImage] = deque()
    flows: OrderedDict[int, Flow] = OrderedDict()
    labels: OrderedDict[int, LabelMap] = OrderedDict()

    def joined(frame: BagImage) -> BagFrame:
        flow = flows.pop(frame.stamp, None)
        if flow is not None and flow.shape != (*frame.image.shape[:2], 2):
            bag.report(str(truth.flow), f"flow of {flow.shape[1]}x{flow.shape[0]} is not of the size of its frame")
            flow = None
        return BagFrame(*frame, flow, labels.pop(frame.stamp, None))

    topics = [topic for topic in (camera, *truth) if topic is not None]
    for message in bag.messages(topics, start, stop):
        if message.topic == camera:
            image = bag.decode(message)
            if image is not None:
                waiting.append(BagImage(image, message.stamp, message.time, message.frame_id))
        else:
            _remember(bag, message, truth, flows, labels)
        while waiting and _is_ready(waiting[0], message.time, truth, flows, labels):
            yield joined(waiting.popleft())
    while waiting:
        yield joined(waiting.popleft())


def _is_ready(
    frame: BagImage, now: int, truth: Truth, flows: OrderedDict[int, Flow], labels: OrderedDict[int, LabelMap]
) -> bool:
    known = (truth.flow is None or frame.stamp in flows) and (truth.labels is None or frame.stamp in labels)
    return known or now - frame.time > _PATIENCE


def _remember(
    bag: Bag, message: Message, truth: Truth, flows: OrderedDict[int, Flow], labels: OrderedDict[int, LabelMap]
) -> None:
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
