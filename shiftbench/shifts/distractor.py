"""Family ``distractor``: solid things that have nothing to do with the task.

They are added to the frame that is about to be drawn and exist in no model. They drift across the
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
from shiftbench.shifts.texture import looks

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Shapes of distractors, with their half sizes as shares of the radius that they are given, in
#: which they all fit. Few of them are round, since a box takes a third less time to draw than a
#: cylinder or a capsule.
SHAPES = (
    (mujoco.mjtGeom.mjGEOM_BOX, (0.65, 0.5, 0.55)),
    (mujoco.mjtGeom.mjGEOM_BOX, (0.85, 0.45, 0.25)),
    (mujoco.mjtGeom.mjGEOM_BOX, (0.55, 0.55, 0.55)),
    (mujoco.mjtGeom.mjGEOM_ELLIPSOID, (1.0, 0.6, 0.8)),
    (mujoco.mjtGeom.mjGEOM_SPHERE, (0.95, 0.95, 0.95)),
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

#: A distractor that has to shrink below this share of its size is left out.
VANISHING = 0.25


class Distractor(GradedFamily):
    """Adds solid things to the picture."""

    table: ClassVar = {
        # How many, rounded. Ours.
        "count": (0.0, 8.0, 11.0, 13.0, 15.0),
        # Mean radius in half frames. Ours.
        "radius": (0.1, 0.12, 0.145, 0.185, 0.24),
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
        self._floor = max(scene.floors(), default=-np.inf)
        self._bodies = _Bodies(scene)
        self._cover = numbers.cover

        shapes = [SHAPES[i] for i in rng.integers(len(SHAPES), size=count)]
        self._kinds = [kind for kind, _ in shapes]
        self._shares = np.array([shares for _, shares in shapes]).reshape(-1, 3)
        self._radius = numbers.radius * rng.uniform(0.6, 1.4, count)
        colours = patterns.palette(rng, LUMA, max(count, 2), SATURATION)[:count]
        self._rgba = np.concatenate([colours, np.ones((count, 1))], 1).astype(np.float32)
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
        if np.isfinite(self._floor):
            # Behind the ground nothing is seen: what would be there lies on it instead.
            falls = np.minimum(rays[:, 2], -1e-6)
            ground = (self._floor - view.position[2]) / falls
            depth = np.minimum(depth, ground / (1 + radius * view.tangent / -falls))
        near = depth * (1 - radius * view.tangent) < NEAR * distance
        if len(bodies) and near.any():
            apart = where[:, None] - bodies
            free = np.sqrt((apart * apart).sum(-1)) - (1 - self._cover) * widths
            shown = np.where(near, np.minimum(radius, free.min(1)), radius)
        else:
            shown = radius
        sizes = self._shares * (shown * depth * view.tangent)[:, None]
        places = view.position + depth[:, None] * rays
        axes = self._turns.by(self._angle + self._turning * t)
        for i in np.flatnonzero(shown > VANISHING * radius).tolist():
            scene.add_geom(self._kinds[i], sizes[i], places[i], axes[i], self._rgba[i])


class _Turns:
    """Rotations about fixed axes, by Rodrigues' formula."""

    def __init__(self, axes: np.ndarray) -> None:
        """Take unit vectors, float (n, 3)."""
        self._along = (axes[:, :, None] * axes[:, None, :]).reshape(-1, 9)
        x, y, z = axes.T
        zero = np.zeros_like(x)
        self._across = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1)
        self._rest = np.eye(3).ravel() - self._along

    def by(self, angles: np.ndarray) -> np.ndarray:
        """Return the matrices for angles in radians, float (n,): float (n, 9), row by row."""
        cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
        return self._along + cosine * self._rest + sine * self._across


class _View:
    """The camera of the present frame, for geometry.

    Attributes:
        position: float (3,).
        tangent: of half the vertical angle of view.
    """

    def __init__(self, scene: Scene) -> None:
        eye = scene.mjv.camera[0]
        self.position = np.array(eye.pos, np.float64)
        self.forward, self.up = (np.array(a, np.float64) for a in (eye.forward, eye.up))
        self.right = np.empty(3)
        mujoco.mju_cross(self.right, self.forward, self.up)
        self.tangent = eye.frustum_top / eye.frustum_near
        self._wide = self.tangent * scene.width / scene.height

    def rays(self, where: np.ndarray) -> np.ndarray:
        """Return rays of unit depth, float (n, 3), through places in half frames, float (n, 2)."""
        sideways = self._wide * where[:, :1] * self.right
        return self.forward + sideways + self.tangent * where[:, 1:] * self.up

    def places(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where points, float (n, 3), are seen: float (n, 2) in half frames, and depths."""
        relative = points - self.position
        depth = np.maximum(relative @ self.forward, 1e-6)
        across = np.stack([relative @ self.right / self._wide, relative @ self.up / self.tangent])
        return across.T / depth[:, None], depth


class _Bodies:
    """Everything of a scene that must not be hidden: solids and sites, as rows of discs."""

    def __init__(self, scene: Scene) -> None:
        model, self._data = scene.model, scene.data
        self._extent = float(model.stat.extent)
        _, solids = looks(model)
        self._geoms = np.concatenate(solids) if solids else np.zeros(0, int)
        sizes = np.zeros((len(self._geoms), 3))
        for size, geom in zip(sizes, self._geoms, strict=True):
            size[:] = _half_sizes(model, geom)
        self._axis = sizes.argmax(1)
        self._width = np.sort(sizes, 1)[:, 1]
        self._length = np.maximum(sizes.max(1) - self._width, 0)
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
        steps = (self._length[:, None] * ALONG)[:, :, None] * turned[:, None]
        points = (self._data.geom_xpos[self._geoms][:, None] + steps).reshape(-1, 3)
        places, depth = view.places(np.concatenate([points, self._data.site_xpos[self._sites]]))
        distance = float(depth.mean()) if len(depth) else self._extent
        return places, self._radii / (depth * view.tangent), distance


def _half_sizes(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Return half the extent of a geom along its own axes: float (3,)."""
    kind, (a, b, c) = model.geom_type[geom], model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return np.array([a, a, a])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return np.array([a, a, a + b])
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return np.array([a, a, b])
    return np.array([a, b, c])  # also of meshes: the box around them
