"""Ray casting of solids: which surface each ray meets and how far away, and the colour there.

Rays go through a grid with half a pixel between its lines, so that every second one goes through the centre of a pixel.
Distances are kept as their inverse, which is linear in the image on a plane and 0 at infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stvae_ros.data.media import Image
from stvae_ros.data.scenes.solids import SKY, Pose, Surfaces
from stvae_ros.data.scenes.textures import LEVEL_X, LEVEL_Y, LEVELS, TEXELS, Textures

_NEAR = 0.15
"""Distance in metres in front of which nothing is drawn."""
_SHARPNESS = 0.35
"""Subtracted from the mipmap level."""
_CHUNK, _BLOCK = 1024, 1 << 14
"""Width of the maps of one call of OpenCV, and number of rays that are coloured at once: arrays that fit the cache."""
_SCALES = (0.5 ** np.arange(LEVELS)).astype(np.float32)
_LARGE = 1500
"""Surfaces that more rays meet are drawn one by one."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Lens:
    """A pinhole camera; the centre of the first pixel is at (0, 0).

    Attributes:
        width: of the image in pixels.
        height: of the image in pixels.
        focal: focal length in pixels. The principal point is the centre of the image.
    """

    width: int
    height: int
    focal: float

    def rays(self, step: float = 1.0) -> tuple[Floats, Floats]:
        """Columns and rows of a grid as x / z and y / z. With step 0.5 it has 2 n + 1 lines, from -0.5 to n - 0.5."""
        first, extra = (0.0, 0) if step == 1.0 else (-0.5, 1)
        x, y = (
            (first + step * np.arange(round(n / step) + extra) - (n - 1) / 2) / self.focal
            for n in (self.width, self.height)
        )
        return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True)
class Light:
    """Light and air.

    Attributes:
        direction: unit vector towards the sun, in the world.
        ambient: light where the sun does not shine; the sun adds 1 - ambient.
        haze: colour of the air, BGR.
        sight: distance in metres at which haze hides 63 %.
    """

    direction: NDArray[np.float64]
    ambient: float
    haze: NDArray[np.float64]
    sight: float


@dataclass
class Hits:
    """What the rays of one frame meet.

    Attributes:
        lens: the camera.
        surface: (2 H + 1, 2 W + 1) index of the surface, -1 for the sky.
        nearness: 1 / z in 1 / metres on the same grid, 0 for the sky.
        planes: (9, N) float32, for each quadrilateral: (u, v, 1) / z = plane.reshape(3, 3) @ (x / z, y / z, 1).
        rounds: (N, 3, 4) float32, for each ellipsoid: point on the unit sphere = round @ (x, y, z, 1).
    """

    lens: Lens
    surface: NDArray[np.int32]
    nearness: Floats
    planes: Floats
    rounds: Floats

    @property
    def owner(self) -> NDArray[np.int32]:
        """The surface at the centre of each pixel, (H, W)."""
        return self.surface[1::2, 1::2]

    @property
    def inverse_depth(self) -> Floats:
        """The nearness at the centre of each pixel, (H, W)."""
        return self.nearness[1::2, 1::2]


def cast(lens: Lens, surfaces: Surfaces, owner: NDArray[np.intp], poses: Pose) -> Hits:
    """Finds the nearest surface along each ray.

    Args:
        lens: the camera.
        surfaces: N surfaces.
        owner: (N,) index of the solid of each surface.
        poses: (S, 4, 4) camera from the frame of each solid.
    """
    xs, ys = lens.rays(0.5)
    shape = len(ys), len(xs)
    hits = Hits(
        lens,
        np.full(shape, -1, np.int32),
        np.zeros(shape, np.float32),
        np.zeros((9, len(surfaces)), np.float32),
        np.zeros((len(surfaces), 3, 4), np.float32),
    )
    inverse = np.linalg.inv(poses).astype(np.float64, copy=False)
    flat, corners = _project_quads(hits, surfaces, owner, poses, inverse)
    index, rows, first, last = _quad_spans(flat, corners, xs, ys)
    round_index, conics = _project_rounds(hits, surfaces, owner, poses, inverse)
    more = _round_spans(round_index, conics, xs, ys)
    index, rows, first, last = (np.concatenate(pair) for pair in zip((index, rows, first, last), more, strict=True))
    keep = first < last
    index, rows, first, last = index[keep], rows[keep], first[keep], last[keep]
    sizes = np.bincount(index, last - first, len(surfaces))
    large = sizes[index] > _LARGE
    for surface in np.flatnonzero(sizes > _LARGE).tolist():
        own = np.flatnonzero(index == surface)
        _draw_large(hits, surfaces, surface, rows[own], first[own], last[own], xs, ys)
    small = ~large
    _draw_small(hits, surfaces, index[small], rows[small], first[small], last[small], xs, ys)
    return hits


def _project_quads(
    hits: Hits, surfaces: Surfaces, owner: NDArray[np.intp], poses: Pose, inverse: Pose
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Quadrilaterals that may be seen: their indices, and (P, 5, 2) corners as x / z and y / z."""
    flat = np.flatnonzero(~surfaces["round"])
    pose = poses[owner[flat]]
    corners = surfaces["corners"][flat] @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]
    normals = (pose[:, :3, :3] @ surfaces["normal"][flat][..., None])[..., 0]
    offsets = (normals * corners[:, 0]).sum(axis=1)
    x, y, z = corners[..., 0], corners[..., 1], corners[..., 2]
    xs, ys = hits.lens.rays(0.5)
    seen = (offsets < 0) & (z.max(axis=1) > _NEAR)
    for a, limit in ((x, xs[-1]), (-x, xs[-1]), (y, ys[-1]), (-y, ys[-1])):
        seen &= ((a - limit * z) < 0).any(axis=1)
    flat, corners = flat[seen], corners[seen]
    planes = normals[seen] / offsets[seen, None]
    texels = surfaces["texels"][flat] @ inverse[owner[flat]]
    texels = texels[..., :3] + texels[..., 3:] * planes[:, None]
    hits.planes[:6, flat] = texels.reshape(-1, 6).T
    hits.planes[6:, flat] = planes.T
    five = np.concatenate([corners, corners[:, 3:]], axis=1)
    for i in np.flatnonzero(corners[..., 2].min(axis=1) < _NEAR).tolist():
        five[i] = _clipped(corners[i])
    return flat, five[..., :2] / five[..., 2:]


def _clipped(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a quadrilateral that is farther than `_NEAR`, as five corners; some may coincide."""
    result = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if a[2] >= _NEAR:
            result.append(a)
        if (a[2] >= _NEAR) != (b[2] >= _NEAR):
            result.append(a + (b - a) * ((_NEAR - a[2]) / (b[2] - a[2])))
    return np.array([*result, *[result[-1]] * (5 - len(result))])


def _rows(index: NDArray, top: NDArray, bottom: NDArray, ys: Floats) -> tuple[NDArray, NDArray]:
    """Number of the figure and row of the grid for all rows that the figures cross."""
    start, end = np.searchsorted(ys, top), np.searchsorted(ys, bottom)
    count = end - start
    figure = np.repeat(np.arange(len(index)), count)
    return figure, np.arange(len(figure)) - np.repeat(np.cumsum(count) - count - start, count)


def _columns(left: NDArray, right: NDArray, xs: Floats) -> tuple[NDArray, NDArray]:
    """First column at or after ``left``, and first at or after ``right``."""
    step = (xs[-1] - xs[0]) / (len(xs) - 1)
    return tuple(np.clip(np.ceil((at - xs[0]) / step), 0, len(xs)).astype(np.intp) for at in (left, right))


_Spans = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
"""Index of a surface, row, first column, and column after the last one."""


def _quad_spans(index: NDArray[np.intp], corners: NDArray[np.float64], xs: Floats, ys: Floats) -> _Spans:
    x0, y0 = corners[..., 0], corners[..., 1]
    x1, y1 = np.roll(x0, -1, axis=1), np.roll(y0, -1, axis=1)
    figure, row = _rows(index, y0.min(axis=1), y0.max(axis=1), ys)
    # All corners go round the same way: edges that go down bound a row from the left, the others from the right.
    rise = y1 - y0
    slope = (x1 - x0) / np.where(rise == 0, 1, rise)
    base = x0 - y0 * slope
    low, high = np.where(rise > 0, 0, -np.inf), np.where(rise < 0, 0, np.inf)
    left, right = np.full(len(row), -np.inf), np.full(len(row), np.inf)
    y = ys[row].astype(np.float64)
    for i in range(5):
        at = base[:, i][figure] + slope[:, i][figure] * y
        np.maximum(left, at + low[:, i][figure], out=left)
        np.minimum(right, at + high[:, i][figure], out=right)
    return index[figure], row, *_columns(left, right, xs)


def _project_rounds(
    hits: Hits, surfaces: Surfaces, owner: NDArray[np.intp], poses: Pose, inverse: Pose
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Ellipsoids in front of the camera: their indices, and (E, 3, 3) conics, positive inside for (x / z, y / z, 1)."""
    index = np.flatnonzero(surfaces["round"])
    radii, center = surfaces["radii"][index], surfaces["center"][index]
    depth = (poses[owner[index], 2, :3] * center).sum(axis=1) + poses[owner[index], 2, 3]
    seen = depth > _NEAR + radii.max(axis=1)
    index, radii, center = index[seen], radii[seen], center[seen]
    # The ray z d meets the unit sphere where |z E d + O| = 1: a quadratic equation for 1 / z.
    unit = inverse[owner[index], :3].copy()
    unit[..., 3] -= center
    unit /= radii[..., None]
    hits.rounds[index] = unit
    turned, origin = unit[..., :3].transpose(0, 2, 1), unit[..., 3:]
    mixed = turned @ origin
    rest = (origin**2).sum(axis=1, keepdims=True) - 1
    return index, mixed @ mixed.transpose(0, 2, 1) - rest * (turned @ unit[..., :3])


def _round_spans(index: NDArray[np.intp], conics: NDArray[np.float64], xs: Floats, ys: Floats) -> _Spans:
    dual = np.linalg.inv(conics)
    middle = dual[:, 1, 2] / dual[:, 2, 2]
    half = np.sqrt(np.maximum(middle**2 - dual[:, 1, 1] / dual[:, 2, 2], 0))
    figure, row = _rows(index, middle - half, middle + half, ys)
    y = ys[row].astype(np.float64)
    s = conics[figure]
    a, b = -s[:, 0, 0], s[:, 0, 1] * y + s[:, 0, 2]
    c = (s[:, 1, 1] * y + 2 * s[:, 1, 2]) * y + s[:, 2, 2]
    root = np.sqrt(np.maximum(b**2 + a * c, 0))
    return index[figure], row, *_columns((b - root) / a, (b + root) / a, xs)


def _round_nearness(unit: Floats, x: Floats, y: Floats) -> Floats:
    """1 / z of the near side of ellipsoids ``unit``, (3, 4) or (3, 4, M), along rays that meet them."""
    e = [unit[i, 0] * x + unit[i, 1] * y + unit[i, 2] for i in range(3)]
    o = unit[:, 3]
    square, mixed = e[0] * e[0] + e[1] * e[1] + e[2] * e[2], e[0] * o[0] + e[1] * o[1] + e[2] * o[2]
    rest = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1
    return (np.sqrt(np.maximum(mixed * mixed - rest * square, 0)) - mixed) / rest


def _draw_large(
    hits: Hits, surfaces: Surfaces, index: int, rows: NDArray, first: NDArray, last: NDArray, xs: Floats, ys: Floats
) -> None:
    """Draws one surface, by whole rectangles."""
    start, end, top, bottom = int(first.min()), int(last.max()), int(rows[0]), int(rows[-1]) + 1
    area = np.s_[top:bottom, start:end]
    x, y = xs[start:end], ys[top:bottom, None]
    # Slivers may leave out rows.
    limits = np.zeros((2, bottom - top, 1), np.int16)
    limits[:, rows - top, 0] = first, last
    if surfaces["round"][index]:
        nearness = _round_nearness(hits.rounds[index], x, y)
    else:
        a, b, c = hits.planes[6:, index]
        nearness = a * x + (b * y + c)
    columns = np.arange(start, end, dtype=np.int16)
    wins = nearness > hits.nearness[area]
    wins &= columns >= limits[0]
    wins &= columns < limits[1]
    np.copyto(hits.nearness[area], nearness, where=wins)
    np.copyto(hits.surface[area], index, where=wins)


def _draw_small(
    hits: Hits, surfaces: Surfaces, index: NDArray, rows: NDArray, first: NDArray, last: NDArray, xs: Floats, ys: Floats
) -> None:
    """Draws many surfaces at once, by single rays."""
    count = last - first
    span = np.repeat(np.arange(len(count)), count)
    column = np.arange(len(span)) - np.repeat(np.cumsum(count) - count - first, count)
    place = (rows * len(xs))[span] + column
    surface, x, y = index[span], xs[column], ys[rows][span]
    plane = hits.planes[6:].take(index, axis=1)
    nearness = plane[0][span] * x + (plane[1] * ys[rows] + plane[2])[span]
    at = np.flatnonzero(surfaces["round"][index][span])
    nearness[at] = _round_nearness(hits.rounds[surface[at]].transpose(1, 2, 0), x[at], y[at])
    wins = np.flatnonzero(nearness > hits.nearness.ravel()[place])
    wins = wins[np.argsort(nearness[wins])]  # The nearest comes last and stays.
    hits.nearness.ravel()[place[wins]] = nearness[wins]
    hits.surface.ravel()[place[wins]] = surface[wins]


@dataclass(frozen=True)
class Scenery:
    """What colours depend on, beside the surfaces.

    Attributes:
        textures: the textures.
        light: light and air.
        sky: texture of the sky and its contrast.
    """

    textures: Textures
    light: Light
    sky: tuple[int, float]


def paint(
    hits: Hits, surfaces: Surfaces, owner: NDArray[np.intp], poses: Pose, camera: Pose, scenery: Scenery
) -> Image:
    """Colours of all pixels, (H, W, 3) uint8 BGR. Where surfaces meet, a pixel mixes the rays around its centre.

    Args:
        hits: result of `cast`.
        surfaces: the N surfaces.
        owner: (N,) index of the solid of each surface.
        poses: (S, 4, 4) world from the frame of each solid.
        camera: world from camera.
        scenery: textures, light and sky.
    """
    surface = hits.surface.astype(np.int16)
    kernel = np.ones((3, 3), np.uint8)
    edges = (cv2.dilate(surface, kernel) != cv2.erode(surface, kernel))[1::2, 1::2]
    needed = np.zeros(surface.shape, np.bool_)
    needed[1::2, 1::2] = True
    for row in (slice(0, -1, 2), slice(2, None, 2)):
        for column in (slice(0, -1, 2), slice(2, None, 2)):
            needed[row, column] |= edges
    index = np.flatnonzero(needed)
    fine = np.zeros((*surface.shape, 3), np.uint8)
    painter = _Painter(hits, surfaces, owner, poses, camera, scenery)
    for start in range(0, len(index), _BLOCK):
        block = index[start : start + _BLOCK]
        fine.reshape(-1, 3)[block] = painter.colors(block)
    image = fine[1::2, 1::2].copy()
    rows, columns = np.nonzero(edges)
    total = 4 * image[rows, columns].astype(np.uint16) + 4
    for i in (0, 2):
        for j in (0, 2):
            total += fine[2 * rows + i, 2 * columns + j]
    image[rows, columns] = total >> 3
    return image


class _Painter:
    """Colours of rays of one frame; the tables have a last row for the sky. The arguments are those of `paint`."""

    def __init__(
        self,
        hits: Hits,
        surfaces: Surfaces,
        owner: NDArray[np.intp],
        poses: Pose,
        camera: Pose,
        scenery: Scenery,
    ) -> None:
        light = scenery.light
        self.hits, self.scenery, self.camera = hits, scenery, camera.astype(np.float32)
        self.sun = (light.direction @ poses[:, :3, :3])[owner].astype(np.float32)
        self.around, self.radii = surfaces["around"].astype(np.float32), surfaces["radii"].astype(np.float32)
        self.round = np.append(surfaces["round"], False)
        shade = self._lit(np.maximum((self.sun * surfaces["normal"]).sum(axis=1), 0))
        shade = np.where(surfaces["round"], 1, shade)[:, None]
        texture, contrast = scenery.sky
        self.gain = np.vstack([surfaces["gain"] * shade, [[contrast] * 3]]).astype(np.float32)
        self.bias = np.vstack([surfaces["bias"] * shade, light.haze]).astype(np.float32)
        textures, index = scenery.textures, np.append(surfaces["texture"], texture)
        self.tiles = textures.tile_x[index], textures.tile_y[index]

    def _lit(self, sun: NDArray) -> NDArray:
        ambient = np.float32(self.scenery.light.ambient)
        return ambient + (1 - ambient) * sun

    def colors(self, index: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Colours (M, 3) at M places of the grid of half pixels."""
        xs, ys = self.hits.lens.rays(0.5)
        rows, columns = np.divmod(index, len(xs))
        x, y = xs[columns], ys[rows]
        owner = self.hits.surface.ravel()[index].astype(np.intp)
        z = 1 / np.maximum(self.hits.nearness.ravel()[index], np.float32(1e-6))
        h = self.hits.planes.take(owner, axis=1, mode="wrap")
        u = (h[0] * x + h[1] * y + h[2]) * z
        v = (h[3] * x + h[4] * y + h[5]) * z
        # Texels per pixel along both axes of the image.
        across = (h[0] - u * h[6]) ** 2 + (h[3] - v * h[6]) ** 2
        down = (h[1] - u * h[7]) ** 2 + (h[4] - v * h[7]) ** 2
        spread = np.maximum(across, down) * (z / np.float32(self.hits.lens.focal)) ** 2
        gain, bias = self.gain.take(owner, axis=0, mode="wrap"), self.bias.take(owner, axis=0, mode="wrap")
        at = np.flatnonzero(self.round[owner])
        if len(at):
            shade, u[at], v[at], spread[at] = self._rounds(owner[at], x[at], y[at], z[at])
            gain[at] *= shade
            bias[at] *= shade
        at = np.flatnonzero(owner < 0)
        if len(at):
            bias[at], u[at], v[at], spread[at] = self._sky(x[at], y[at])
        colors = self._texels(owner, u, v, spread)
        colors *= gain
        colors += bias
        air = 1 - np.exp(z * np.float32(-1 / self.scenery.light.sight))
        air[at] = 0
        colors += air[:, None] * (self.scenery.light.haze.astype(np.float32) - colors)
        return np.clip(colors, 0, 255, out=colors).astype(np.uint8)

    def _rounds(
        self, owner: NDArray[np.intp], x: Floats, y: Floats, z: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Shade, u, v, and texels per pixel, squared, of rays that meet ellipsoids."""
        unit = self.hits.rounds[owner]
        point = (unit[..., :3] @ np.stack([x * z, y * z, z], axis=1)[..., None])[..., 0] + unit[..., 3]
        radii, scale = self.radii[owner], self.around[owner] / np.float32(2 * np.pi)
        u, v = np.arctan2(point[:, 1], point[:, 0]) * scale, np.arcsin(np.clip(point[:, 2], -1, 1)) * scale
        spread = (scale / radii.min(axis=1) * z / np.float32(self.hits.lens.focal)) ** 2
        normal = point / radii
        sun = (normal * self.sun[owner]).sum(axis=1) / np.sqrt((normal * normal).sum(axis=1))
        return self._lit(np.clip(0.35 + 0.65 * sun, 0, 1))[:, None], u, v, spread

    def _sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Bias, u, v, and texels per pixel, squared, of a layer of clouds; the sky is brighter at the horizon."""
        east, north, up = self.camera[:3, :3] @ np.stack([x, y, np.ones_like(x)])
        length = np.sqrt(east**2 + north**2 + up**2)
        up = np.maximum(up / length, 0) + np.float32(0.12)
        haze = self.scenery.light.haze.astype(np.float32)
        blue = haze + np.minimum(up * 1.6, 1)[:, None] * (np.array([225, 175, 120], np.float32) - haze)
        return blue - 128 * self.scenery.sky[1], 130 * east / length / up, 130 * north / length / up, (0.5 / up**2) ** 2

    def _texels(self, owner: NDArray[np.intp], u: Floats, v: Floats, spread: Floats) -> Floats:
        """Samples (M, 3), linear in u, v and the mipmap level. Textures repeat as mirror images."""
        level = np.clip(np.log2(np.maximum(spread, 1e-6)) * 0.5 - np.float32(_SHARPNESS), 0, LEVELS - 1.001)
        base = level.astype(np.intp)
        period = np.float32(2 * TEXELS)
        mirrored = [np.abs(axis - period * np.rint(axis / period)) for axis in (u, v)]
        tiles = [tile.take(owner, mode="wrap") for tile in self.tiles]
        samples = []
        for step in (base, base + 1):
            scale = _SCALES.take(step)
            maps = []
            for axis, tile, starts in zip(mirrored, tiles, (LEVEL_X, LEVEL_Y), strict=True):
                place = np.minimum(np.maximum(axis * scale - np.float32(0.5), 0), TEXELS * scale - 1)
                place += tile + starts.take(step)
                maps.append(np.resize(place, (-(-len(u) // _CHUNK), _CHUNK)))
            image = cv2.remap(self.scenery.textures.atlas, maps[0], maps[1], cv2.INTER_LINEAR)
            samples.append(image.reshape(-1, 3)[: len(u)].astype(np.float32))
        return samples[0] + (level - base)[:, None] * (samples[1] - samples[0])


def labels(hits: Hits, surfaces: Surfaces) -> Image:
    """Label of each pixel, (H, W) uint8."""
    return np.append(surfaces["label"], np.uint8(SKY))[hits.owner]
