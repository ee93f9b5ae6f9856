"""Write a rosbag of a video, of a folder of images, or of a scene with its ground truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from stvae_ros.data.bags.writer import BagWriter
from stvae_ros.data.media import IMAGE_SUFFIXES, Image, frame_rate, read_frames
from stvae_ros.data.scenes.names import is_scene, open_scene
from stvae_ros.data.scenes.scene3d import Scene3D, Truth3D
from stvae_ros.data.scenes.shapes import SceneTruth, SyntheticScene
from stvae_ros.data.stamps import UNITS, StampError, read_stamps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("source", help="video file, folder of images (sorted by name), scene3d:SEED or synthetic:SEED")
    parser.add_argument("output", type=Path, help="folder of the bag; it must not exist")
    parser.add_argument("--topic", default="/camera/image_raw", help="of the images (default: %(default)s)")
    parser.add_argument("--frame-id", default="camera", help="of the images (default: %(default)s)")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument("--compressed", action="store_true", help="CompressedImage (JPEG) on TOPIC/compressed")
    parser.add_argument("--frames", type=int, help="largest number of frames (default: all; 300 for a scene)")
    parser.add_argument("--rate", type=float, help="frame rate in Hz (default: that of the file, or 30)")
    parser.add_argument("--start-time", type=float, default=1.0, help="first stamp in seconds (default: 1)")
    parser.add_argument("--stamps", type=Path, help="file with a stamp for each frame (.jsonl, .csv or text)")
    parser.add_argument("--stamp-field", help="name of the field with the stamp, for .jsonl and .csv")
    parser.add_argument("--stamp-unit", choices=tuple(UNITS), default="s")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of the images")
    parser.add_argument(
        "--max-speed", type=float, default=4.0, help="of objects of synthetic:SEED, in pixels per frame"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the bag. Raises ValueError for a source, stamps or options that cannot be used."""
    if arguments.frames is not None and arguments.frames < 1:
        raise ValueError(f"--frames {arguments.frames}: give at least 1")
    if arguments.rate is not None and not arguments.rate > 0:
        raise ValueError(f"--rate {arguments.rate}: give more than 0")
    scene = _scene(arguments) if is_scene(arguments.source) else None
    rate = arguments.rate or (30.0 if scene is not None else frame_rate(arguments.source))
    stamps = None
    if arguments.stamps is not None:
        stamps = read_stamps(arguments.stamps, arguments.stamp_field, arguments.stamp_unit)
    limit = arguments.frames or (300 if scene is not None else None)
    total = limit if limit is not None and (scene is not None or stamps is None) else _count(arguments.source)
    frames = _scene_frames(scene) if scene is not None else ((image, None) for image in _images(arguments))
    shown = track(islice(frames, limit), "frames", total=total, console=Console(stderr=True), transient=True)
    count = 0
    namespace = arguments.topic.rpartition("/")[0]
    with BagWriter(arguments.output, arguments.storage) as bag:
        for count, (image, truth) in enumerate(shown, start=1):
            stamp = round((arguments.start_time + (count - 1) / rate) * 1e9)
            if stamps is not None:
                if count > len(stamps):
                    raise StampError(f"{arguments.stamps} has {len(stamps)} stamps, but there are more frames")
                stamp = stamps[count - 1]
            if arguments.compressed:
                bag.write_jpeg(f"{arguments.topic}/compressed", image, stamp, arguments.frame_id)
            else:
                encoding = "mono8" if image.ndim == 2 else "bgr8"
                bag.write(arguments.topic, image, encoding, stamp, arguments.frame_id)
            if truth is not None:
                truths = f"{namespace}/ground_truth"
                bag.write(f"{truths}/flow", truth.forward_flow, "32FC2", stamp, arguments.frame_id)
                bag.write(f"{truths}/labels", truth.labels, "mono8", stamp, arguments.frame_id)
                if isinstance(truth, Truth3D) and isinstance(scene, Scene3D):
                    bag.write(f"{truths}/depth", truth.depth, "32FC1", stamp, arguments.frame_id)
                    bag.write_camera_info(
                        f"{namespace}/camera_info", image, scene.intrinsics, stamp, arguments.frame_id
                    )
        if stamps is not None and limit is None and count < len(stamps):
            raise StampError(f"{arguments.stamps} has {len(stamps)} stamps, but there are only {count} frames")
    print(f"{arguments.output}: {count} frames; ros2 bag play {arguments.output} --clock")
    return 0


def _count(source: str) -> int | None:
    """Number of frames of a folder of images; None if it is not known."""
    folder = Path(source)
    if not folder.is_dir():
        return None
    return sum(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())


def _images(arguments: argparse.Namespace) -> Iterator[Image]:
    for image in read_frames(arguments.source):
        if arguments.size is not None:
            image = cv2.resize(image, tuple(arguments.size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        yield image


def _scene(arguments: argparse.Namespace) -> SyntheticScene | Scene3D:
    width, height = arguments.size or (320, 240)
    speed = {"max_speed": arguments.max_speed} if arguments.source.startswith("synthetic") else {}
    return open_scene(arguments.source, width, height, arguments.rate or 30.0, **speed)


def _scene_frames(scene: SyntheticScene | Scene3D) -> Iterator[tuple[Image, SceneTruth]]:
    """The frames of a scene, without end."""
    t = 0
    while True:
        yield scene.frame(t), scene.truth(t)
        t += 1
