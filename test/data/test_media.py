"""Reader of video files, folders of images and cameras."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stvae_ros.data.media import MediaError, frame_rate, read_frames


def write_video(path: Path, count: int, code: str, rate: float = 12.5) -> None:
    """Writes frames of 64x48; frame t has the grey level 20 t, and its left half is black."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, (64, 48))
    assert writer.isOpened()
    for t in range(count):
        frame = np.full((48, 64, 3), 20 * t, np.uint8)
        frame[:, :32] = 0
        writer.write(frame)
    writer.release()


@pytest.mark.parametrize(("name", "code"), [("clip.mp4", "mp4v"), ("clip.avi", "MJPG")])
@pytest.mark.parametrize("count", [1, 11])
def test_a_video_gives_all_its_frames_in_order(tmp_path: Path, name: str, code: str, count: int) -> None:
    write_video(tmp_path / name, count, code)
    frames = list(read_frames(tmp_path / name))
    assert len(frames) == count
    for t, frame in enumerate(frames):
        assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8
        assert abs(float(frame[:, 40:].mean()) - 20 * t) < 4, f"frame {t} is in order"
        assert frame[:, :24].mean() < 8, "the left half is on the left"


def test_a_path_may_be_text(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 3, "MJPG")
    assert len(list(read_frames(str(tmp_path / "clip.avi")))) == 3


@pytest.mark.parametrize("rate", [10.0, 25.0])
def test_frame_rate_of_a_video(tmp_path: Path, rate: float) -> None:
    write_video(tmp_path / "clip.mp4", 4, "mp4v", rate)
    assert frame_rate(tmp_path / "clip.mp4") == pytest.approx(rate, rel=1e-3)


def test_default_frame_rate(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"no video")
    assert frame_rate(tmp_path) == 30.0
    assert frame_rate(tmp_path, 7.5) == 7.5
    assert frame_rate("webcam:0", 15.0) == 15.0
    assert frame_rate(tmp_path / "noise.mp4", 12.0) == 12.0


def test_a_folder_is_sorted_by_name_and_keeps_grey_and_colour(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "frame_10.png"), np.full((4, 6), 10, np.uint8))
    cv2.imwrite(str(tmp_path / "frame_02.PNG"), np.full((4, 6, 3), (2, 30, 40), np.uint8))
    cv2.imwrite(str(tmp_path / "frame_05.bmp"), np.full((4, 6), 5, np.uint8))
    (tmp_path / "frame_00.txt").write_text("not an image")
    frames = list(read_frames(tmp_path))
    assert [frame.shape for frame in frames] == [(4, 6, 3), (4, 6), (4, 6)]
    assert frames[0][0, 0].tolist() == [2, 30, 40], "BGR, as stored"
    assert [int(frame[0, 0]) for frame in frames[1:]] == [5, 10]


def test_deep_and_transparent_images_become_8_bit_colour_or_grey(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6), 0x8000, np.uint16))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((4, 6, 4), (1, 2, 3, 0), np.uint8))
    deep, transparent = read_frames(tmp_path)
    assert deep.shape == (4, 6) and deep.dtype == np.uint8 and deep[0, 0] == 128
    assert transparent.shape == (4, 6, 3) and transparent[0, 0].tolist() == [1, 2, 3]


def test_frames_before_a_broken_image_are_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6), 1, np.uint8))
    (tmp_path / "b.png").write_bytes(b"no image")
    frames = read_frames(tmp_path)
    assert next(frames)[0, 0] == 1
    with pytest.raises(MediaError, match=r"b\.png: not an image"):
        next(frames)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"absent\.mp4: no such video file or folder"):
        next(read_frames(tmp_path / "absent.mp4"))


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "nothing_here"
    folder.mkdir()
    (folder / "notes.txt").write_text("")
    with pytest.raises(MediaError, match=r"nothing_here: no images.*\.png"):
        next(read_frames(folder))


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99], ids=["empty", "noise"])
def test_a_broken_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"broken\.mp4: no frame can be read"):
        next(read_frames(tmp_path / "broken.mp4"))


@pytest.mark.parametrize("name", ["webcam:", "webcam:front", "webcam:-1", "webcam:0 ", "webcam:²"])
def test_a_bad_camera_name_is_named(name: str) -> None:
    with pytest.raises(MediaError, match=f"'{name}' names no camera: write webcam:0"):
        next(read_frames(name))


def test_a_missing_camera_is_named() -> None:
    with pytest.raises(MediaError, match="webcam:97"):
        next(read_frames("webcam:97"))
