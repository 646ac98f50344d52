"""Family ``distractor``: solid things that have nothing to do with the task.

They are added to the frame that is about to be drawn and exist in no physics. They drift across the
picture, most of them behind the agent, some before it; those before it shrink where they would
cover a body, a target or another thing of the task by more than a share of its width.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import mujoco
import numpy as np

from shiftbench.shifts import patterns
from shiftbench.shifts.base import GradedFamily
from shiftbench.shifts.solids import COUNT, faces_of, frustum
from shiftbench.shifts.texture import solid_geoms

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Shapes of distractors: half sizes as shares of the radius that they are given, in which they all
#: fit, and the size of the face on top as a share of the one below. Ours.
SHAPES = (
    ((0.65, 0.5, 0.55), 1.0),
    ((0.85, 0.45, 0.25), 1.0),
    ((0.55, 0.55, 0.55), 1.0),
    ((0.55, 0.5, 0.65), 0.5),
    ((0.6, 0.55, 0.57), 0.0),
)

#: The corners of their faces, and behind these what the faces face: float32 (shapes, 48, 3).
POINTS = np.concatenate(faces_of(np.stack([frustum(*shape) for shape in SHAPES])), axis=1).astype(
    np.float32
)

#: Half the width of the square that distractors drift in, in half frames: what leaves on one side
#: comes in on the other, unseen.
FIELD = 1.25

#: Depths as shares of the mean depth of the task's things: before and behind them. Ours.
BEFORE, BEHIND = (0.55, 0.8), (1.2, 1.7)

#: Share of that depth up to which a thing counts as standing before the task's things.
NEAR = 1.1

#: Darkest and lightest luma of distractors, and their saturation. Ours.
LUMA, SATURATION = (0.15, 0.6), 0.8

#: Radians an agent step that a moving distractor turns by, at most. Ours.
TUMBLE = 0.2

#: Points along the longest axis of a body that stand for it.
ALONG = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])

#: Types of geoms that have a radius, in the order of `_half_sizes`.
_ROUND = tuple(
    int(getattr(mujoco.mjtGeom, f"mjGEOM_{name}")) for name in ("SPHERE", "CAPSULE", "CYLINDER")
)

#: A distractor that has to shrink below this share of its size is left out.
VANISHING = 0.25


class Distractor(GradedFamily):
    """Adds solid things to the picture."""

    table: ClassVar = {
        # How many, rounded. Ours.
        "count": (0.0, 8.0, 11.0, 13.0, 15.0),
        # Mean radius in half frames. Ours.
        "radius": (0.1, 0.138, 0.16, 0.2, 0.255),
        # Half frames an agent step that they drift by. Ours: still up to ``moderate``.
        "speed": (0.0, 0.0, 0.0, 0.015, 0.03),
        # Share of them that passes before the task's things. Ours.
        "before": (0.0, 0.0, 0.15, 0.2, 0.2),
        # How much of a body's half width one of those may cover. Ours.
        "cover": (0.0, 0.0, 0.0, 0.04, 0.06),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        scene.update()
        self._count = count = round(numbers.count)
        if not count:
            return
        self._floor = max(scene.floors(), default=-np.inf)
        self._bodies = _Bodies(scene)
        self._cover = numbers.cover

        self._points = POINTS[rng.integers(len(SHAPES), size=count)]
        self._radius = numbers.radius * rng.uniform(0.6, 1.4, count)
        colours = patterns.palette(rng, LUMA, max(count, 2), SATURATION)[:count]
        texture = np.zeros((COUNT, COUNT, 3), np.uint8)
        texture[:, :count] = np.round(255 * colours)
        scene.set_texture(scene.solids.material, texture)
        scene.solids.show()
        self._start = rng.uniform(-FIELD, FIELD, (count, 2))
        heading = rng.uniform(0, 2 * np.pi, count)
        speed = numbers.speed * rng.uniform(0.5, 1.5, count)
        self._velocity = speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
        before = np.arange(count) < round(numbers.before * count)
        self._depth = np.where(before, rng.uniform(*BEFORE, count), rng.uniform(*BEHIND, count))
        axes = rng.standard_normal((count, 3))
        self._turns = _Turns(axes / np.linalg.norm(axes, axis=1, keepdims=True))
        self._angle = rng.uniform(0, 2 * np.pi, count)
        self._turning = TUMBLE * rng.uniform(-1, 1, count) * (numbers.speed > 0)

    def decorate(self, scene: Scene, t: int) -> None:
        if not self._count:
            return
        view = _View(scene)
        where = (self._start + self._velocity * t + FIELD) % (2 * FIELD) - FIELD
        rays = view.rays(where)
        bodies, widths, distance = self._bodies.seen(view)
        depth, radius = distance * self._depth, self._radius
        if self._floor > -np.inf:
            # Behind the ground nothing is seen: what would be there lies on it instead.
            falls = np.minimum(rays[:, 2], -1e-6)
            ground = (self._floor - view.position[2]) / falls
            depth = np.minimum(depth, ground / (1 + radius * view.tangent / -falls))
        near = depth * (1 - radius * view.tangent) < NEAR * distance
        shown = radius
        if len(widths) and near.any():
            across, upright = where[:, :1] - bodies[:, 0], where[:, 1:] - bodies[:, 1]
            free = np.sqrt(across * across + upright * upright) - (1 - self._cover) * widths
            shown = np.where(near, np.minimum(radius, free.min(1)), radius)
            shown = np.where(shown > VANISHING * radius, shown, 0)
        sizes = (shown * depth * view.tangent).astype(np.float32)
        places = (view.position + depth[:, None] * rays).astype(np.float32)
        points = self._points @ self._turns.by(self._angle + self._turning * t)
        vertices = points[:, : self._points.shape[1] // 2]
        vertices *= sizes[:, None, None]
        vertices += places[:, None]
        scene.solids.place(vertices, points[:, vertices.shape[1] :])


class _Turns:
    """Rotations about fixed axes, by Rodrigues' formula."""

    def __init__(self, axes: np.ndarray) -> None:
        """Take unit vectors, float (n, 3)."""
        self._along = axes[:, :, None] * axes[:, None, :]
        x, y, z = axes.T
        zero = np.zeros_like(x)
        across = np.stack([zero, z, -y, -z, zero, x, y, -x, zero], 1)
        self._across = across.reshape(-1, 3, 3)
        self._rest = np.eye(3) - self._along

    def by(self, angles: np.ndarray) -> np.ndarray:
        """Return what to multiply rows of points by, for angles in radians, float (n,).

        Returns:
            float32 (n, 3, 3).
        """
        cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
        turns = self._along + cosine * self._rest + sine * self._across
        return turns.astype(np.float32)


class _View:
    """The camera of the present frame, for geometry.

    Attributes:
        position: float (3,).
        tangent: of half the vertical angle of view.
    """

    def __init__(self, scene: Scene) -> None:
        eye = scene.mjv.camera[0]
        self.position = np.array(eye.pos, np.float64)
        self.tangent = eye.frustum_top / eye.frustum_near
        wide = self.tangent * scene.width / scene.height
        axes = np.array([(0.0, 0.0, 0.0), eye.up, eye.forward], np.float64)
        mujoco.mju_cross(axes[0], axes[2], axes[1])
        scales = np.array([[wide], [self.tangent], [1.0]])
        self._out, self._in = axes * scales, (axes / scales).T

    def rays(self, where: np.ndarray) -> np.ndarray:
        """Return rays of unit depth, float (n, 3), through places in half frames, float (n, 2)."""
        return where @ self._out[:2] + self._out[2]

    def places(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where points, float (n, 3), are seen: float (n, 2) in half frames, and depths."""
        seen = (points - self.position) @ self._in
        depth = np.maximum(seen[:, 2], 1e-6)
        return seen[:, :2] / depth[:, None], depth


class _Bodies:
    """Everything of a scene that must not be hidden: solids and sites, as rows of discs."""

    def __init__(self, scene: Scene) -> None:
        model, self._data = scene.model, scene.data
        self._extent = float(model.stat.extent)
        self._geoms = solid_geoms(model)
        sizes = _half_sizes(model)[self._geoms]
        self._axis = sizes.argmax(1)
        self._width = np.sort(sizes, 1)[:, 1]
        length = np.maximum(sizes.max(1) - self._width, 0)
        self._steps = (length[:, None] * ALONG)[:, :, None]
        shown = (model.site_group < 3) & (model.site_rgba[:, 3] > 0)
        self._sites = np.flatnonzero(shown)
        self._radii = np.concatenate(
            [np.repeat(self._width, len(ALONG)), model.site_size[self._sites, 0]]
        )

    def seen(self, view: _View) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the discs' places, float (n, 2), and radii, float (n,), in half frames.

        The third value is their mean depth.
        """
        turned = self._data.geom_xmat.reshape(-1, 3, 3)[self._geoms, :, self._axis]
        points = self._data.geom_xpos[self._geoms][:, None] + self._steps * turned[:, None]
        points = points.reshape(-1, 3)
        if len(self._sites):
            points = np.concatenate([points, self._data.site_xpos[self._sites]])
        places, depth = view.places(points)
        distance = float(depth.sum()) / len(depth) if len(depth) else self._extent
        return places, self._radii / (depth * view.tangent), distance


def _half_sizes(model: mujoco.MjModel) -> np.ndarray:
    """Return half the extent of each geom along its own axes: float (ngeom, 3)."""
    kind, (a, b, c) = model.geom_type[:, None], model.geom_size.T  # of meshes: the box around them
    return np.select(
        [kind == shape for shape in _ROUND],
        [np.stack([a, a, a], 1), np.stack([a, a, a + b], 1), np.stack([a, a, b], 1)],
        np.stack([a, b, c], 1),
    )
