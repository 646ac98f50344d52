"""Family ``camera``: the scene seen from elsewhere.

The camera turns around the point it looks at (azimuth, elevation), about its line of sight (roll),
and comes nearer or goes away (zoom). The view is changed after MuJoCo has placed the camera, frame
by frame, so a camera that tracks a body goes on tracking it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import mujoco
import numpy as np

from shiftbench.shifts.base import GradedFamily, both_ways, signs

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Least height above the ground, as a share of the clean camera's. Ours.
LEAST_HEIGHT = 0.3

#: What a view is described by, in the order of the family's arrays.
QUANTITIES = ("azimuth", "elevation", "roll", "zoom")


class Camera(GradedFamily):
    """Moves the camera."""

    # Distracting Control Suite (Stone et al. 2021, arXiv 2101.02722): ± 90° of each angle, half the
    # distance nearer and one and a half times it farther, all times 0.1, 0.2, 0.3 for easy, medium,
    # hard. Our extreme angle is hardly more than its easy one, 9°: a small turn already changes a
    # frame as much as the other families' mild levels do, and places in the scene can no longer be
    # read from frames of 64 px after its larger ones.
    table: ClassVar = {
        # Degrees ± this.
        "azimuth": (0.0, 1.65, 2.95, 5.4, 10.0),
        "elevation": (0.0, 1.65, 2.95, 5.4, 10.0),
        "roll": (0.0, 1.65, 2.95, 5.4, 10.0),
        # Shares of the distance that the camera comes nearer, or goes farther away, at most.
        # Farther than here the thinnest bodies vanish at 64 px.
        "nearer": (0.0, 0.02, 0.03, 0.045, 0.075),
        "farther": (0.0, 0.03, 0.04, 0.06, 0.09),
        # Length units ± this along each of the camera's own axes. For presets.
        "offset": (0.0, 0.0, 0.0, 0.0, 0.0),
        # Half the side in degrees of the square on whose edge the line of sight ends. For presets.
        "aside": (0.0, 0.0, 0.0, 0.0, 0.0),
        # Share of each range around 0 that is not drawn from, so that levels do not overlap. Ours.
        "least": (0.0, 0.8, 0.8, 0.8, 0.8),
        # Radians an agent step of the slow swing through each range. Ours: still up to
        # ``moderate``.
        "speed": (0.0, 0.0, 0.0, 0.04, 0.08),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        scene.update()
        eye = scene.mjv.camera[0]
        self._distance = distance_to_solids(scene)
        start = both_ways(rng, numbers.least, len(QUANTITIES))
        self._phase = np.arcsin(start)
        self._rate = numbers.speed * both_ways(rng, 0.5, len(QUANTITIES))
        self._range = np.array([numbers.azimuth, numbers.elevation, numbers.roll, 1.0])
        self._range[:3] = np.deg2rad(self._range[:3])
        self._zoom = numbers.nearer, numbers.farther
        self._lowest = _lowest(
            scene, eye, self._distance, (1 - numbers.nearer, 1 + numbers.farther)
        )
        if start[1] * self._range[1] < self._lowest:  # a camera under the floor sees nothing
            self._phase[1] *= -1
        self._offset = numbers.offset * rng.uniform(-1, 1, 3)
        along, edge = rng.uniform(-1, 1), signs(rng, 1)[0]
        self._aside = np.deg2rad(numbers.aside) * rng.permutation([along, edge])

    def decorate(self, scene: Scene, t: int) -> None:
        azimuth, elevation, roll, zoom = self._range * np.sin(self._phase + self._rate * t)
        elevation = max(elevation, self._lowest)
        distance = self._distance * (1 + zoom * self._zoom[int(zoom > 0)])
        eye = scene.mjv.camera[0]
        forward, up, focus = _turned(eye, self._distance, azimuth, elevation, roll)
        position = focus - distance * forward
        right = _cross(forward, up)
        position += self._offset @ (right, up, forward)
        if self._aside.any():
            sideways, upwards = self._aside
            forward = forward + np.tan(sideways) * right + np.tan(upwards) * up
            forward /= np.linalg.norm(forward)
            up = _cross(right, forward)
            up /= np.linalg.norm(up)
        for eye in scene.mjv.camera:  # of both eyes, which are one here
            eye.pos, eye.forward, eye.up = position, forward, up
        for i in range(scene.mjv.nlight):
            lamp = scene.mjv.lights[i]
            if lamp.headlight:
                lamp.pos, lamp.dir = position, forward


def distance_to_solids(scene: Scene) -> float:
    """Return how far along its line of sight the camera looks: to the middle of the solids."""
    solids = scene.surfaces.solids()
    if not len(solids):
        return float(scene.model.stat.extent)
    middle = scene.data.geom_xpos[solids].mean(0)
    eye = scene.mjv.camera[0]
    along = (middle - eye.pos) @ np.asarray(eye.forward)
    return float(max(along, 0.1 * scene.model.stat.extent))


def _turned(
    eye: mujoco.MjvGLCamera, distance: float, azimuth: float, elevation: float, roll: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the line of sight and the upward axis after turns in radians, and what is looked at.

    Azimuth turns about the vertical, elevation (positive upwards) about the camera's horizontal
    axis, both around the point looked at; roll turns about the line of sight.
    """
    forward, up = (np.array(axis, np.float64) for axis in (eye.forward, eye.up))
    focus = np.array(eye.pos) + distance * forward
    vertical = np.array([0.0, 0.0, 1.0])
    for axis, angle in ((_cross(forward, up), -elevation), (vertical, azimuth)):
        forward, up = _rotate(forward, axis, angle), _rotate(up, axis, angle)
    return forward, _rotate(up, forward, roll), focus


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cross product of two vectors; twenty times as fast as `numpy.cross`."""
    product = np.empty(3)
    mujoco.mju_cross(product, a, b)
    return product


def _rotate(vector: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Return ``vector`` turned by ``angle`` in radians about the unit vector ``axis``."""
    quaternion, turned = np.empty(4), np.empty(3)
    mujoco.mju_axisAngle2Quat(quaternion, axis, angle)
    mujoco.mju_rotVecQuat(turned, vector, quaternion)
    return turned


def _lowest(
    scene: Scene, eye: mujoco.MjvGLCamera, distance: float, zooms: tuple[float, float]
) -> float:
    """Return the least elevation in radians that keeps the camera above the ground.

    Args:
        scene: gives the ground.
        eye: the clean camera.
        distance: of what it looks at.
        zooms: ends of the range of factors on the distance.

    Returns:
        -π/2 where there is no horizontal plane below the clean camera.
    """
    floors = scene.floors()
    if not floors:
        return -np.pi / 2
    least = max(floors) + LEAST_HEIGHT * (eye.pos[2] - max(floors))
    above = least - (eye.pos[2] + distance * eye.forward[2])  # of the point looked at
    sine = max(above / (distance * zoom) for zoom in zooms)
    pitch = np.arcsin(np.clip(-eye.forward[2], -1, 1))  # of the clean camera, seen from that point
    return float(np.arcsin(np.clip(sine, -1, 1)) - pitch)
