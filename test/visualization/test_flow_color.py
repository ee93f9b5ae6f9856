"""Flow colours, panels and animations."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stvae_ros.visualization.animation import write_webp
from stvae_ros.visualization.flow_color import color_wheel, flow_to_color
from stvae_ros.visualization.panels import as_bgr, grid


def color_of(x: float, y: float, scale: float | None = 1.0) -> list[int]:
    """RGB of one vector."""
    return flow_to_color(np.full((2, 2, 2), (x, y), np.float32), scale)[0, 0, ::-1].tolist()


def test_directions() -> None:
    assert color_of(1, 0) == [255, 0, 0], "right is red"
    red, green, blue = color_of(-1, 0)
    assert red == 0 and green > 200 and blue > 200, "left is cyan"
    red, green, blue = color_of(0, 1)
    assert red > 200 and green > 200 and blue == 0, "down is yellow"
    red, green, blue = color_of(0, -1)
    assert blue == 255 and green == 0, "up is blue to violet"


def test_magnitudes() -> None:
    assert color_of(0, 0) == [255, 255, 255]
    assert color_of(0.5, 0)[0] == 255 and 120 < color_of(0.5, 0)[1] < 135
    assert color_of(3, 0) == [191, 0, 0], "too long is darker"
    assert color_of(7, 0, None) == [255, 0, 0], "the longest vector gives the scale"


def test_unknown_flow_is_black() -> None:
    assert color_of(float("nan"), 0) == [0, 0, 0]


def test_wheel_has_55_colors() -> None:
    assert color_wheel().shape == (55, 3)


def test_grid() -> None:
    panels = {"a": np.zeros((20, 40, 3), np.uint8), "b": np.full((20, 40), 9, np.uint8), "c": np.ones((20, 40))}
    picture = grid(panels, columns=2, width=80)
    assert picture.shape == (2 * (22 + 40), 160, 3)
    assert picture[22 + 20, 80 + 40].tolist() == [9, 9, 9]
    assert as_bgr(np.zeros((2, 2))).tolist() != as_bgr(np.ones((2, 2))).tolist()


def published_color(x: float, y: float) -> np.ndarray:
    """RGB of a vector of length up to 1 by the published code (Baker et al., IJCV 2011)."""
    wheel = np.zeros((55, 3))
    wheel[0:15] = np.stack([np.full(15, 255), 255 * np.arange(15) / 15, np.zeros(15)], axis=1)
    wheel[15:21] = np.stack([255 - 255 * np.arange(6) / 6, np.full(6, 255), np.zeros(6)], axis=1)
    wheel[21:25] = np.stack([np.zeros(4), np.full(4, 255), 255 * np.arange(4) / 4], axis=1)
    wheel[25:36] = np.stack([np.zeros(11), 255 - 255 * np.arange(11) / 11, np.full(11, 255)], axis=1)
    wheel[36:49] = np.stack([255 * np.arange(13) / 13, np.zeros(13), np.full(13, 255)], axis=1)
    wheel[49:55] = np.stack([np.full(6, 255), np.zeros(6), 255 - 255 * np.arange(6) / 6], axis=1)
    position = (np.arctan2(-y, -x) / np.pi + 1) / 2 * 54
    below = int(position)
    fraction = position - below
    hue = ((1 - fraction) * wheel[below] + fraction * wheel[(below + 1) % 55]) / 255
    return 255 * (1 - np.hypot(x, y) * (1 - hue))


@pytest.mark.parametrize("length", [0.2, 0.6, 1.0])
def test_colours_are_the_published_ones(length: float) -> None:
    # Half a step of 256 directions is 0.11 steps of the wheel, at most 0.11 * 255 / 4 grey levels. Angles near 0 are
    # left out: atan2 jumps there, and the published code takes either end of the wheel.
    for angle in np.linspace(0.1, 2 * np.pi - 0.1, 45):
        x, y = length * np.cos(angle), length * np.sin(angle)
        np.testing.assert_allclose(color_of(x, y), published_color(x, y), atol=9)


def test_hue_does_not_depend_on_length() -> None:
    for x, y in ((1.0, 0.0), (0.6, -0.8), (-0.8, 0.6)):
        full = 255 - np.array(color_of(x, y), float)
        half = 255 - np.array(color_of(x / 2, y / 2), float)
        np.testing.assert_allclose(half, full / 2, atol=2)


def test_the_image_is_8_bit_bgr_of_the_size_of_the_flow() -> None:
    flow = np.zeros((5, 7, 2), np.float32)
    flow[2, 3] = 1, 0
    picture = flow_to_color(flow, 1.0)
    assert picture.shape == (5, 7, 3) and picture.dtype == np.uint8
    assert picture[2, 3].tolist() == [0, 0, 255]
    picture[2, 3] = 255
    assert (picture == 255).all(), "no motion is white"


def test_the_longest_known_vector_gives_the_scale() -> None:
    flow = np.zeros((1, 4, 2), np.float32)
    flow[0, :, 0] = 8, 4, np.nan, np.inf
    picture = flow_to_color(flow)[0, :, ::-1].tolist()
    assert picture[0] == [255, 0, 0], "8 pixels are full colour"
    assert picture[1][0] == 255 and 125 <= picture[1][1] == picture[1][2] <= 130, "4 pixels are half"
    assert picture[2] == picture[3] == [0, 0, 0]


def test_flow_that_is_zero_or_unknown_everywhere() -> None:
    assert (flow_to_color(np.zeros((3, 3, 2), np.float32)) == 255).all()
    assert (flow_to_color(np.full((3, 3, 2), np.nan, np.float32)) == 0).all()


@pytest.mark.parametrize("length", [1.1, 30.0, 1e15])
def test_longer_vectors_are_three_quarters_as_bright(length: float) -> None:
    full, long = np.array(color_of(-1, 0), float), np.array(color_of(-length, 0), float)
    np.testing.assert_allclose(long, 0.75 * full, atol=1)


def test_the_flow_is_not_changed() -> None:
    flow = np.random.default_rng(0).normal(size=(6, 8, 2)).astype(np.float32)
    flow[0, 0] = np.nan
    kept = flow.copy()
    flow_to_color(flow, 1.0)
    flow_to_color(flow[::2, ::-1])
    np.testing.assert_array_equal(flow, kept)


def test_a_crop_of_the_flow_gives_a_crop_of_the_image() -> None:
    flow = np.random.default_rng(0).normal(size=(6, 8, 2)).astype(np.float32)
    assert np.array_equal(flow_to_color(flow[::2, ::-1], 2.0), flow_to_color(flow, 2.0)[::2, ::-1])


def test_heat_maps_are_clipped_and_colours_are_kept() -> None:
    assert np.array_equal(as_bgr(np.array([[-1.0, 2.0]])), as_bgr(np.array([[0.0, 1.0]])))
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    assert np.array_equal(as_bgr(picture), picture)


def test_a_grid_fills_its_last_row_with_black() -> None:
    panels = {name: np.full((20, 40, 3), 200, np.uint8) for name in "abc"}
    picture = grid(panels, columns=2, width=40)
    assert picture.shape == (2 * (22 + 20), 80, 3)
    assert (picture[22:42] == 200).all() and (picture[42 + 22 :, :40] == 200).all()
    assert not picture[42:, 40:].any()


def test_an_animation_is_read_back(tmp_path: Path) -> None:
    frames = [np.full((40, 80, 3), 50 * index, np.uint8) for index in range(3)]
    write_webp(tmp_path / "demo.webp", frames, rate=10.0, width=40)
    found, animation = cv2.imreadanimation(str(tmp_path / "demo.webp"))
    assert found and list(animation.durations) == [100, 100, 100]
    assert [frame.shape[:2] for frame in animation.frames] == [(20, 40)] * 3
    assert [round(float(frame[..., 0].mean()) / 50) for frame in animation.frames] == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["demo.webp"]
    with pytest.raises(ValueError, match=r"is a \.webp file"):
        write_webp(tmp_path / "demo.gif", frames, rate=10.0, width=40)
    with pytest.raises(ValueError, match="no frame"):
        write_webp(tmp_path / "none.webp", [], rate=10.0, width=40)
