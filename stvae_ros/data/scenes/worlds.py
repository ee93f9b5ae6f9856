"""Worlds of 3-D scenes: a street, a corridor and a room, as lanes of things that stand or move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.scenes.raycast import Light
from stvae_ros.data.scenes.solids import (
    OBJECT,
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
from stvae_ros.data.scenes.textures import TEXELS
from stvae_ros.data.scenes.things import HOUSE_WIDTH, Catalog, bouncing_ball, dark, draw, painted, tinted
from stvae_ros.data.scenes.trajectory import Progress, Sway

PLACES = ("street", "corridor", "room")
_STILL = Progress(0.0)
Make = Callable[[np.random.Generator, "Lane"], list[Solid]]


@dataclass
class Lane:
    """A row of things, one for each multiple of ``spacing`` along y, which move together.

    Attributes:
        seed: seed of the things.
        spacing: metres from one thing to the next; infinite for a single thing.
        make: makes the solids of one thing, with the slot at (0, 0, 0) and its front towards +y.
        progress: distance of the row along y as a function of the time in seconds.
        x: where the row is.
        backwards: whether the row faces and moves towards -y.
    """

    seed: tuple[int, ...]
    spacing: float
    make: Make
    progress: Callable[[float], float] = _STILL
    x: float = 0.0
    backwards: bool = False
    _made: dict[int, list[Solid]] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether the row moves as a whole."""
        return self.progress is not _STILL

    def offset(self, time: float) -> float:
        """Shift of the row along y in metres."""
        return -self.progress(time) if self.backwards else self.progress(time)

    def slots(self, time: float, start: float, end: float) -> range:
        """Numbers of the slots between ``start`` and ``end`` metres along y."""
        if not np.isfinite(self.spacing):
            return range(1)
        offset = self.offset(time)
        return range(int(np.ceil((start - offset) / self.spacing)), int(np.floor((end - offset) / self.spacing)) + 1)

    def things(self, slot: int) -> list[Solid]:
        """The solids of a slot, a function of seed and slot alone."""
        if slot not in self._made:
            if len(self._made) > 200:
                self._made.clear()
            self._made[slot] = self.make(np.random.default_rng((*self.seed, slot + 2**20)), self)
        return self._made[slot]

    def pose(self, slot: int, time: float) -> Pose:
        """World from the frame of a slot."""
        y = (slot * self.spacing if np.isfinite(self.spacing) else 0.0) + self.offset(time)
        pose = shift(self.x, y, 0.0)
        return pose @ turn(2, np.pi) if self.backwards else pose


@dataclass(frozen=True)
class World:
    """Lanes, light, and where a camera may go.

    Attributes:
        lanes: all things.
        light: light and air.
        sky: texture of the sky and its contrast.
        paths: for each motion of a camera its place (x, y, height) and progress along y.
        room: largest deviation (x, y, z) of the camera from its path in metres.
    """

    lanes: list[Lane]
    light: Light
    sky: tuple[int, float]
    paths: dict[str, tuple[tuple[float, float, float], Progress]]
    room: tuple[float, float, float]


def _standing(
    things: list[Surfaces], chance: float, x: float = 0.0, y: float = 0.0, spread: float = 0.0, turned: float = 0.0
) -> Make:
    """Things that stand, with a probability, near a place of their slot, turned by up to an angle."""

    def made(rng: np.random.Generator, lane: Lane) -> list[Solid]:
        if rng.uniform() > chance:
            return []
        reach = 0.25 * lane.spacing if np.isfinite(lane.spacing) and spread else spread
        at = shift(x + rng.uniform(-spread, spread), y + rng.uniform(-reach, reach), 0)
        return [Solid(moved(draw(rng, things), at @ turn(2, rng.uniform(-turned, turned))))]

    return made


def _walkers(stock: Catalog, spread: float, chance: float) -> Make:
    """People who walk along with their lane."""

    def made(rng: np.random.Generator, lane: Lane) -> list[Solid]:
        if rng.uniform() > chance:
            return []
        place = shift(rng.uniform(-spread, spread), rng.uniform(-0.25, 0.25) * lane.spacing, 0)
        person = stock.figures[int(rng.integers(len(stock.figures)))]
        return person.walk(rng, lane.progress, lambda time: place)

    return made


def _pace(rng: np.random.Generator, low: float, high: float) -> Progress:
    """A speed between two limits, in half of the cases with stops."""
    duty = rng.uniform(0.4, 0.8) if rng.uniform() < 0.5 else 1.0
    return Progress(rng.uniform(low, high), rng.uniform(5, 14), duty, rng.uniform())


def _light(rng: np.random.Generator, up: float, ambient: float, haze: NDArray[np.float64], sight: float) -> Light:
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle), up])
    return Light(direction / np.linalg.norm(direction), ambient, haze, sight)


def _street(stock: Catalog, rng: np.random.Generator, seed: int) -> World:
    """Two lanes of traffic, parked cars, pavements with people, trees and lamps, and houses."""
    textures, kerb, wall, length = stock.textures, 5.5, rng.uniform(7.6, 9.5), 32.0
    asphalt = Look(textures.kinds["road"][0], ROAD, (TEXELS / (2 * kerb), 32.0), (rng.uniform(0.7, 1.1),) * 3)
    slabs = tinted(textures, rng, ROAD, 100, "tiles", "concrete", "brick")
    stone, grass = dark(textures, ROAD, 140), tinted(textures, rng, ROAD, 60, "grass")
    a, b = -length / 2, length / 2
    half = [
        quad([(kerb, a, 0.12), (wall + 0.5, a, 0.12), (wall + 0.5, b, 0.12), (kerb, b, 0.12)], slabs),
        quad([(kerb, b, 0), (kerb, a, 0), (kerb, a, 0.12), (kerb, b, 0.12)], stone),
        quad([(wall, a, 0.05), (60, a, 0.05), (60, b, 0.05), (wall, b, 0.05)], grass),
    ]
    other_half = [moved(part, turn(2, np.pi)) for part in half]
    ground = joined([quad([(-kerb, a, 0), (kerb, a, 0), (kerb, b, 0), (-kerb, b, 0)], asphalt), *half, *other_half])

    def crossing(rng: np.random.Generator, lane: Lane) -> list[Solid]:
        """People who go across the road and back, and balls."""
        if rng.uniform() < 0.4:
            return [bouncing_ball(textures, rng, rng.uniform(-6, 6), 2.5)]
        pace = Progress(rng.uniform(0.8, 1.8), rng.uniform(8, 16), rng.uniform(0.5, 0.8), rng.uniform())
        span, heading = 2 * wall - 3, rng.choice([-1, 1])

        def cross(time: float) -> Pose:
            way = pace(time) % (2 * span)
            back = way > span
            x = (2 * span - way if back else way) - span / 2
            return shift(heading * x, 0, 0.06) @ turn(2, (heading if back else -heading) * np.pi / 2)

        return stock.figures[int(rng.integers(len(stock.figures)))].walk(rng, pace, cross)

    ahead = rng.uniform(9, 25)
    drive = _pace(rng, 5, 12)
    lead = Sway(rng, [0.15 * ahead], 0.1)
    side_x, gaps = (-1.0, 1.0), rng.uniform(5, 9, 4)
    lanes = [
        Lane((seed, 0), length, lambda rng, lane: [Solid(ground)]),
        *(
            Lane((seed, 1 + (s > 0)), HOUSE_WIDTH, _standing(stock.houses, 1.0), x=s * wall, backwards=s < 0)
            for s in side_x
        ),
        *(
            Lane((seed, 3 + (s > 0)), gaps[0] + 1, _standing(stock.cars, 0.5, turned=0.03), x=s * 4.5, backwards=s < 0)
            for s in side_x
        ),
        *(
            Lane((seed, 5 + (s > 0)), gaps[1] + 1, _standing(stock.trees, 0.5), x=s * 6.1, backwards=s < 0)
            for s in side_x
        ),
        *(
            Lane((seed, 7 + (s > 0)), gaps[2] * 2, _standing(stock.posts, 0.6), x=s * 5.9, backwards=s < 0)
            for s in side_x
        ),
        *(
            Lane(
                (seed, 9 + (s > 0)), gaps[3] * 2, _standing(stock.furniture, 0.5, turned=3), x=s * 7.0, backwards=s < 0
            )
            for s in side_x
        ),
        *(
            Lane((seed, 11 + (s > 0)), gaps[3], _walkers(stock, 0.5, 0.4), _pace(rng, 0.8, 1.8), s * 6.9, s < 0)
            for s in side_x
        ),
        Lane((seed, 13), 18.0, crossing),
        Lane((seed, 14), rng.uniform(12, 40), _standing(stock.cars, 0.8), _pace(rng, 5, 13), -1.9, True),
        Lane((seed, 15), ahead, _standing(stock.cars, 0.7), lambda time: drive(time) + float(lead(time)[0]), 1.9),
    ]
    paths = {
        "drive": ((1.9, 0.5 * ahead, rng.uniform(1.1, 1.6)), drive),
        "walk": ((rng.choice([-6.9, 6.9]), 0.0, rng.uniform(1.4, 1.75)), _pace(rng, 0.8, 1.6)),
        "fly": ((rng.uniform(-4, 4), 0.0, rng.uniform(5, 14)), _pace(rng, 1, 8)),
    }
    standing = ((rng.uniform(-6, 6), 0.0, rng.uniform(1.2, 4)), _STILL)
    light = _light(
        rng,
        rng.uniform(0.5, 1.2),
        rng.uniform(0.6, 0.85),
        rng.uniform([200, 195, 180], [240, 225, 215]),
        rng.uniform(80, 300),
    )
    sky = (textures.kinds["clouds"][0], float(rng.choice([0.0, 0.3, 0.7, 1.0])))
    return World(lanes, light, sky, {**dict.fromkeys(("pan", "shake", "stand"), standing), **paths}, (1.0, 1e9, 1.0))


def _indoors(stock: Catalog, rng: np.random.Generator, seed: int, closed: bool) -> World:
    """A corridor without end or, closed, a room: walls with doors and pictures, furniture, people and balls."""
    textures = stock.textures
    half, tall = rng.uniform(3, 6) if closed else rng.uniform(1.2, 2.5), rng.uniform(2.5, 3.6)
    length = rng.uniform(6, 12) if closed else 8.0
    gap = np.inf if closed else length
    a, b = -length / 2, length / 2
    floor = tinted(textures, rng, ROAD, 110, "tiles", "planks", "concrete", "checker", "noise", "cloth")
    ceiling = tinted(textures, rng, WALL, 90, "concrete", "tiles", "cloth")
    plaster = tinted(
        textures, rng, WALL, 90, "concrete", "cloth", "brick", "tiles", "noise", "photo", "stripes", "planks"
    )

    def wall(rng: np.random.Generator, width: float) -> Surfaces:
        """A wall with doors and pictures on x = 0, which faces -x."""
        parts = [quad([(0, width / 2, 0), (0, -width / 2, 0), (0, -width / 2, tall), (0, width / 2, tall)], plaster)]
        for y in np.arange(1.2 - width / 2, width / 2 - 0.8, rng.uniform(1.6, 3)):
            w, low, high = rng.uniform(0.4, 0.8), 1.0, rng.uniform(1.6, 2.2)
            if rng.uniform() < 0.3:
                w, low, high = 0.5, 0, 2.1
                look = tinted(textures, rng, WALL, 150, "planks", "cloth")
            else:
                picture = textures.pick(rng, "photo", "noise", "facade", "clouds")
                look = Look(picture, OBJECT, (TEXELS / 2 / w, TEXELS / (high - low)))
            if rng.uniform() < 0.75:
                parts.append(
                    quad([(-0.03, y + w, low), (-0.03, y - w, low), (-0.03, y - w, high), (-0.03, y + w, high)], look)
                )
        return joined(parts)

    def shell(rng: np.random.Generator, lane: Lane) -> list[Solid]:
        parts = [
            quad([(-half, a, 0), (half, a, 0), (half, b, 0), (-half, b, 0)], floor),
            quad([(-half, b, tall), (half, b, tall), (half, a, tall), (-half, a, tall)], ceiling),
            box((rng.uniform(-0.3, 0.3), 0, tall - 0.06), (0.5, 1.2, 0.05), dark(textures, WALL, 225)),
        ]
        for side in range(4 if closed else 2):
            at, width = (half, length) if side < 2 else (b, 2 * half)
            parts.append(
                moved(wall(rng, width), turn(2, np.pi * (side % 2) + np.pi / 2 * (side // 2)) @ shift(at, 0, 0))
            )
        return [Solid(joined(parts))]

    def life(rng: np.random.Generator, lane: Lane) -> list[Solid]:
        """Balls and, in a room, people who walk in circles."""
        solids = [
            bouncing_ball(textures, rng, rng.uniform(-0.4, 0.4) * half, 0.4 * half)
            for _ in range(int(rng.integers(0, 3)))
        ]
        for _ in range(int(rng.integers(0, 3)) if closed else 0):
            way, radius = (
                Progress(rng.uniform(0.5, 1.4), rng.uniform(6, 12), rng.uniform(0.5, 0.9), rng.uniform()),
                rng.uniform(0.4, 1.2),
            )
            middle, out = shift(rng.uniform(-0.4, 0.4) * half, rng.uniform(-0.2, 0.3) * length, 0), shift(radius, 0, 0)

            def circle(
                time: float, way: Progress = way, radius: float = radius, middle: Pose = middle, out: Pose = out
            ) -> Pose:
                return middle @ turn(2, way(time) / radius) @ out

            solids += stock.figures[int(rng.integers(len(stock.figures)))].walk(rng, way, circle)
        return solids

    def cart(rng: np.random.Generator, lane: Lane) -> list[Solid]:
        """A small robot."""
        body, x = painted(textures, rng, VEHICLE), rng.uniform(-0.3, 0.3) * half
        tower = tinted(textures, rng, VEHICLE, 200, "noise", "photo", "stripes")
        parts = [
            box((0, 0, 0.08), (0.5, 0.7, 0.3), body),
            box((0, -0.1, 0.38), (0.3, 0.3, rng.uniform(0.1, 0.8)), tower),
        ]
        parts += [
            ball((s * 0.27, y, 0.1), (0.04, 0.1, 0.1), dark(textures, VEHICLE)) for s in (-1, 1) for y in (-0.25, 0.25)
        ]
        sway = Sway(rng, [0.3 * length], 0.06)
        return [Solid(joined(parts), lambda time: shift(x, float(sway(time)[0]), 0))]

    corners = (
        [(-0.75, 0), (0.75, 0), (-0.6, 0.4), (0.6, 0.4), (-0.8, -0.4), (0.1, 0.35)]
        if closed
        else [(-0.75, 0), (0.75, 0)]
    )
    lanes = [
        Lane((seed, 0), gap, shell),
        Lane((seed, 1), gap, life),
        Lane((seed, 2), 2.5 * gap, cart, _STILL if closed else _pace(rng, 0.3, 1.2)),
    ]
    for i, (x, y) in enumerate(corners):
        make = _standing(stock.furniture, 0.7, x * half, y * length if closed else 0, 0.1 * half, 3)
        lanes.append(Lane((seed, 3 + i), np.inf if closed else rng.uniform(3, 8), make))
    for s in () if closed else (-1, 1):
        lanes.append(
            Lane(
                (seed, 20 + s),
                rng.uniform(5, 12),
                _walkers(stock, 0.2 * half, 0.8),
                _pace(rng, 0.6, 1.6),
                s * 0.45 * half,
                s < 0,
            )
        )
    eye = (rng.uniform(-0.2, 0.2) * half, a * rng.uniform(0.2, 0.7) if closed else 0.0, rng.uniform(0.5, 1.7))
    paths = {
        name: (eye, _STILL if closed else _pace(rng, 0.5, top))
        for name, top in (("drive", 3), ("walk", 1.6), ("fly", 2))
    }
    paths |= dict.fromkeys(("pan", "shake", "stand"), (eye, _STILL))
    light = _light(rng, 1.5, rng.uniform(0.55, 0.85), rng.uniform(20, 60, 3), rng.uniform(20, 80))
    return World(lanes, light, (0, 0.0), paths, (0.4 * half, 0.25 * length if closed else 1e9, 0.3))


def make_world(place: str, stock: Catalog, rng: np.random.Generator, seed: int) -> World:
    """One of `PLACES`."""
    return _street(stock, rng, seed) if place == "street" else _indoors(stock, rng, seed, closed=place == "room")
