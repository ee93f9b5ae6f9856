"""`stvae demo`: camera, perception node and recorder as processes over DDS."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from stvae_ros import zoo
from stvae_ros.cli.processes import Nodes
from stvae_ros.data.media import read_frames
from stvae_ros.resources import share_directory

_SCENE_RATE = 15.0
_LABEL_RATE = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--video", help="video file, folder of images or webcam:N; default: the built-in scene")
    parser.add_argument("--frames", type=int, default=300, help="frames to show (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="frames per second (default: the file's own; 15 of the built-in scene)"
    )
    parser.add_argument("--model", default="stvae-rt-m", help="weights: a name or a path (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the built-in scene (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; the exit code is 0 when figures and pictures have been written.

    Raises ValueError for weights or a video that cannot be read and for options out of range.
    """
    if arguments.frames < 1:
        raise ValueError(f"--frames {arguments.frames}: show at least one frame")
    zoo.find(arguments.model)
    source = arguments.video or "synthetic"
    if arguments.video and not arguments.video.startswith("webcam:"):
        next(read_frames(arguments.video))
    arguments.output.mkdir(parents=True, exist_ok=True)
    classes = str(share_directory() / "config" / "labels-scene.yaml")
    with Nodes() as nodes:
        nodes.start("perception_node", {"model": arguments.model, "label_classes": classes})
        recorder = nodes.start(
            "demo_recorder",
            {
                "output": str(arguments.output),
                "frames": arguments.frames,
                "title": "synthetic scene" if arguments.video is None else Path(source).name,
            },
        )
        camera = {"source": source, "rate": arguments.rate, "frames": arguments.frames, "wait_for_subscribers": 2}
        if arguments.video is None:
            scene = {"width": 320, "height": 240, "max_speed": 4.0, "seed": arguments.seed}
            camera |= {**scene, "rate": arguments.rate or _SCENE_RATE, "label_rate": _LABEL_RATE}
        nodes.start("video_publisher", camera)
        while recorder.poll() is None:
            failed = nodes.failed()
            if failed is not None:
                print(f"stvae demo: {failed}; its message stands above")
                return 1
            time.sleep(0.1)
        return recorder.returncode
