"""Solids of 3-D scenes: rigid bodies of textured quadrilaterals and ellipsoids.

Axes: x to the right, y ahead, z up; lengths in metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.scenes.textures import TEXELS

Pose = NDArray[np.float64]
"""4x4 rigid transform."""
Motion = Callable[[float], Pose]
"""Pose as a function of the time in seconds."""
Vector = Sequence[float] | NDArray[np.float64]
Surfaces = NDArray[np.void]
"""Array of `SURFACE` records."""

ROAD, WALL, BUILDING, VEHICLE, PERSON, OBJECT, SKY = range(7)
CLASS_NAMES = ("road", "wall", "building", "vehicle", "person", "object", "sky")

SURFACE = np.dtype(
    [
        ("round", np.bool_),  # An ellipsoid; otherwise a quadrilateral.
        ("label", np.uint8),
        ("texture", np.int32),
        ("gain", np.float32, 3),  # Colour = texture * gain + bias, times the light.
        ("bias", np.float32, 3),
        ("corners", np.float64, (4, 3)),  # Of a quadrilateral, counter-clockwise seen from outside.
        ("normal", np.float64, 3),  # Of a quadrilateral, outwards.
        ("texels", np.float64, (2, 4)),  # Of a quadrilateral: texel = texels @ (x, y, z, 1).
        ("center", np.float64, 3),  # Of an ellipsoid.
        ("radii", np.float64, 3),
        ("around", np.float64),  # Texels around an ellipsoid, a multiple of 2 * TEXELS.
    ]
)


@dataclass(frozen=True)
class Look:
    """Appearance of surfaces.

    Attributes:
        texture: index of the texture.
        label: index into `CLASS_NAMES`.
        density: texels per metre, along u and v.
        gain: factor of the texture, BGR.
        bias: added to it, BGR.
        offset: texel at the first corner.
    """

    texture: int
    label: int
    density: tuple[float, float] = (64.0, 64.0)
    gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    bias: tuple[float, ...] = (0.0, 0.0, 0.0)
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Solid:
    """A rigid body. Without a motion it rests in the frame of its lane."""

    surfaces: Surfaces
    motion: Motion | None = None


def shift(x: float, y: float, z: float) -> Pose:
    """Translation by (x, y, z) metres."""
    return np.array([[1.0, 0.0, 0.0, x], [0.0, 1.0, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]])


def turn(axis: int, angle: float) -> Pose:
    """Rotation by ``angle`` radians about the axis x (0), y (1) or z (2)."""
    c, s = math.cos(angle), math.sin(angle)
    if axis == 0:
        rows = [[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]
    elif axis == 1:
        rows = [[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]]
    else:
        rows = [[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    return np.array(rows, float)


def quad(corners: Sequence[Sequence[float]], look: Look) -> Surfaces:
    """A plane quadrilateral. The lower left corner of its texture is at the first corner, u goes to the second one."""
    points = np.asarray(corners, float)
    record = _record(look)
    u = points[1] - points[0]
    normal = _cross(u, points[2] - points[0])
    u, normal = u / np.linalg.norm(u), normal / np.linalg.norm(normal)
    record["corners"], record["normal"] = points, normal
    for row, (axis, start) in enumerate(((u * look.density[0], 0), (_cross(u, normal) * look.density[1], TEXELS))):
        record["texels"][0, row] = [*axis, look.offset[row] + start - axis @ points[0]]
    return record


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross product; that of NumPy takes ten times as long for single vectors."""
    return a[[1, 2, 0]] * b[[2, 0, 1]] - a[[2, 0, 1]] * b[[1, 2, 0]]


def joined(parts: Sequence[Surfaces]) -> Surfaces:
    """All surfaces in one array; NumPy's concatenation of records is slow."""
    raw = np.dtype((np.void, SURFACE.itemsize))
    return np.concatenate([np.ascontiguousarray(part).view(raw) for part in parts]).view(SURFACE)


def box(
    center: Vector,
    size: Vector,
    look: Look,
    top: Look | None = None,
    taper: tuple[float, float] = (1.0, 1.0),
) -> Surfaces:
    """A box without a bottom.

    Args:
        center: of the bottom, (x, y, z) metres.
        size: (width, length, height) metres.
        look: of the sides.
        top: of the top, by default like the sides.
        taper: width and length of the top, relative to the bottom.
    """
    half = np.array([size[0], size[1]]) / 2
    low = [(x * half[0], y * half[1], 0.0) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    high = [(x * taper[0], y * taper[1], size[2]) for x, y, _ in low]
    faces = [quad([low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]], look) for i in range(4)]
    return moved(joined([*faces, quad(high, top or look)]), shift(*center))


def ball(center: Vector, radii: Vector, look: Look) -> Surfaces:
    """An ellipsoid with axes along x, y and z."""
    record = _record(look)
    record["round"], record["center"], record["radii"] = True, center, radii
    record["around"] = 2 * TEXELS * max(round(look.density[0] * np.pi * float(np.max(radii)) / TEXELS), 1)
    return record


def moved(surfaces: Surfaces, pose: Pose) -> Surfaces:
    """The surfaces, moved by a pose. Ellipsoids keep the direction of their axes."""
    result = surfaces.copy()
    result["corners"] = surfaces["corners"] @ pose[:3, :3].T + pose[:3, 3]
    result["normal"] = surfaces["normal"] @ pose[:3, :3].T
    result["center"] = surfaces["center"] @ pose[:3, :3].T + pose[:3, 3]
    result["texels"] = surfaces["texels"] @ np.linalg.inv(pose)
    return result


def _record(look: Look) -> Surfaces:
    record = np.zeros(1, SURFACE)
    record["label"], record["texture"], record["gain"], record["bias"] = look.label, look.texture, look.gain, look.bias
    return record
