"""Weights and images that ask for more than they are: refused in a sentence, before memory is taken for them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from robot import small_network
from sensor_msgs.msg import CompressedImage

from stvae_ros import zoo
from stvae_ros.checkpoint import Checkpoint, CheckpointError, find
from stvae_ros.data.image_messages import ImageError
from stvae_ros.data.image_sizes import encoded_size

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path: Path, header: Any, data: bytes = bytes(8), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


@pytest.mark.parametrize(
    ("header", "length", "word"),
    [
        ({"x": GOOD}, 2**63, "header too large"),
        (b" " * (5 * 2**20), None, "at most"),
        (b"[" * 100_000, None, "header"),
        (b'{"x": 1', None, "header"),
        (b"[1, 2]", None, "header"),
        (b'{"x": {"dtype": "F32"}, "x": {}}', None, "missing field"),
        ({"x": {**GOOD, "shape": [2**62, 2**62]}}, None, "overflow"),
        ({"x": {**GOOD, "shape": [-1, -2]}}, None, "expected usize"),
        ({"x": {**GOOD, "shape": [1] * 1000 + [2]}}, None, "not a checkpoint"),
        ({"x": {**GOOD, "shape": [2.0]}}, None, "expected usize"),
        ({"x": {**GOOD, "dtype": "F8_E99"}}, None, "header"),
        ({"x": GOOD, "y": GOOD}, None, "invalid offset"),
        ({"x": {**GOOD, "data_offsets": [8, 16]}}, None, "invalid offset"),
        ({"x": {**GOOD, "shape": [1], "data_offsets": [0, 4]}}, None, "not fully covered"),
        ({"__metadata__": {"format": 7}, "x": GOOD}, None, "expected a string"),
    ],
)
def test_headers_that_lie(tmp_path: Path, header: Any, length: int | None, word: str) -> None:
    path = write(tmp_path / "hostile.safetensors", header, length=length)
    for call in (Checkpoint.open, zoo.load):
        with pytest.raises(CheckpointError, match=word) as error:
            call(path)
        assert str(path) in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(
    "fields",
    [
        {"options": '{"memory": [65000, 65000]}'},
        {"options": '{"memory": [1e300]}'},
        {"options": json.dumps({"memory": [8] * 1000})},
        {"options": "[" * 100_000},
        {"processing_size": "[1000000, 1000000]"},
        {"processing_size": '["320", "240"]'},
        {"processing_size": "[320]"},
        {"architecture": "../../etc/passwd"},
    ],
)
def test_metadata_that_asks_for_much(tmp_path: Path, fields: dict[str, str]) -> None:
    weights = small_network(tmp_path)
    metadata = {**Checkpoint.open(weights).metadata, **fields}
    tensors = {"x": GOOD}
    path = write(tmp_path / "hostile.safetensors", {"__metadata__": metadata, **tensors})
    with pytest.raises(CheckpointError) as error:
        _ = Checkpoint.open(path).processing_size
        zoo.load(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 1000


def test_names_are_no_paths() -> None:
    for name in ("../models/stvae-rt-m", "/etc/passwd", "..", "models/stvae-rt-m"):
        with pytest.raises(CheckpointError, match="neither a name nor the path"):
            find(name)


def test_refusing_takes_no_memory(tmp_path: Path) -> None:
    """In a process that may not grow by more than a few hundred MB beyond what importing takes."""
    metadata = {**Checkpoint.open(small_network(tmp_path)).metadata, "options": '{"memory": [65000, 65000]}'}
    path = write(tmp_path / "large.safetensors", {"__metadata__": metadata, "x": GOOD})
    code = (
        "import resource, sys; from stvae_ros import checkpoint, zoo; zoo.create('ae-convlstm-flow')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: zoo.load(sys.argv[1])\n"
        "except checkpoint.CheckpointError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert int(done.stdout) < 200_000, f"kB more: {done.stdout}{done.stderr}"


def compressed(data: bytes) -> CompressedImage:
    message = CompressedImage(format="jpeg")
    message.data.frombytes(data)
    return message


def test_sizes_of_encoded_images() -> None:
    for width, height in ((1, 1), (640, 480), (33, 7)):
        for format in (".png", ".jpg"):
            for shape in ((height, width), (height, width, 3)):
                data = cv2.imencode(format, np.zeros(shape, np.uint8))[1].tobytes()
                assert encoded_size(compressed(data)) == (height, width)
                with pytest.raises(ImageError):
                    encoded_size(compressed(data[:15]))
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8" + b"\xff" * 100, b"\xff\xd8\x00\x00", b"GIF89a"):
        with pytest.raises(ImageError):
            encoded_size(compressed(data))
    chunk = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + chunk))
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + chunk + checksum
    assert encoded_size(compressed(bomb)) == (60_000, 60_000)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: it is a pointer of Git LFS.*git lfs pull"):
        Checkpoint.open(path)
