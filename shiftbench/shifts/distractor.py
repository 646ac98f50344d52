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
from shiftbench.shifts.solids import COUNT, frustum

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

#: Their corners, and behind these what the corners face: float32 (shapes, 16, 3).
_CORNERS = np.stack([frustum(*shape) for shape in SHAPES])
POINTS = np.concatenate(
    [_CORNERS, _CORNERS / np.linalg.norm(_CORNERS, axis=-1, keepdims=True)], axis=1
).astype(np.float32)

#: Half the width of the square that distractors drift in, in half frames: what leaves on one side
#: comes in on the other, unseen.
FIELD = 1.25

#: Depths as shares of the mean depth that the task's things have when the episode begins: before
#: and behind them. Ours.
BEFORE, BEHIND = (0.55, 0.8), (1.2, 1.7)

#: Share of that depth up to which a thing counts as standing before the task's things.
NEAR = 1.1

#: Darkest and lightest luma of distractors, and their saturation. Ours.
LUMA, SATURATION = (0.15, 0.6), 0.8

#: Radians an agent step that a moving distractor turns by, at most. Ours.
TUMBLE = 0.2

#: Frames whose motion is worked out at once.
AHEAD = 8

#: A place outside of every picture, in half frames.
FAR = 1e9

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
        "count": (0.0, 6.0, 7.0, 8.0, 9.0),
        # Mean radius in half frames. Ours.
        "radius": (0.1, 0.245, 0.305, 0.385, 0.5),
        # Half frames an agent step that they drift by. Ours: still up to ``moderate``.
        "speed": (0.0, 0.0, 0.0, 0.015, 0.03),
        # Share of them that passes before the task's things. Ours.
        "before": (0.0, 0.0, 0.15, 0.2, 0.2),
        # How much of a body's half width one of those may cover. Ours.
        "cover": (0.0, 0.0, 0.0, 0.04, 0.06),
    }

    #: What `_Bodies` were made from.
    _shapes: tuple[bytes, ...] = ()

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        scene.update()
        self._count = count = round(numbers.count)
        if not count:
            return
        model = scene.model
        things = (scene.surfaces.seen, model.geom_size, model.site_group, model.site_size)
        shapes = (*(array.tobytes() for array in things), model.site_rgba[:, 3].tobytes())
        if shapes != self._shapes:  # a task may change them at a reset, most never do
            self._shapes, self._bodies = shapes, _Bodies(scene)

        points = POINTS[rng.integers(len(SHAPES), size=count)]
        self._radius = numbers.radius * rng.uniform(0.6, 1.4, count).astype(np.float32)
        self._vanishing = VANISHING * self._radius
        (colours,) = patterns.palettes(rng, [LUMA], max(count, 2), SATURATION)
        texture = np.zeros((COUNT, COUNT, 3), np.uint8)
        texture[:, :count] = np.round(255 * colours[:count])
        scene.set_texture(scene.solids.material, texture)
        scene.solids.show()
        start = rng.uniform(-FIELD, FIELD, (count, 2))
        heading = rng.uniform(0, 2 * np.pi, count)
        speed = numbers.speed * rng.uniform(0.5, 1.5, count)
        velocity = speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
        before = np.arange(count) < round(numbers.before * count)
        shares = np.where(before, rng.uniform(*BEFORE, count), rng.uniform(*BEHIND, count))
        axes = rng.standard_normal((count, 3))
        turns = _Turns(axes / np.linalg.norm(axes, axis=1, keepdims=True))
        angle = rng.uniform(0, 2 * np.pi, count)
        turning = TUMBLE * rng.uniform(-1, 1, count) * (numbers.speed > 0)
        course = _Course(start, velocity, points, turns, angle, turning)

        eye = _Eye(scene.mjv.camera[0], scene.width / scene.height)
        floor = max(scene.floors(), default=-np.inf)
        cover = numbers.cover
        self._layout = _Layout(eye, self._bodies, course, shares, self._radius, cover, floor)

    def decorate(self, scene: Scene, t: int) -> None:
        if not self._count:
            return
        camera, layout, shown = scene.mjv.camera[0], self._layout, self._radius
        k = layout.at(camera, t)
        if layout.near[k]:
            # Those shrink that would cover what stands behind them.
            discs, depths = self._bodies.seen(layout.position, layout.eye)
            room = np.abs(layout.where[k] - discs)
            room -= layout.reach / depths
            shown = np.minimum(np.minimum.reduce(room, 1), shown, dtype=np.float32)
            shown *= shown > self._vanishing
        scene.solids.place(layout.vertices[k], shown, layout.places[k], layout.facing[k])


class _Layout:
    """Where distractors stand and how large they are, as one camera sees them.

    Worked out for as many frames at once as the `_Course` is, unless the camera moves.

    Args:
        eye: of the clean camera.
        bodies: the task's things, whose mean depth now is that which the distractors are given
            shares of.
        course: what the distractors do.
        shares: float (n,), the depths.
        radius: float (n,), in half frames.
        cover: share of a body's half width that one of those before it may cover.
        floor: height of the ground, in units of length; -inf without one.

    Attributes:
        eye: the present one.
        position: of the camera, float (3,).
        vertices: of distractors of a radius of one half frame, in units of length, float32 (frames,
            n, 8, 3).
        facing: what they face, likewise.
        places: where they stand, float32 (frames, n, 3).
        where: the same in the picture, complex (frames, n, 1) in half frames; `FAR` for those
            that stand behind the task's things.
        near: whether any of a frame does not.
        reach: float (discs,): divided by their depths, the least distances in half frames that
            things before them keep.
    """

    def __init__(
        self,
        eye: _Eye,
        bodies: _Bodies,
        course: _Course,
        shares: np.ndarray,
        radius: np.ndarray,
        cover: float,
        floor: float,
    ) -> None:
        self.eye, self._course, self._radius, self._floor = eye, course, radius, floor
        _, depths = bodies.seen(eye.camera.pos, eye)
        distance = float(depths.mean()) if len(depths) else bodies.extent
        # Before nothing there is nothing to be hidden.
        self._near = NEAR * distance if len(depths) else 0.0
        self._depth = (distance * shares).astype(np.float32)
        self._least = (1 - cover) * bodies.radii
        self._here = _key(eye.camera)
        # Of which frames the rays are known, and which are laid out, all of them.
        self._looked: np.ndarray | None = None
        self._seen: np.ndarray | None = None

    def at(self, camera: mujoco.MjvGLCamera, t: int) -> int:
        """Lay out frame ``t``, and return which of the frames laid out it is."""
        course = self._course
        k = course.at(t)
        here = _key(camera)
        moved = here != self._here
        if not moved and course.where is self._seen:
            return k
        if here[1:] != self._here[1:]:
            self.eye, self._looked = _Eye(camera, self.eye.aspect), None
        self._here = here
        if course.where is not self._looked:
            self._look()
        if moved:  # as it will in the next frame
            self._seen = None
            self._lay_out(camera.pos, slice(k, k + 1))
            return 0
        self._seen = course.where
        self._lay_out(camera.pos, slice(None))
        return k

    def _look(self) -> None:
        """Turn what the course has worked out into rays from the camera."""
        where, tangent = self._course.where, self.eye.tangent
        rays, wide = self.eye.along(where), self._radius * tangent
        falls = np.maximum(-rays[..., 2], 1e-6)
        self._rays, self._falls = rays.astype(np.float32), (falls + wide).astype(np.float32)
        # Solids so wide that they reach the camera stand before everything.
        self._front = (self._near / np.maximum(1 - wide, 1e-6)).astype(np.float32)
        self.reach = self._least / tangent
        self._looked = where

    def _lay_out(self, position: np.ndarray, frames: slice) -> None:
        """Choose how far away things are along the rays."""
        course = self._course
        # Behind the ground nothing is seen: what would be there lies on it instead.
        ground = max(position[2] - self._floor, 0.0) / self._falls[frames]
        depth = np.minimum(self._depth, ground)
        near = depth < self._front
        self.near = [True in row for row in near.tolist()]
        depth, near = depth[..., None], near[..., None]
        self.where = np.where(near, course.where[frames, :, None], FAR)
        self.vertices = course.vertices[frames] * (self.eye.tangent * depth)[..., None]
        self.facing = course.facing[frames]
        self.places = depth * self._rays[frames]
        self.places += position
        self.position = position.astype(np.float64)


def _key(camera: mujoco.MjvGLCamera) -> tuple[bytes, bytes, bytes]:
    """Return where a camera stands and how it is turned, to compare."""
    return camera.pos.tobytes(), camera.up.tobytes(), camera.forward.tobytes()


class _Course:
    """What distractors do by themselves, worked out for `AHEAD` frames at once.

    NumPy takes about as long for one frame as for so many.

    Args:
        start, velocity: float (n, 2), in half frames and half frames a frame.
        points: float32 (n, 16, 3), of `POINTS`.
        turns: about the axes of each.
        angle, turning: float (n,), in radians and radians a frame.

    Attributes:
        where: their places, complex (frames, n) in half frames: the real part counts to the right,
            the imaginary one upwards.
        vertices, facing: turned ``points``, each float32 (frames, n, 8, 3).
    """

    def __init__(
        self,
        start: np.ndarray,
        velocity: np.ndarray,
        points: np.ndarray,
        turns: _Turns,
        angle: np.ndarray,
        turning: np.ndarray,
    ) -> None:
        self._start, self._velocity = start @ (1, 1j), velocity @ (1, 1j)
        self._points, self._turns, self._angle, self._turning = points, turns, angle, turning
        self._moves = bool(velocity.any() or turning.any())
        self._frames = AHEAD if self._moves else 1
        self._first = -1

    def at(self, t: int) -> int:
        """Work out frame ``t``, and return which of the frames worked out it is."""
        k = t % self._frames
        if self._first < 0 or (self._moves and t - k != self._first):
            self._first = t - k
            times = np.arange(self._first, self._first + self._frames)[:, None]
            where = self._start + self._velocity * times
            self.where = _wrapped(where.real) + 1j * _wrapped(where.imag)
            turned = self._points @ self._turns.by(self._angle + self._turning * times)
            self.vertices, self.facing = np.split(turned, 2, axis=2)
        return k


def _wrapped(value: np.ndarray) -> np.ndarray:
    """Return what leaves the field on one side where it comes in on the other."""
    return (value + FIELD) % (2 * FIELD) - FIELD


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
        """Return what to multiply rows of points by, for angles in radians, float (..., n).

        Returns:
            float32 (..., n, 3, 3).
        """
        cosine, sine = np.cos(angles)[..., None, None], np.sin(angles)[..., None, None]
        turns = self._along + cosine * self._rest + sine * self._across
        return turns.astype(np.float32)


class _Eye:
    """A camera's axes and angle of view; where it stands is another matter.

    Args:
        camera: of the present frame.
        aspect: width of the frame over its height.

    Attributes:
        tangent: of half the vertical angle of view.
        projection: float (3, 3), what turns points seen from the camera, as rows, into places in
            half frames times depths, and depths.
    """

    def __init__(self, camera: mujoco.MjvGLCamera, aspect: float) -> None:
        self.camera, self.aspect = camera, aspect
        self.tangent = camera.frustum_top / camera.frustum_near
        axes = np.array([(0.0, 0.0, 0.0), camera.up, camera.forward], np.float64)
        mujoco.mju_cross(axes[0], axes[2], axes[1])
        scales = np.array([[self.tangent * aspect], [self.tangent], [1.0]])
        self._out, self.projection = axes * scales, (axes / scales).T

    def along(self, where: np.ndarray) -> np.ndarray:
        """Return the rays of unit depth through places, complex (..., n): float (..., n, 3)."""
        right, up, forward = self._out
        return where.real[..., None] * right + where.imag[..., None] * up + forward


class _Bodies:
    """Everything of a scene that must not be hidden: solids and sites, as rows of discs.

    Attributes:
        radii: float (n,), of the discs, in units of length.
        extent: of the scene, likewise.
    """

    def __init__(self, scene: Scene) -> None:
        model, data = scene.model, scene.data
        self.extent = float(model.stat.extent)
        geoms = scene.surfaces.solids()
        sizes = _half_sizes(model)[geoms]
        width = np.sort(sizes, 1)[:, 1]
        length = np.maximum(sizes.max(1) - width, 0)
        self._steps = np.repeat((length[:, None] * ALONG).reshape(-1, 1), 3, 1)
        self._geoms = np.repeat(geoms, len(ALONG))
        # Where the axis along the longest side stands in the flat array of all rotations.
        column = 9 * geoms + sizes.argmax(1)
        self._axes = np.repeat(column[:, None] + (0, 3, 6), len(ALONG), axis=0)
        self._positions, self._turns = data.geom_xpos, data.geom_xmat.reshape(-1)
        shown = (model.site_group < 3) & (model.site_rgba[:, 3] > 0)
        self._sites, self._site_positions = np.flatnonzero(shown), data.site_xpos
        self.radii = np.concatenate([np.repeat(width, len(ALONG)), model.site_size[self._sites, 0]])

    def seen(self, position: np.ndarray, eye: _Eye) -> tuple[np.ndarray, np.ndarray]:
        """Return the discs' places, complex (n,) in half frames, and their depths, float (n,).

        Args:
            position: of the camera, float (3,).
            eye: of the camera.
        """
        points = self._turns.take(self._axes)
        points *= self._steps
        points += self._positions.take(self._geoms, 0)
        if len(self._sites):
            points = np.concatenate([points, self._site_positions.take(self._sites, 0)])
        points -= position
        seen = points.dot(eye.projection)
        depths = np.maximum(seen[:, 2:], 1e-6)
        return (seen[:, :2] / depths).view(np.complex128)[:, 0], depths[:, 0]


def _half_sizes(model: mujoco.MjModel) -> np.ndarray:
    """Return half the extent of each geom along its own axes: float (ngeom, 3)."""
    kind, (a, b, c) = model.geom_type[:, None], model.geom_size.T  # of meshes: the box around them
    return np.select(
        [kind == shape for shape in _ROUND],
        [np.stack([a, a, a], 1), np.stack([a, a, a + b], 1), np.stack([a, a, b], 1)],
        np.stack([a, b, c], 1),
    )
