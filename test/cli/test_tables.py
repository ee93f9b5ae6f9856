"""Tables of results: every format, every width."""

import csv
import io
import json
import math
import re

import pytest

from stvae_ros.cli.tables import FORMATS, Figure, Table, show

SOURCES = ["JPEGImages/car-roundabout", "eval/udacity_solidWhiteRight", "KITTI_sequence_2/image_l"]
WORDS = ["flow error, predicted (px)", "moving pixels (dB)", "flicker (px)", "observed (px)", "ms", "SSIM"]
TABLE = Table(
    "PSNR (dB)",
    ["method", *SOURCES],
    [["stvae-rt-m", Figure(30.12345, ".2f"), math.nan, 3], ["a|b [x]", Figure(1, ".1f"), None, "4 (5)"]],
)


def printed(form: str, capsys: pytest.CaptureFixture[str]) -> str:
    show([TABLE, TABLE], form)
    return capsys.readouterr().out


def test_json_and_csv_keep_all_digits(capsys: pytest.CaptureFixture[str]) -> None:
    tables = json.loads(printed("json", capsys))
    assert [table["title"] for table in tables] == ["PSNR (dB)"] * 2
    assert tables[0]["rows"][0] == dict(zip(TABLE.columns, ["stvae-rt-m", 30.12345, None, 3], strict=True))
    rows = list(csv.reader(io.StringIO(printed("csv", capsys))))
    assert rows[0] == ["table", *TABLE.columns] and rows[1] == ["PSNR (dB)", "stvae-rt-m", "30.12345", "", "3"]


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed("markdown", capsys).splitlines()
    assert lines[:2] == ["PSNR (dB)", ""] and lines[3] == "|---|---|---|---|"
    assert lines[4:6] == ["| stvae-rt-m | 30.12 | - | 3 |", r"| a\|b [x] | 1.0 | - | 4 (5) |"]


@pytest.mark.parametrize("width", [30, 50, 80, 200])
def test_no_name_is_cut_on_a_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed("table", capsys))
    lines = text.splitlines()
    widest = max(map(len, SOURCES)) + len("stvae-rt-m") + 7
    assert max(map(len, lines)) <= max(width, widest)
    if width >= widest:
        assert all(name in text for name in (*SOURCES, "stvae-rt-m", "a|b [x]"))


def test_piped_tables_have_full_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = printed("table", capsys)
    assert any(all(name in line for name in SOURCES) for line in text.splitlines())
    assert set(FORMATS) == {"table", "json", "csv", "markdown"}


def test_headings_break_between_words_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show([Table("means", ["method", *WORDS], [["stvae-rt-m", *range(len(WORDS))]])], "table")
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert all(word in text for heading in WORDS for word in heading.split())
    assert max(map(len, text.splitlines())) <= 60
