"""`stvae benchmark` and `stvae benchmark cameras` on a real node."""

import re
from pathlib import Path

import pytest
from checkout import make
from robot import new_domain, small_network

from stvae_ros.cli.main import main


def test_table_of_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(new_domain()))
    monkeypatch.setenv("COLUMNS", "160")
    options = ["--cameras", "2", "--seconds", "2", "--rate", "5", "--size", "96", "64", "--num-threads", "1"]
    assert main(["benchmark", "cameras", "--model", str(small_network(tmp_path)), *options]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ 2 "))
    shown, answered, least, median, percentile = (float(cell) for cell in row.strip("│").split("│")[1:])
    assert 5 < shown <= 11 and 0 < 2 * least <= answered <= shown and 0 < median <= percentile
    assert main(["benchmark", "cameras", "--cameras", "0"]) == 2
    assert "must be positive" in capsys.readouterr().err


def test_table_of_the_node(tmp_path: Path) -> None:
    weights = small_network(tmp_path)
    options = f"--model {weights} --size 96 64 --precision fp32 --repeats 2 --rate 5 --seconds 2 --num-threads 1"
    environment = {"ROS_DOMAIN_ID": str(new_domain()), "COLUMNS": "250"}
    done = make(tmp_path / "checkout", f"make bench ARGS='{options}'", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        rows[cells[0]] = cells[1:]
    assert float(rows[f"{weights} (cpu, fp32)"][0]) > 0
    shown = re.search(r"frames processed: (\d+) of (\d+) at 5 Hz", " ".join(done.stdout.split()))
    assert shown is not None and 0 < int(shown[1]) <= int(shown[2]) == 10
    medians = {}
    for stage in ("network", "added", "stamp to subscriber of ~/flow"):
        medians[stage], percentile = map(float, rows[stage])
        assert 0 < medians[stage] <= percentile
    assert medians["network"] <= medians["stamp to subscriber of ~/flow"]


@pytest.mark.parametrize("options", [("--rate", "0"), ("--rate", "5", "--seconds", "0.1")])
def test_rates_that_show_nothing_are_refused(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *options]) == 2
    assert "--rate and --seconds" in capsys.readouterr().err
