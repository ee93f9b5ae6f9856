"""Scenes by name, for commands and nodes."""

from __future__ import annotations

from typing import Any

from stvae_ros.data.scenes.scene3d import Scene3D
from stvae_ros.data.scenes.shapes import SyntheticScene
from stvae_ros.data.scenes.trajectory import CAMERA_MOTIONS
from stvae_ros.data.scenes.worlds import PLACES

DEMO = "scene3d:street:drive"
"""The scene that demo and video_publisher show."""


def is_scene(name: str) -> bool:
    """Whether a source names a scene."""
    return name.partition(":")[0] in ("synthetic", "scene3d")


def open_scene(
    name: str, width: int, height: int, rate: float = 30.0, seed: int = 0, **options: Any
) -> SyntheticScene | Scene3D:
    """Opens a scene.

    Args:
        name: ``synthetic:SEED``, or ``scene3d:SEED`` with a place and a motion of the camera if wanted, for example
            ``scene3d:7:street:walk``. Each part may be left out.
        width: width of the frames in pixels.
        height: height of the frames in pixels.
        rate: frames per second of a 3-D scene.
        seed: seed where the name has none.
        **options: further arguments of `SyntheticScene`.

    Raises:
        ValueError: the name or the size cannot be used.
    """
    kind, *parts = name.split(":")
    found: dict[str, str] = {}
    for part in filter(None, parts):
        key = "place" if part in PLACES else "motion" if part in CAMERA_MOTIONS else "seed"
        is_wrong = key == "seed" and not part.removeprefix("-").isdecimal()
        if is_wrong or key in found or (kind == "synthetic" and key != "seed"):
            raise ValueError(
                f"{part!r} in {name}: write synthetic:SEED or scene3d:SEED:PLACE:MOTION with a number, one of "
                f"{', '.join(PLACES)} and one of {', '.join(CAMERA_MOTIONS)}"
            )
        found[key] = part
    seed = int(found.pop("seed", seed))
    if kind == "synthetic":
        return SyntheticScene(seed, width, height, **options)
    return Scene3D(seed, width, height, found.get("place"), found.get("motion"), rate)
