"""3-D scenes: a camera moves through a street, a corridor or a room, and everything about its pictures is known."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image
from stvae_ros.data.scenes.raycast import Hits, Lens, Scenery, cast, labels, paint
from stvae_ros.data.scenes.shapes import SceneTruth
from stvae_ros.data.scenes.solids import Pose, Solid, Surfaces, joined
from stvae_ros.data.scenes.textures import Textures, procedural
from stvae_ros.data.scenes.things import catalog
from stvae_ros.data.scenes.trajectory import CAMERA_MOTIONS, CameraPath
from stvae_ros.data.scenes.worlds import PLACES, Lane, make_world

_AHEAD, _BEHIND = 95.0, 20.0
"""Metres of a street that are drawn in front of the camera and behind it."""
_SAME = 0.02
"""Relative difference of depth up to which two rays see the same place."""


@dataclass(frozen=True)
class Truth3D(SceneTruth):
    """Ground truth of the step from frame t to frame t + 1; more than in the plane, all on the grid of t.

    Attributes:
        next_visible: (H, W) bool, True where the pixel of frame t is visible in frame t + 1.
        depth: (H, W) float32, z of the camera in metres; infinite for the sky.
        moving: (H, W) bool, True where something moves by itself, or the shadow of a car on the road.
    """

    next_visible: NDArray[np.bool_]
    depth: NDArray[np.float32]
    moving: NDArray[np.bool_]


@dataclass(frozen=True)
class _Frame:
    """The surfaces around the camera at one time, and what the rays meet."""

    cast: _Cast
    time: float
    hits: Hits
    world: Pose
    camera: Pose


@dataclass(frozen=True, eq=False)
class _Cast:
    """All solids of a range of slots.

    Attributes:
        solids: lane, slot and solid of each of them.
        surfaces: the surfaces of all of them.
        owner: index of the solid of each surface.
        identity: number of each surface that is the same in all frames.
        rest: (S, 4, 4) world from each solid, where it does not move.
        changing: indices of the solids that move.
    """

    solids: list[tuple[Lane, int, Solid]]
    surfaces: Surfaces
    owner: NDArray[np.intp]
    identity: NDArray[np.int64]

    rest: Pose
    changing: list[int]

    @lru_cache(maxsize=4)  # noqa: B019
    def poses(self, time: float) -> Pose:
        """(S, 4, 4) world from each solid."""
        result = self.rest.copy()
        frames: dict[tuple[tuple[int, ...], int], Pose] = {}
        for i in self.changing:
            lane, slot, solid = self.solids[i]
            frame = frames.get((lane.seed, slot))
            if frame is None:
                frame = frames[lane.seed, slot] = lane.pose(slot, time)
            result[i] = frame if solid.motion is None else frame @ solid.motion(time)
        return result

    def moving(self, time: float, other: float) -> NDArray[np.bool_]:
        """(N + 1,), whether each surface has another place at another time; False for the sky, which comes last."""
        moves = np.abs(self.poses(time) - self.poses(other)).max(axis=(1, 2)) > 1e-7
        return np.append(moves[self.owner], False)


class Scene3D:
    """A 3-D scene; each frame is a pure function of the arguments and of t."""

    def __init__(
        self,
        seed: int,
        width: int = 320,
        height: int = 240,
        place: str | None = None,
        motion: str | None = None,
        rate: float = 30.0,
        strength: float = 1.0,
        textures: Textures | None = None,
    ) -> None:
        """Draws a world and the path of a camera.

        Args:
            seed: seed of the scene, at least 0.
            width: width of the frames in pixels, at least 16.
            height: height of the frames in pixels, at least 16.
            place: one of `PLACES`, or None for any.
            motion: one of `CAMERA_MOTIONS`, or None for any.
            rate: frames per second of the scene's time.
            strength: factor of the camera's rotations and shakes.
            textures: by default the procedural ones, which are the same on every machine.

        Raises:
            ValueError: an argument is out of range.
        """
        if width < 16 or height < 16:
            raise ValueError(f"a 3-D scene of {width}x{height} is too small: at least 16x16")
        if seed < 0:
            raise ValueError(f"seed {seed} of a 3-D scene: seeds start at 0")
        for name, value, names in (("place", place, PLACES), ("motion", motion, CAMERA_MOTIONS)):
            if value is not None and value not in names:
                raise ValueError(f"{name} {value!r} of a 3-D scene: choose one of {', '.join(names)}")
        rng = np.random.default_rng((seed, 3))
        self.place = place or str(rng.choice(PLACES, p=(0.6, 0.2, 0.2)))
        self.motion = motion or str(rng.choice(CAMERA_MOTIONS, p=(0.3, 0.2, 0.1, 0.15, 0.15, 0.1)))
        self.lens = Lens(width, height, float(width * rng.uniform(0.7, 1.1)))
        self.rate = rate
        self.textures = textures or procedural()
        self.world = make_world(self.place, catalog(self.textures), rng, seed)
        position, progress = self.world.paths[self.motion]
        self.camera = CameraPath(rng, self.motion, position, self.world.room, progress, strength)
        self._start = rng.uniform(0, 60)
        self._cast: tuple[tuple[range, ...], _Cast] | None = None
        self._frames: dict[int, _Frame] = {}

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """3x3 matrix of the pinhole camera in pixels."""
        lens = self.lens
        return np.array([[lens.focal, 0, (lens.width - 1) / 2], [0, lens.focal, (lens.height - 1) / 2], [0, 0, 1.0]])

    def pose(self, t: int) -> Pose:
        """World from camera at frame t, 4x4: metres, the camera's axes x right, y down, z ahead."""
        return self.camera(self._time(t))

    def frame(self, t: int) -> Image:
        """Frame t, (H, W, 3) uint8 BGR; the caller owns the array."""
        frame = self._render(t)
        scenery = Scenery(self.textures, self.world.light, self.world.sky)
        return paint(frame.hits, frame.cast.surfaces, frame.cast.owner, frame.world, frame.camera, scenery)

    def truth(self, t: int) -> Truth3D:
        """Ground truth of the step from frame t to frame t + 1."""
        frame = self._render(t)
        forward, next_visible = self.flow(t, t + 1)
        backward, visible = self.flow(t + 1, t)
        surface = frame.hits.owner
        with np.errstate(divide="ignore"):
            depth = np.float32(1) / frame.hits.inverse_depth
        moves = frame.cast.moving(frame.time, self._time(t + 1))
        return Truth3D(
            backward, forward, visible, labels(frame.hits, frame.cast.surfaces), next_visible, depth, moves[surface]
        )

    def flow(self, start: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Motion of the pixels of frame ``start`` to frame ``end``.

        Returns:
            (H, W, 2) float32 pixels, x first, and (H, W) bool, True where the pixel is visible in frame ``end``.
        """
        now, other, lens = self._render(start), self._render(end), self.lens
        world = now.cast.poses(other.time)
        to_camera = np.linalg.inv(other.camera)
        change = to_camera @ now.camera
        surface, near = now.hits.owner, now.hits.inverse_depth
        xs, ys = lens.rays()
        c = change.astype(np.float32)
        point = [c[i, 0] * xs + (c[i, 1] * ys + c[i, 2])[:, None] + c[i, 3] * near for i in range(3)]
        moves = now.cast.moving(now.time, other.time)
        at = np.nonzero(moves[surface])
        if len(at[0]):
            own = (to_camera @ world @ np.linalg.inv(now.world) @ now.camera).astype(np.float32)
            m = own[now.cast.owner[surface[at]], :3]
            x, y, n = xs[at[1]], ys[at[0]], near[at]
            for i in range(3):
                point[i][at] = m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] + m[:, i, 3] * n
        z = np.maximum(point[2], np.float32(1e-3))
        f = np.float32(lens.focal)
        # The difference of rays, not of positions, keeps the precision of small motions.
        flow = np.stack([(point[0] / z - xs) * f, (point[1] / z - ys[:, None]) * f], axis=-1)
        column = np.rint(2 * (flow[..., 0] + np.arange(lens.width, dtype=np.float32)) + 1)
        row = np.rint(2 * (flow[..., 1] + np.arange(lens.height, dtype=np.float32)[:, None]) + 1)
        inside = (column >= 0) & (column <= 2 * lens.width) & (row >= 0) & (row <= 2 * lens.height) & (point[2] > 1e-3)
        place = np.where(inside, row * (2 * lens.width + 1) + column, 0).astype(np.intp)
        there, there_near = other.hits.surface.ravel()[place], other.hits.nearness.ravel()[place]
        identity, other_identity = (np.append(f.cast.identity, -1) for f in (now, other))
        same = identity[surface] == other_identity[there]
        expected = near / z
        other_moves = other.cast.moving(now.time, other.time)
        same |= (np.abs(there_near - expected) < _SAME * expected) & ~moves[surface] & ~other_moves[there]
        return flow, same & inside

    def resized(self, width: int, height: int) -> Scene3D:
        """The same scene with the same angle of view, in another size."""
        scene = copy(self)
        scene.lens = Lens(width, height, self.lens.focal * width / self.lens.width)
        scene._frames = {}
        return scene

    def _time(self, t: int) -> float:
        return self._start + t / self.rate

    def _render(self, t: int) -> _Frame:
        """What the rays of frame t meet; the last three results are cached."""
        if t not in self._frames:
            time = self._time(t)
            camera = self.camera(time)
            cast_ = self._around(time, camera[1, 3])
            world = cast_.poses(time)
            while len(self._frames) > 2:
                del self._frames[next(iter(self._frames))]
            self._frames[t] = _Frame(
                cast_, time, cast(self.lens, cast_.surfaces, cast_.owner, np.linalg.inv(camera) @ world), world, camera
            )
        return self._frames[t]

    def _around(self, time: float, y: float) -> _Cast:
        """The solids around a place; the last result is cached."""
        key = tuple(lane.slots(time, y - _BEHIND, y + _AHEAD) for lane in self.world.lanes)
        if self._cast is None or self._cast[0] != key:
            solids, identities = [], []
            for number, (lane, slots) in enumerate(zip(self.world.lanes, key, strict=True)):
                for slot in slots:
                    things = lane.things(slot)
                    solids += [(lane, slot, solid) for solid in things]
                    count = sum(len(solid.surfaces) for solid in things)
                    identities.append(((slot + 2**20) * 64 + number) * 4096 + np.arange(count))
            surfaces = joined([solid.surfaces for _, _, solid in solids])
            owner = np.repeat(np.arange(len(solids)), [len(solid.surfaces) for _, _, solid in solids])
            rest = np.stack([lane.pose(slot, time) for lane, slot, _ in solids])
            changing = [i for i, (lane, _, solid) in enumerate(solids) if lane.moves or solid.motion is not None]
            self._cast = key, _Cast(solids, surfaces, owner, np.concatenate(identities), rest, changing)
        return self._cast[1]
