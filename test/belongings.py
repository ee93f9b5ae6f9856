"""The reader's videos, bags, data sets and checkpoints, which the commands of the documentation use."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import yaml

from stvae_ros import zoo
from stvae_ros.checkpoint import save
from stvae_ros.data.bags.writer import BagWriter
from stvae_ros.data.scenes.shapes import SyntheticScene

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT, FRAMES, RATE = 64, 48, 60, 20
VIDEOS = ("drive.mp4", "path/to/video.mp4", "vtest_480x360.mp4", "udacity_solidWhiteRight.mp4")
TEST_CLIPS = ("blackswan", "bmx-trees", "breakdance", "car-roundabout", "cows", "libby")
LABELLED = {
    "CAMVID/train": "CAMVID/trainannot",
    "CAMVID/test": "CAMVID/testannot",
    "CAMVID/val": "CAMVID/valannot",
    "camvid/val": "camvid/valannot",
    "FRAMES": "LABELS",
    **{f"JPEGImages/{name}": f"Annotations/{name}" for name in ("car-shadow", *TEST_CLIPS)},
}
"""Folders of label images, by the folder of their frames."""
TRAINED = ("ae-conv", "conv-2enc-1lstm", "ae-convlstm-flow")
"""Systems of the paper with checkpoints like those of `stvae reproduce`."""


def lay_out(folder: Path) -> None:
    """Writes small files into a folder, under the names that the documentation uses."""
    scene = SyntheticScene(2, WIDTH, HEIGHT, objects=2)
    frames = [scene.frame(t) for t in range(FRAMES)]
    shutil.copytree(ROOT / "config", folder / "config")
    _weights(folder)
    for name in VIDEOS:
        _video(folder / name, frames)
    _clips(folder)
    for images, labels in LABELLED.items():
        _images(folder / images, frames[:8])
        _images(folder / labels, [scene.truth(t).labels for t in range(8)])
    shutil.copy(folder / "camvid/val/00.png", folder / "camvid/val/0016E5_07959.jpg")
    shutil.copy(folder / "camvid/valannot/00.png", folder / "camvid/valannot/0016E5_07959.png")
    for name in ("images", "FOLDER_OF_IMAGES", "KITTI_sequence_2/image_l", "car-shadow", *TEST_CLIPS):
        _images(folder / name, frames)
    lines = [json.dumps({"_timestamp_ms": 1_700_000_000_000 + t * 1000 // RATE}) for t in range(FRAMES)]
    (folder / "frames.jsonl").write_text("\n".join(lines))
    _bag(folder / "long", frames)
    for name in ("FOLDER", "FOLDER_OF_FLOW_PAIRS"):
        _images(folder / name, frames[:1], "pair-img0")
        _images(folder / name, frames[1:2], "pair-img1")
        cv2.writeOpticalFlow(str(folder / name / "pair-gt.flo"), scene.truth(0).forward_flow)
    _mnist(folder / "FOLDER_OF_MNIST")
    _events(folder / "recording.txt")


def _weights(folder: Path) -> None:
    size = {"processing_size": json.dumps([WIDTH, HEIGHT])}
    options = {"encoder": (4, 4), "memory": (4,)}
    small = zoo.create("conv-2enc-1lstm", **options)
    save(folder / "small.safetensors", small, "conv-2enc-1lstm", options, size)
    for name in TRAINED:
        path = folder / "runs" / "paper-cpu" / f"{name}.modern" / "weights.safetensors"
        path.parent.mkdir(parents=True)
        save(path, zoo.create(name), name)


def _video(path: Path, frames: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()


def _clips(folder: Path) -> None:
    """Writes the clips that the recipes name; all have the same content."""
    recipe = yaml.safe_load((ROOT / "config" / "train" / "stvae-rt-m.yaml").read_text())
    first, *others = (folder / "FOLDER_OF_CLIPS" / name for name in recipe["data"]["init_args"]["clips"])
    scene = SyntheticScene(3, 128, 96)
    _video(first, [scene.frame(t) for t in range(40)])
    for path in others:
        shutil.copy(first, path)


def _images(folder: Path, images: list[np.ndarray], name: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for t, image in enumerate(images):
        cv2.imwrite(str(folder / f"{name or f'{t:02}'}.png"), image)


def _bag(path: Path, frames: list[np.ndarray]) -> None:
    with BagWriter(path) as bag:
        for t, frame in enumerate(frames):
            bag.write("/camera/image_raw", frame, "bgr8", 10**9 * (1 + t) // RATE, "lens")


def _mnist(folder: Path) -> None:
    """Writes IDX files of bright rectangles."""
    folder.mkdir()
    digits = np.zeros((20, 28, 28), np.uint8)
    digits[:, 6:22, 9:19] = 255
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (folder / name).write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", *digits.shape) + digits.tobytes())


def _events(path: Path) -> None:
    """Writes 0.4 s of events of a bar that moves to the right."""
    lines = [f"{WIDTH} {HEIGHT}"]
    for t in range(12):
        lines += [f"{33_300 * t + 200 * y} {8 + 3 * t + k} {y} {int(k == 2)}" for y in range(10, 40) for k in range(3)]
    path.write_text("\n".join(lines) + "\n")
