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
        model, self._cover = scene.model, numbers.cover
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
        self._course = _Course(start, velocity, points, turns, angle, turning)

        eye = _Eye(scene.mjv.camera[0], scene.width / scene.height)
        floor = max(scene.floors(), default=-np.inf)
        self._layout = _Layout(eye, self._bodies, shares, self._radius, floor)

    def decorate(self, scene: Scene, t: int) -> None:
        if not self._count:
            return
        camera = scene.mjv.camera[0]
        where, k = self._course.at(t)
        vertices, facing = self._course.vertices[k], self._course.facing[k]
        size, offset, least = self._layout.seen_by(camera, where, k)
        shown = self._radius
        if least is not None:
            # Those shrink that would cover what stands behind them.
            places, reach = self._bodies.seen(camera, self._layout.eye)
            room = np.abs(where[k][:, None] - places)
            room -= (1 - self._cover) * reach
            shown = np.minimum(np.maximum(room.min(1), least), shown)
            shown *= shown > self._vanishing
        scene.solids.place(vertices, shown * size, offset + camera.pos, facing)


class _Layout:
    """Where distractors stand and how large they are, as one camera sees them.

    Worked out for as many frames at once as the `_Course` is, unless the camera turns, or moves up
    or down.

    Args:
        eye: of the clean camera.
        bodies: the task's things, whose mean depth now is that which the distractors are given
            shares of.
        shares: float (n,), the depths.
        radius: float (n,), in half frames.
        floor: height of the ground, in units of length; -inf without one.

    Attributes:
        eye: the present one.
    """

    def __init__(
        self,
        eye: _Eye,
        bodies: _Bodies,
        shares: np.ndarray,
        radius: np.ndarray,
        floor: float,
    ) -> None:
        self.eye, self._radius, self._floor = eye, radius, floor
        self._level = eye.camera.pos[2]
        depths = bodies.depths(eye)
        distance = float(depths.mean()) if len(depths) else bodies.extent
        # Before nothing there is nothing to be hidden.
        self._depth, self._near = distance * shares, NEAR * distance if len(depths) else 0.0
        self._where: np.ndarray | None = None

    def seen_by(
        self, camera: mujoco.MjvGLCamera, where: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return the look of frame ``k`` of ``where``, complex (frames, n), in half frames.

        Returns:
            How long half a frame is where they stand, float32 (n,); from the camera to there,
            float32 (n, 3); and the least radius that each may shrink to, float32 (n,) in half
            frames: none where it stands before the task's things. None where all stand behind.
        """
        level = camera.pos[2]
        if level != self._level or not self.eye.fits(camera):
            self.eye, self._level, self._where = _Eye(camera, self.eye.aspect), level, None
            where, k = where[k : k + 1], 0
        if where is not self._where:
            self._where, self._found = where, self._laid_out(where)
        sizes, offsets, least, near = self._found
        return sizes[k], offsets[k], least[k] if near[k] else None

    def _laid_out(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[bool]]:
        rays, wide = self.eye.along(where), self._radius * self.eye.tangent
        # Behind the ground nothing is seen: what would be there lies on it instead.
        falls = np.maximum(-rays[..., 2], 1e-6)
        depth = np.minimum(self._depth, (self._level - self._floor) / (falls + wide))
        near = depth * (1 - wide) < self._near
        sizes = (self.eye.tangent * depth).astype(np.float32)
        offsets = (depth[..., None] * rays).astype(np.float32)
        least = np.where(near, np.float32(0), self._radius)
        return sizes, offsets, least, near.any(1).tolist()


class _Course:
    """What distractors do by themselves, worked out for `AHEAD` frames at once.

    NumPy takes about as long for one frame as for so many.

    Args:
        start, velocity: float (n, 2), in half frames and half frames a frame.
        points: float32 (n, 16, 3), of `POINTS`.
        turns: about the axes of each.
        angle, turning: float (n,), in radians and radians a frame.

    Attributes:
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

    def at(self, t: int) -> tuple[np.ndarray, int]:
        """Return where they are, complex (frames, n) in half frames, and which of these is ``t``.

        The real part counts to the right and the imaginary one upwards.
        """
        k = t % self._frames
        if self._first < 0 or (self._moves and t - k != self._first):
            self._first = t - k
            times = np.arange(self._first, self._first + self._frames)[:, None]
            where = self._start + self._velocity * times
            self._where = _wrapped(where.real) + 1j * _wrapped(where.imag)
            turned = self._points @ self._turns.by(self._angle + self._turning * times)
            self.vertices, self.facing = np.split(turned, 2, axis=2)
        return self._where, k


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
        self._axes = camera.up.tobytes(), camera.forward.tobytes()
        self.tangent = camera.frustum_top / camera.frustum_near
        axes = np.array([(0.0, 0.0, 0.0), camera.up, camera.forward], np.float64)
        mujoco.mju_cross(axes[0], axes[2], axes[1])
        scales = np.array([[self.tangent * aspect], [self.tangent], [1.0]])
        self._out, self.projection = axes * scales, (axes / scales).T

    def fits(self, camera: mujoco.MjvGLCamera) -> bool:
        """Whether ``camera`` looks in the same direction."""
        return self._axes == (camera.up.tobytes(), camera.forward.tobytes())

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
        self._steps = (length[:, None] * ALONG).reshape(-1, 1)
        self._geoms = np.repeat(geoms, len(ALONG))
        # Where the axis along the longest side stands in the flat array of all rotations.
        column = 9 * geoms + sizes.argmax(1)
        self._axes = np.repeat(column[:, None] + (0, 3, 6), len(ALONG), axis=0)
        self._positions, self._turns = data.geom_xpos, data.geom_xmat.reshape(-1)
        shown = (model.site_group < 3) & (model.site_rgba[:, 3] > 0)
        self._sites, self._site_positions = np.flatnonzero(shown), data.site_xpos
        self.radii = np.concatenate([np.repeat(width, len(ALONG)), model.site_size[self._sites, 0]])

    def seen(self, camera: mujoco.MjvGLCamera, eye: _Eye) -> tuple[np.ndarray, np.ndarray]:
        """Return the discs' places, complex (n,), and radii, float (n,), in half frames."""
        seen = self._project(camera, eye)
        depths = np.maximum(seen[:, 2:], 1e-6)
        places = (seen[:, :2] / depths).view(np.complex128)[:, 0]
        return places, self.radii / (eye.tangent * depths[:, 0])

    def depths(self, eye: _Eye) -> np.ndarray:
        """Return how far the discs are from the camera of ``eye``, along its line of sight."""
        return np.maximum(self._project(eye.camera, eye)[:, 2], 1e-6)

    def _project(self, camera: mujoco.MjvGLCamera, eye: _Eye) -> np.ndarray:
        points = self._turns.take(self._axes)
        points *= self._steps
        points += self._positions.take(self._geoms, 0)
        if len(self._sites):
            points = np.concatenate([points, self._site_positions.take(self._sites, 0)])
        points -= camera.pos
        return points @ eye.projection


def _half_sizes(model: mujoco.MjModel) -> np.ndarray:
    """Return half the extent of each geom along its own axes: float (ngeom, 3)."""
    kind, (a, b, c) = model.geom_type[:, None], model.geom_size.T  # of meshes: the box around them
    return np.select(
        [kind == shape for shape in _ROUND],
        [np.stack([a, a, a], 1), np.stack([a, a, a + b], 1), np.stack([a, a, b], 1)],
        np.stack([a, b, c], 1),
    )
