"""Sampler and ground-truth flow: the warping check."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT

from stvae_ros.data.flow_files import flow_pairs, read_flo
from stvae_ros.data.media import MediaError
from stvae_ros.evaluation.paper.warping import regions, warping_errors

REAL = ROOT.parent / "shared" / "data" / "flow"


def write_flo(path: Path, flow: np.ndarray) -> None:
    height, width = flow.shape[:2]
    header = np.float32(202021.25).tobytes() + np.int32([width, height]).tobytes()
    path.write_bytes(header + flow.astype("<f4").tobytes())


def texture(height: int = 40, width: int = 60) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def test_flo_files(tmp_path: Path) -> None:
    flow = np.random.default_rng(1).normal(size=(3, 5, 2)).astype(np.float32)
    flow[1, 2] = 1e10
    path = tmp_path / "flow10.flo"
    write_flo(path, flow)
    read = read_flo(path)
    assert np.isnan(read[1, 2]).all()
    flow[1, 2] = np.nan
    np.testing.assert_array_equal(read, flow)
    for content in (path.read_bytes()[:-4], b"PIEX", b""):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"flow10\.flo"):
            read_flo(path)


def test_pairs_of_both_namings_are_found(tmp_path: Path) -> None:
    picture, flow = texture(), np.zeros((40, 60, 2), np.float32)
    (tmp_path / "Venus").mkdir()
    for name in ("Venus/frame10.png", "Venus/frame11.png", "0000001-img0.png", "0000001-img1.png"):
        cv2.imwrite(str(tmp_path / name), picture)
    write_flo(tmp_path / "Venus" / "flow10.flo", flow)
    write_flo(tmp_path / "0000001-gt.flo", flow)
    assert [name for name, *_ in flow_pairs(tmp_path)] == ["0000001", "Venus"]
    cv2.imwrite(str(tmp_path / "Venus" / "frame11.png"), picture[:20])
    with pytest.raises(MediaError, match=r"frame11\.png: 60x20"):
        list(flow_pairs(tmp_path))
    (tmp_path / "0000001-img1.png").unlink()
    with pytest.raises(MediaError, match=r"0000001-img1\.png: missing"):
        list(flow_pairs(tmp_path))


def test_a_shifted_picture_is_rebuilt_and_its_border_is_not() -> None:
    whole = texture(40, 70)
    first, second = whole[:, 10:], whole[:, :-10]
    errors = warping_errors(first, second, np.full((40, 60, 2), (10.0, 0.0), np.float32))
    assert errors["visible"] == (pytest.approx(50 / 60), pytest.approx(0, abs=1e-5), pytest.approx(0, abs=1e-9))
    share, absolute, squared = errors["border"]
    assert share == pytest.approx(10 / 60) and absolute > 0.05 and squared > 0.004
    assert errors["occluded"][0] == 0 and np.isnan(errors["occluded"][1])
    wrong = warping_errors(first, second, np.full((40, 60, 2), (-10.0, 0.0), np.float32))
    assert wrong["visible"][1] > 0.05, "the other direction does not do"


def test_what_a_moving_square_hides_is_contested() -> None:
    flow = np.zeros((40, 60, 2), np.float32)
    flow[10:20, 15:25, 0] = 12.0  # lands on columns 27 to 36
    flow[0, 0] = np.nan
    groups = regions(flow)
    assert groups["occluded"][11:19, 28:36].all(), "background under the square"
    assert groups["occluded"][11:19, 16:24].all(), "the square itself: flow cannot tell which is in front"
    far = np.ones((40, 60), bool)
    far[8:22, 13:40] = False
    assert not groups["occluded"][far].any()
    assert not any(group[0, 0] for group in groups.values())
    assert not groups["border"].any() and (groups["visible"] ^ groups["occluded"])[groups["all"]].all()


@pytest.mark.skipif(not REAL.is_dir(), reason="ground-truth flow is not beside this checkout")
def test_real_pairs_are_rebuilt_where_they_are_visible() -> None:
    pairs = {name: warping_errors(first, second, flow) for name, first, second, flow in flow_pairs(REAL)}
    assert len(pairs) == 12
    assert np.mean([errors["visible"][2] for errors in pairs.values()]) < 0.004, "the paper's figure, on Sintel"
    for name, errors in pairs.items():
        assert errors["occluded"][1] > 2 * errors["visible"][1], name
