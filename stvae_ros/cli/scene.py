"""Draw a scene with its ground truth: frames, flow, labels and depth."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from stvae_ros.data.media import Image
from stvae_ros.data.scenes.names import DEMO, open_scene
from stvae_ros.data.scenes.scene3d import Scene3D
from stvae_ros.files import replaced
from stvae_ros.resources import share_directory
from stvae_ros.visualization.flow_color import flow_to_color
from stvae_ros.visualization.label_colors import ClassTable
from stvae_ros.visualization.panels import as_bgr, grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("scenes", nargs="*", default=[DEMO], help="scene3d:SEED:PLACE:MOTION (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("scene.png"), help="the picture (default: %(default)s)")
    parser.add_argument("--frame", type=int, default=0, help="number of the frame (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"), help="of a frame")


def run(arguments: argparse.Namespace) -> int:
    """Write the picture, a row for each scene. Raises ValueError for scenes that cannot be drawn."""
    if not cv2.haveImageWriter(str(arguments.output)):
        raise ValueError(f"--output {arguments.output}: no name of a picture; end it in .png, .jpg or .webp")
    rows = [_row(name, arguments) for name in arguments.scenes]
    with replaced(arguments.output) as path:
        cv2.imwrite(str(path), np.vstack(rows))
    print(f"wrote {arguments.output}")
    return 0


def _row(name: str, arguments: argparse.Namespace) -> Image:
    if not arguments.rate > 0:
        raise ValueError(f"--rate {arguments.rate:g}: give more than 0")
    width, height = arguments.size
    scene = open_scene(name, width, height, arguments.rate)
    if not isinstance(scene, Scene3D):
        raise ValueError(f"{name}: give a 3-D scene, scene3d:SEED")
    classes = ClassTable.load(share_directory() / "config" / "labels-scene.yaml")
    truth = scene.truth(arguments.frame)
    speed = float(np.percentile(np.linalg.norm(truth.forward_flow, axis=2), 98))
    nearness = 1 / truth.depth
    panels = {
        f"{scene.place}, {scene.motion}": scene.frame(arguments.frame),
        f"flow, {speed:.1f} px at full colour": flow_to_color(truth.forward_flow, max(speed, 1e-3)),
        "labels": classes.draw(truth.labels),
        "depth, near is bright": as_bgr(nearness / max(float(np.percentile(nearness, 98)), 1e-6)),
    }
    return grid(panels, len(panels), width)
