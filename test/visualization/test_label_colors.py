"""Names and colours of semantic classes."""

from pathlib import Path

import numpy as np
import pytest

from stvae_ros.resources import share_directory
from stvae_ros.visualization.label_colors import ClassTable


def test_the_shipped_table_has_the_classes_of_camvid() -> None:
    table = ClassTable.load(share_directory() / "config" / "labels.yaml")
    assert list(table.names) == list(range(11)) and table.names[8] == "car"
    drawn = table.draw(np.array([[3, 8, 255]], np.uint8))
    assert drawn.tolist() == [[[128, 64, 128], [128, 0, 64], [0, 0, 0]]], "BGR; unlabelled is black"


@pytest.mark.parametrize(("dtype", "unlabelled"), [(np.uint8, 255), (np.uint16, 65535)])
def test_classes_without_a_name_have_different_colours(dtype: type, unlabelled: int) -> None:
    labels = np.append(np.arange(40), unlabelled).astype(dtype)[None]
    drawn = ClassTable().draw(labels)
    assert drawn.shape == (1, 41, 3) and drawn.dtype == np.uint8
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 35
    np.testing.assert_array_equal(drawn, ClassTable().draw(labels), "the same every time")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("classes: [{id: 0, name: sky, color: [1, 2]}]", "color of class 0"),
        ("classes: [{id: 0, name: sky, color: [1, 2, 300]}]", "color of class 0"),
        ("classes: [{id: 0, name: sky}, {id: 0, name: road}]", "an id twice"),
        ("classes: [{name: sky}]", "must say"),
        ("sky: 0", "must say"),
        ("[", "cannot be read"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem) as error:
        ClassTable.load(path)
    assert str(path) in str(error.value)
