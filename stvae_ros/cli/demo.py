"""Run the node on a video or on the built-in 3-D scene: camera, perception node and recorder as processes over DDS."""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

from stvae_ros.checkpoint import find
from stvae_ros.cli.processes import Nodes
from stvae_ros.data.media import read_frames
from stvae_ros.data.scenes.names import DEMO
from stvae_ros.events.readers import is_event_file, open_events
from stvae_ros.resources import share_directory
from stvae_ros.visualization.animation import write_webp

_SCENE_RATE = 15.0
_LABEL_RATE = 2.0
_MOVING_PICTURE_FRAMES, _MOVING_PICTURE_RATE, _MOVING_PICTURE_WIDTH = 60, 10.0, 640


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--video", help="video file, folder of images or webcam:N (default: the built-in scene)")
    parser.add_argument("--frames", type=int, default=300, help="number of frames (default: %(default)s)")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.0,
        help="in Hz (default: that of the file; 15 for the built-in scene)",
    )
    parser.add_argument(
        "--input",
        choices=("frames", "events"),
        default="frames",
        help="events: show the camera, or an event recording given by --video, as events",
    )
    parser.add_argument(
        "--model", help="checkpoint: a name or a path (default: stvae-rt-m, with --input events stvae-rt-s-events)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--moving-picture", type=Path, help="also write the first seconds, smaller, to this .webp file")
    parser.add_argument("--seed", type=int, default=0, help="seed of the built-in scene (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo. Returns 0 when figures and pictures are written.

    Raises:
        ValueError: a checkpoint or a video cannot be read, or an option is out of range.
    """
    if arguments.frames < 1:
        raise ValueError(f"--frames {arguments.frames}: give at least 1")
    events = arguments.input == "events"
    model = arguments.model or ("stvae-rt-s-events" if events else "stvae-rt-m")
    find(model)
    source = arguments.video or DEMO
    is_recording = bool(arguments.video) and is_event_file(source)
    if is_recording and not events:
        raise ValueError(f"{source} holds events: add --input events")
    if is_recording:
        open_events(source)
    elif arguments.video and not arguments.video.startswith("webcam:"):
        next(read_frames(arguments.video))
    arguments.output.mkdir(parents=True, exist_ok=True)
    classes = str(share_directory() / "config" / "labels-scene.yaml")
    with Nodes() as nodes:
        nodes.start(
            "perception_node",
            {
                "model": model,
                "label_classes": classes,
                "event_source": "images" if is_recording else "frames",
            },
        )
        recorder = nodes.start(
            "demo_recorder",
            {
                "output": str(arguments.output),
                "frames": arguments.frames,
                "input": arguments.input,
                "title": "3-D scene" if arguments.video is None else Path(source).name,
            },
        )
        camera = {"source": source, "rate": arguments.rate, "frames": arguments.frames, "wait_for_subscribers": 2}
        if arguments.video is None:
            scene = {"width": 320, "height": 240, "seed": arguments.seed}
            camera |= {**scene, "rate": arguments.rate or _SCENE_RATE, "label_rate": 0.0 if events else _LABEL_RATE}
        nodes.start("video_publisher", camera)
        while recorder.poll() is None:
            failed = nodes.failed()
            if failed is not None:
                print(f"stvae demo: {failed}; see its message above")
                return 1
            time.sleep(0.1)
    if recorder.returncode == 0 and arguments.moving_picture is not None:
        shown = list(islice(read_frames(str(arguments.output / "demo.webm")), _MOVING_PICTURE_FRAMES))
        write_webp(arguments.moving_picture, shown, _MOVING_PICTURE_RATE, _MOVING_PICTURE_WIDTH)
        print(f"wrote {arguments.moving_picture}, {len(shown)} frames at {_MOVING_PICTURE_RATE:g} Hz")
    return recorder.returncode
