"""The film of the demo: what browsers play, and colours that slow motion fills."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stvae_ros.visualization.film import Film
from stvae_ros.visualization.flow_color import draw_wheel, flow_to_color


def make_film(speed: float, frames: int = 5) -> Film:
    film = Film(64)
    flow = np.zeros((48, 64, 2), np.float32)
    flow[:, :32, 0] = speed
    for index in range(frames):
        film.add({"input": np.full((48, 64, 3), 40 * index, np.uint8), "flow": flow, "error": np.eye(47, 64)})
    return film


def test_a_film_is_a_video_that_browsers_play(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_film(1.0).write(tmp_path / "new" / "film.webm", 10.0, columns=3)
    assert not capfd.readouterr().err, "nothing of FFmpeg"
    video = cv2.VideoCapture(str(tmp_path / "new" / "film.webm"))
    assert int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") == b"VP80"
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10, abs=0.1)
    levels = []
    while (frame := video.read()[1]) is not None:
        assert frame.shape == (48 + 22, 3 * 64, 3)
        levels.append(frame[30:60, 8:56].mean())
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 160], atol=8)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["film.webm"]


@pytest.mark.parametrize(("speed", "title"), [(0.1, "0.5"), (0.8, "0.8"), (30.0, "30.0")])
def test_flow_colours_are_scaled_to_the_film(speed: float, title: str) -> None:
    panels = next(make_film(speed).frames())
    assert list(panels) == ["input", f"flow, full colour: {title} px", "error"]
    moving, still = panels[f"flow, full colour: {title} px"][10, 10], panels[f"flow, full colour: {title} px"][10, 50]
    assert (still == 255).all() and moving[2] == 255
    assert moving[0] == pytest.approx(255 * (1 - speed / float(title)), abs=4), "red, as pale as it is slow"


def test_the_wheel_shows_the_colour_of_each_direction() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    draw_wheel(image, 41)
    right, down = image[39, 78], image[58, 59]
    for color, x, y in ((right, 19, 0), (down, 0, 19)):
        expected = flow_to_color(np.float32([[[x / 20, y / 20]]]), 1.0)[0, 0]
        np.testing.assert_array_equal(color, expected)
    assert (image[39, 59] > 240).all() and not image[:19].any() and not image[20, 40].any()
