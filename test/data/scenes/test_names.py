"""Scenes by name."""

import numpy as np
import pytest

from stvae_ros.data.scenes.names import DEMO, is_scene, open_scene
from stvae_ros.data.scenes.scene3d import Scene3D
from stvae_ros.data.scenes.shapes import SyntheticScene


def test_names_say_kind_seed_place_and_motion() -> None:
    scene = open_scene("scene3d:7:corridor:walk", 64, 48, rate=10)
    assert isinstance(scene, Scene3D)
    assert (scene.place, scene.motion, scene.rate) == ("corridor", "walk", 10)
    assert np.array_equal(scene.frame(2), Scene3D(7, 64, 48, "corridor", "walk", 10).frame(2))
    demo = open_scene(DEMO, 64, 48, seed=3)
    assert np.array_equal(demo.frame(0), open_scene("scene3d:3:street:drive", 64, 48).frame(0))
    shapes = open_scene("synthetic:5", 64, 48, max_speed=2.0)
    assert np.array_equal(shapes.frame(1), SyntheticScene(5, 64, 48, max_speed=2.0).frame(1))
    assert is_scene("scene3d") and is_scene("synthetic:1") and not is_scene("synthetic.mp4")


@pytest.mark.parametrize(
    "name", ["scene3d:x", "scene3d:1:2", "scene3d:street:room", "synthetic:street", "synthetic:1.5"]
)
def test_wrong_names_are_refused_with_the_right_form(name: str) -> None:
    with pytest.raises(ValueError, match="write synthetic:SEED or scene3d:SEED:PLACE:MOTION"):
        open_scene(name, 64, 48)


@pytest.mark.parametrize(("name", "says"), [("scene3d:-1", "seed -1"), ("synthetic:-1", "seed -1")])
def test_seeds_start_at_zero(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        open_scene(name, 64, 48)


def test_wrong_sizes_places_and_motions_are_refused() -> None:
    with pytest.raises(ValueError, match="8x48 is too small"):
        open_scene("scene3d:1", 8, 48)
    with pytest.raises(ValueError, match="place 'moon' of a 3-D scene: choose one of street, corridor, room"):
        Scene3D(1, 64, 48, place="moon")
