"""Digits from files, and Moving MNIST against a slow reference written out pixel by pixel."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from stvae_ros.data.mnist import DigitsError, load_digits, read_idx
from stvae_ros.data.moving_mnist import BINARY_THRESHOLD, MovingMnist, MovingMnistFile, render
from stvae_ros.nn.layers.warp import warp


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def digits() -> np.ndarray:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 28, 28)).astype(np.uint8)
    pictures[rng.uniform(size=pictures.shape) < 0.6] = 0
    return pictures


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_folder(tmp_path: Path, digits: np.ndarray, compressed: bool) -> None:
    for name, part in (("train-images-idx3-ubyte", digits[:8]), ("t10k-images-idx3-ubyte", digits[8:])):
        data = idx(part)
        path = tmp_path / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(data) if compressed else data)
    np.testing.assert_array_equal(load_digits(tmp_path, "train"), digits[:8])
    np.testing.assert_array_equal(load_digits(tmp_path, "validation"), digits[8:])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\x1f\x8b broken", "damaged"),
        (gzip.compress(idx(np.zeros((3, 28, 28), np.uint8)), mtime=0)[:-20], "damaged"),
        (idx(np.zeros((3, 28, 28), np.uint8))[:-5], "2347 bytes for an array of shape"),
        (b"\0\0\x08\x03\0", "header"),
        (b"PNG", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\0", "not an IDX file"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DigitsError, match=word) as error:
        read_idx(path)
    assert str(path) in str(error.value)


def test_other_arrays_and_empty_folders_are_no_mnist(tmp_path: Path) -> None:
    with pytest.raises(DigitsError, match="no MNIST there"):
        load_digits(tmp_path, "train")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 8, 8), np.uint8)))
    with pytest.raises(DigitsError, match=r"\(3, 8, 8\)"):
        load_digits(tmp_path, "train")


def test_digits_of_scikit_learn() -> None:
    train, validation = load_digits(None, "train"), load_digits(None, "validation")
    assert train.shape == (1437, 28, 28) and validation.shape == (360, 28, 28)
    assert train.dtype == np.uint8 and train.max() > 200 and 20 < train.mean() < 60
    assert not train[:, :4].any() and not train[:, :, -4:].any(), "the margin of MNIST"


def reference(item: dict[str, torch.Tensor], size: int, binary: bool) -> dict[str, np.ndarray]:
    sprites, positions = item["sprites"].numpy(), item["positions"].numpy()
    vertical, horizontal = item["lines"].tolist()
    moments, count = positions.shape[:2]
    frames = np.zeros((moments, size, size))
    owner = np.full((moments, size, size), -1)
    for t in range(moments):
        for y in range(size):
            for x in range(size):
                for k in range(count):
                    column, row = x - positions[t, k, 0], y - positions[t, k, 1]
                    if not (0 <= column < 28 and 0 <= row < 28):
                        continue
                    value = sprites[k, row, column] / 255
                    if binary:
                        value = float(sprites[k, row, column] >= BINARY_THRESHOLD)
                    if value > 0 and value >= frames[t, y, x]:
                        frames[t, y, x], owner[t, y, x] = value, k
                if x == vertical or y == horizontal:
                    frames[t, y, x], owner[t, y, x] = 1.0, count
    flow = np.zeros((moments - 1, 2, size, size))
    known = np.zeros((moments - 1, size, size), bool)
    for t in range(moments - 1):
        for y in range(size):
            for x in range(size):
                who = owner[t + 1, y, x]
                step = positions[t, who] - positions[t + 1, who] if 0 <= who < count else np.zeros(2, int)
                flow[t, :, y, x] = step
                known[t, y, x] = owner[t, y + step[1], x + step[0]] == who
    masks = np.stack([owner == k for k in range(count)], axis=1)
    return {"frames": frames[:, None], "flow": flow, "flow_known": known, "masks": masks}


@pytest.mark.parametrize(
    ("per_frame", "lines", "binary"), [(1, True, False), (2, False, True), (4, True, True), (3, False, False)]
)
def test_render_against_the_reference(digits: np.ndarray, per_frame: int, lines: bool, binary: bool) -> None:
    data = MovingMnist(digits, 2, 3, 40, per_frame, lines=lines, seed=7)
    drawn = render(default_collate([data[0], data[1]]), 40, binary)
    for index in range(2):
        for name, expected in reference(data[index], 40, binary).items():
            np.testing.assert_allclose(drawn[name][index].numpy(), expected, atol=1e-6, err_msg=name)


def test_true_flow_moves_each_frame_to_the_next(digits: np.ndarray) -> None:
    data = MovingMnist(digits, 4, 8, 64, 3, lines=True)
    item = render(default_collate([data[i] for i in range(4)]), 64, binary=False)
    frames, known = item["frames"], item["flow_known"].flatten(0, 1)[:, None]
    error = (warp(frames[:, :-1].flatten(0, 1), item["flow"].flatten(0, 1)) - frames[:, 1:].flatten(0, 1)).abs()
    assert error[known].max() < 1e-4
    assert 0.7 < known.float().mean() < 0.999 and error[~known].mean() > 0.1, "what was hidden cannot be moved"


def test_items_depend_on_seed_and_index_alone(digits: np.ndarray) -> None:
    first, again, other = (MovingMnist(digits, 9, seed=seed) for seed in (1, 1, 2))
    _ = first[3]
    for name, value in first[5].items():
        assert torch.equal(value, again[5][name])
    assert not torch.equal(first[5]["positions"], first[6]["positions"])
    assert not torch.equal(first[5]["positions"], other[5]["positions"])


def test_digits_bounce_off_the_walls_and_keep_their_speed(digits: np.ndarray) -> None:
    data = MovingMnist(digits, 60, 30, 64, 2, min_speed=3.0, max_speed=4.0)
    paths = torch.stack([data[index]["positions"] for index in range(60)]).float()
    assert paths.min() == 0 and paths.max() == 36
    steps = torch.linalg.vector_norm(paths.diff(dim=1), dim=-1)
    assert steps.max() <= 4 + 2**0.5, "speed and rounding"
    inside = ((paths > 5) & (paths < 31)).all(dim=-1)
    free = steps[inside[:, :-1] & inside[:, 1:]]
    assert len(free) > 100 and free.min() >= 3 - 2**0.5 and 3 < free.mean() < 4


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"per_frame": 5}, "5 digits"),
        ({"per_frame": 0}, "0 digits"),
        ({"size": 20}, "20x20"),
        ({"min_speed": 6.0}, "6.0 to 5.0"),
    ],
)
def test_values_out_of_range_are_named(digits: np.ndarray, arguments: dict[str, float], named: str) -> None:
    with pytest.raises(DigitsError, match=named):
        MovingMnist(digits, 3, **arguments)  # type: ignore[arg-type]


def test_public_test_sequences(tmp_path: Path) -> None:
    sequences = np.random.default_rng(0).integers(0, 256, (20, 3, 64, 64)).astype(np.uint8)
    path = tmp_path / "mnist_test_seq.npy"
    np.save(path, sequences)
    data = MovingMnistFile(path, 10)
    assert len(data) == 3 and data[2]["frames"].shape == (11, 1, 64, 64)
    np.testing.assert_array_equal(data[2]["frames"][:, 0].numpy(), (sequences[:11, 2] >= 128).astype(np.float32))
    grey = MovingMnistFile(path, 10, binary=False)[1]
    np.testing.assert_allclose(grey["frames"][:, 0].numpy(), sequences[:11, 1] / 255, atol=1e-6)
    assert not grey["flow_known"].any() and grey["flow"].shape == (10, 2, 64, 64)


@pytest.mark.parametrize("kind", ["short", "float", "damaged", "absent"])
def test_unfit_test_sequences_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "test.npy"
    if kind == "damaged":
        path.write_bytes(b"\x93NUMPY nonsense")
    elif kind != "absent":
        np.save(path, np.zeros((5 if kind == "short" else 20, 2, 64, 64), np.uint8 if kind == "short" else np.float32))
    with pytest.raises(DigitsError, match=r"test\.npy"):
        MovingMnistFile(path, 10)
