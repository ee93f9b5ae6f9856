"""`stvae benchmark cameras` on a real node."""

from pathlib import Path

import pytest
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
