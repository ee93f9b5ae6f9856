"""Things of 3-D scenes: vehicles, people, trees, houses and furniture, made once and drawn from a catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from stvae_ros.data.scenes.solids import (
    BUILDING,
    OBJECT,
    PERSON,
    ROAD,
    VEHICLE,
    WALL,
    Look,
    Pose,
    Solid,
    Surfaces,
    ball,
    box,
    joined,
    moved,
    quad,
    shift,
    turn,
)
from stvae_ros.data.scenes.textures import TEXELS, Textures
from stvae_ros.data.scenes.trajectory import Sway

HOUSE_WIDTH = 12.0
"""Length of a house along the street in metres."""


def tinted(textures: Textures, rng: np.random.Generator, label: int, density: float, *kinds: str) -> Look:
    """A texture with a random place and tint; one in seven is nearly plain."""
    contrast = 0.08 if rng.uniform() < 0.15 else rng.uniform(0.6, 1.0)
    tint = rng.uniform(0.8, 1.15) * rng.uniform(0.9, 1.1, 3)
    offset = rng.integers(0, 2 * TEXELS, 2)
    density = density * float(rng.choice([0.7, 1.0, 1.4]))
    bias = 128 * (1 - contrast) * tint
    return Look(
        textures.pick(rng, *kinds),
        label,
        (density, density),
        tuple(contrast * tint),
        tuple(bias),
        (float(offset[0]), float(offset[1])),
    )


def painted(textures: Textures, rng: np.random.Generator, label: int, low: float = 40, high: float = 210) -> Look:
    """A paint of any colour with a little texture."""
    color, contrast = rng.uniform(low, high) + rng.normal(0, 35, 3), rng.choice([0.1, 0.2, 0.4])
    return Look(
        textures.pick(rng, "cloth", "concrete"),
        label,
        (130.0, 130.0),
        (contrast,) * 3,
        tuple(np.clip(color, 15, 235) - 128 * contrast),
    )


def dark(textures: Textures, label: int, tone: float = 30) -> Look:
    """A nearly plain grey."""
    return Look(textures.kinds["concrete"][0], label, gain=(0.2,) * 3, bias=(tone - 25,) * 3)


def car(textures: Textures, rng: np.random.Generator) -> Surfaces:
    """A car, a van or a lorry of boxes and wheels; its front is towards +y."""
    kind = rng.choice(["car", "car", "car", "van", "lorry"])
    paint, glass = painted(textures, rng, VEHICLE), dark(textures, VEHICLE, 45)
    width, length = {"car": (1.8, 4.2), "van": (1.95, 5.0), "lorry": (2.3, 7.5)}[kind]
    base = 0.25
    w, h = width / 2 + 0.12, length / 2 + 0.15
    parts = [quad([(-w, -h, 0.015), (w, -h, 0.015), (w, h, 0.015), (-w, h, 0.015)], dark(textures, ROAD, 48))]
    if kind == "car":
        hood = 0.62
        parts.append(box((0, 0, base), (width, length, hood), paint, taper=(0.96, 0.97)))
        parts.append(box((0, -0.25, base + hood), (width * 0.94, length * 0.6, 0.4), glass, taper=(0.82, 0.68)))
        parts.append(box((0, -0.25, base + hood + 0.4), (width * 0.77, length * 0.41, 0.12), paint, taper=(0.9, 0.9)))
    elif kind == "van":
        parts.append(box((0, 0, base), (width, length, 0.85), paint))
        parts.append(box((0, -0.3, base + 0.85), (width * 0.97, length * 0.86, 0.5), glass, taper=(0.92, 0.88)))
        parts.append(box((0, -0.3, base + 1.35), (width * 0.89, length * 0.755, 0.3), paint, taper=(0.95, 0.95)))
    else:
        cargo = tinted(textures, rng, VEHICLE, 90, "photo", "stripes", "cloth", "planks")
        parts.append(box((0, length / 2 - 0.9, 0.4), (width * 0.95, 1.7, 0.9), paint))
        parts.append(box((0, length / 2 - 0.95, 1.3), (width * 0.94, 1.6, 0.8), glass, taper=(0.95, 0.85)))
        parts.append(box((0, -1.0, 0.6), (width, length - 2.1, 2.4), cargo))
    tyre = dark(textures, VEHICLE, 28)
    for x in (-width / 2 + 0.05, width / 2 - 0.05):
        for y in (-0.3 * length, 0.31 * length):
            parts.append(ball((x, y, 0.33), (0.12, 0.34, 0.33), tyre))
    for x in (-0.36 * width, 0.36 * width):  # Lamps in front and behind.
        red = Look(tyre.texture, VEHICLE, gain=(0.2,) * 3, bias=(20, 20, 190))
        parts.append(box((x, -length / 2 - 0.0, base + 0.35), (0.3, 0.06, 0.16), red))
        white = Look(tyre.texture, VEHICLE, gain=(0.2,) * 3, bias=(200, 205, 205))
        parts.append(box((x, length / 2 - 0.0, base + 0.3), (0.34, 0.06, 0.16), white))
    return joined(parts)


@dataclass(frozen=True)
class Figure:
    """A person.

    Attributes:
        tall: factor of the size.
        trunk: body and head.
        leg: a leg, which hangs from its joint.
        arm: an arm, likewise.
    """

    tall: float
    trunk: Surfaces
    leg: Surfaces
    arm: Surfaces

    def walk(
        self, rng: np.random.Generator, progress: Callable[[float], float], place: Callable[[float], Pose]
    ) -> list[Solid]:
        """The solids of a person who walks as far as ``progress`` says; arms and legs swing with the steps."""
        tall, phase, rate = self.tall, rng.uniform(0, 2 * np.pi), np.pi / (0.75 * self.tall)

        def limb(side: float, height: float, swing: float, surfaces: Surfaces) -> Solid:
            def motion(time: float) -> Pose:
                joint = turn(0, swing * math.sin(rate * progress(time) + phase))
                joint[0, 3], joint[2, 3] = side, height
                return place(time) @ joint

            return Solid(surfaces, motion)

        limbs = [limb(s * 0.1, 0.88 * tall, s * 0.5, self.leg) for s in (-1, 1)]
        limbs += [limb(s * 0.26 * tall, 1.43 * tall, -s * 0.4, self.arm) for s in (-1, 1)]
        return [Solid(self.trunk, place), *limbs]


def figure(textures: Textures, rng: np.random.Generator) -> Figure:
    """A person in clothes of any colour."""
    tall = rng.uniform(0.85, 1.1)
    coat, trousers = painted(textures, rng, PERSON), painted(textures, rng, PERSON, 30, 120)
    tone = rng.uniform(0.5, 1) * np.array([80, 115, 165])
    skin = Look(textures.kinds["cloth"][0], PERSON, gain=(0.3,) * 3, bias=tuple(tone))
    hair = dark(textures, PERSON, rng.uniform(25, 90))
    trunk = [
        box((0, 0, 0.85 * tall), (0.36 * tall, 0.22, 0.6 * tall), coat, taper=(1.15, 0.9)),
        ball((0, 0.02, 1.6 * tall), (0.1, 0.11, 0.13), skin),
        ball((0, -0.01, 1.66 * tall), (0.11, 0.115, 0.1), hair),
    ]
    leg = box((0, 0, -0.87 * tall), (0.15, 0.17, 0.87 * tall), trousers)
    return Figure(tall, joined(trunk), leg, box((0, 0, -0.6 * tall), (0.1, 0.11, 0.58 * tall), coat))


def bouncing_ball(textures: Textures, rng: np.random.Generator, x: float, reach: float) -> Solid:
    """A ball that bounces and rolls to and fro."""
    radius, height, hertz = rng.uniform(0.1, 0.3), rng.uniform(0, 1.2), rng.uniform(0.5, 1.2)
    look = tinted(textures, rng, OBJECT, 300, "checker", "stripes", "noise", "photo")
    sway = Sway(rng, [reach, reach], 0.25)

    def motion(time: float) -> Pose:
        dx, dy = sway(time)
        pose = shift(x + dx, dy, radius + height * abs(np.sin(np.pi * hertz * time)))
        return pose @ turn(1, dx / radius) @ turn(0, -dy / radius)

    return Solid(ball((0, 0, 0), (radius,) * 3, look), motion)


def _tree(textures: Textures, rng: np.random.Generator) -> Surfaces:
    height, width = rng.uniform(2.2, 3.5), rng.uniform(0.18, 0.4)
    bark = Look(textures.pick(rng, "planks"), OBJECT, gain=(0.45, 0.5, 0.55), bias=(0, 0, 0))
    parts = [box((0, 0, 0), (width, width, height + 0.5), bark, taper=(0.7, 0.7))]
    leaves = tinted(textures, rng, OBJECT, 130, "leaves")
    for _ in range(int(rng.integers(2, 6))):
        x, y, z = rng.normal(0, 0.55, 3)
        parts.append(ball((x, y, height + 1.0 + 0.6 * z), rng.uniform(0.9, 1.6, 3), leaves))
    return joined(parts)


def _lamp_post(textures: Textures, rng: np.random.Generator) -> Surfaces:
    look = dark(textures, OBJECT, rng.uniform(40, 110))
    height = rng.uniform(4.5, 7)
    return joined(
        [
            box((0, 0, 0), (0.12, 0.12, height), look, taper=(0.7, 0.7)),
            box((-0.7, 0, height - 0.1), (1.5, 0.1, 0.08), look),
            box((-1.4, 0, height - 0.2), (0.5, 0.25, 0.12), dark(textures, OBJECT, 190)),
        ]
    )


def _fence(textures: Textures, rng: np.random.Generator) -> Surfaces:
    length = 4.0
    look = painted(textures, rng, OBJECT)
    parts = [box((0, y, 0), (0.05, 0.05, 1.0), look) for y in np.arange(-length / 2, length / 2, 0.45)]
    parts += [box((0, 0, z), (0.04, length, 0.06), look) for z in (0.35, 0.9)]
    return joined(parts)


def _furniture(textures: Textures, rng: np.random.Generator) -> Surfaces:
    """A bin, a crate, a table or a shelf."""
    look = tinted(textures, rng, OBJECT, 180, "planks", "noise", "photo", "cloth", "checker", "stripes", "concrete")
    kind = rng.choice(["crate", "stack", "table", "bin"])
    if kind == "crate":
        return box((0, 0, 0), rng.uniform(0.4, 1.1, 3), look)
    if kind == "stack":
        other = tinted(textures, rng, OBJECT, 180, "photo", "noise", "planks")
        return joined([box((0, 0, 0), (0.8, 0.8, 0.6), look), box((0.05, 0.1, 0.6), (0.5, 0.5, 0.5), other)])
    if kind == "table":
        legs = [box((x, y, 0), (0.06, 0.06, 0.7), look) for x in (-0.6, 0.6) for y in (-0.35, 0.35)]
        return joined([*legs, box((0, 0, 0.7), (1.4, 0.9, 0.05), look)])
    return joined([box((0, 0, 0), (0.5, 0.5, 0.9), look, taper=(1.1, 1.1)), ball((0, 0, 0.95), (0.3, 0.3, 0.2), look)])


def _house(textures: Textures, rng: np.random.Generator) -> Surfaces:
    """A house with its front at x = 0, towards -x; sometimes a wall, or a gap with a tree."""
    kind = rng.choice(["house", "house", "house", "house", "house", "house", "wall", "gap"])
    width, depth = HOUSE_WIDTH - rng.choice([0.0, 0.0, 1.5]), rng.uniform(8, 14)
    if kind == "gap":
        return moved(_tree(textures, rng), shift(depth / 2, 0, 0))
    if kind == "wall":
        look = tinted(textures, rng, WALL, 60, "brick", "concrete", "planks", "photo")
        return box((0.2, 0, 0), (0.4, width, rng.uniform(1.2, 3)), look)
    height, base = rng.uniform(4, 20), rng.uniform(2.6, 3.6)
    floors = rng.choice([2.8, 3.2, 3.6])
    look = tinted(textures, rng, BUILDING, 1, "facade", "facade", "facade", "facade", "brick", "concrete", "photo")
    look = replace(look, density=(TEXELS / HOUSE_WIDTH, TEXELS / 4 / floors), offset=(0.0, 0.0))
    roof = tinted(textures, rng, BUILDING, 40, "tiles", "concrete", "brick")
    shop = tinted(textures, rng, BUILDING, 90, "brick", "concrete", "tiles", "planks")
    parts = [
        box((depth / 2, 0, base), (depth, width, height), look, roof),
        box((depth / 2, 0, 0), (depth + 0.1, width, base), shop),
    ]
    for y in np.arange(-width / 2 + 1.6, width / 2 - 1, rng.uniform(2.4, 3.6)):
        w, low, high = rng.uniform(0.5, 0.9), rng.choice([0.0, 0.7]), rng.uniform(2.0, 2.5)
        pane = dark(textures, BUILDING, rng.uniform(35, 80))
        if rng.uniform() < 0.4:
            pane = Look(
                textures.pick(rng, "photo", "noise", "facade"), BUILDING, (TEXELS / 2 / w, TEXELS / (high - low))
            )
        parts.append(quad([(-0.08, y + w, low), (-0.08, y - w, low), (-0.08, y - w, high), (-0.08, y + w, high)], pane))
    if rng.uniform() < 0.5:
        awning = tinted(textures, rng, BUILDING, 120, "stripes", "cloth")
        parts.append(box((-0.5, 0, base - 0.3), (1.0, width * 0.8, 0.15), awning))
    if rng.uniform() < 0.4:
        top = (depth + 0.4, width + 0.2, rng.uniform(1.5, 3))
        parts.append(box((depth / 2, 0, base + height), top, roof, taper=(0.2, 0.9)))
    return joined(parts)


def recolored(surfaces: Surfaces, rng: np.random.Generator) -> Surfaces:
    """The surfaces in another tint."""
    result, tint = surfaces.copy(), rng.uniform(0.65, 1.25) * rng.uniform(0.85, 1.15, 3)
    result["gain"] *= tint
    result["bias"] *= tint
    return result


class Catalog:
    """Some of each kind of things."""

    def __init__(self, textures: Textures) -> None:
        rng = np.random.default_rng(1)
        self.textures = textures
        self.cars = [car(textures, rng) for _ in range(24)]
        self.figures = [figure(textures, rng) for _ in range(32)]
        self.trees = [_tree(textures, rng) for _ in range(16)]
        self.posts = [make(textures, rng) for make in (_lamp_post, _lamp_post, _fence) for _ in range(4)]
        self.furniture = [_furniture(textures, rng) for _ in range(40)]
        self.houses = [_house(textures, rng) for _ in range(40)]


@lru_cache(maxsize=2)
def catalog(textures: Textures) -> Catalog:
    """The catalogue of some textures."""
    return Catalog(textures)


def draw(rng: np.random.Generator, things: list[Surfaces]) -> Surfaces:
    """One of the things, in a tint of its own."""
    return recolored(things[int(rng.integers(len(things)))], rng)
