"""Family ``lighting``: lamps that move, multiply, change strength and colour, to near darkness.

Two things change. The lamps of the model move around what they light, others join them, and the
even light from the camera gives way to them, so that shading turns hard. And the light as a whole
gets another strength and colour; because MuJoCo paints the sky without any lamp, that gain is
applied to the finished frame, where it reaches everything that is seen.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import mujoco
import numpy as np

from shiftbench.shifts.base import GradedFamily, signs
from shiftbench.shifts.patterns import row

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Probability that an episode gets darker; low light is the harder and the commoner case. Ours.
DARK_SHARE = 0.75

#: Diffuse light of a lamp that joins the model's own, and the angle in degrees from straight down
#: at which it shines. Ours.
JOINING, SLANT = 0.25, (30.0, 70.0)


class Lighting(GradedFamily):
    """Moves, dims, multiplies and colours the light."""

    table: ClassVar = {
        # Angle in degrees by which each lamp is turned about the body it hangs on. RL-ViGen (Yuan
        # et al. 2023, arXiv 2307.10224) moves lights by 3–5 (easy) and 9–11 (hard) length units;
        # from 6 above the floor, where dm_control's cartpole has its lamp, those are 27°–40° and
        # 56°–61°.
        "tilt": (0.0, 20.0, 35.0, 50.0, 65.0),
        # Degrees an agent step that the lamps then circle by. Ours: still up to ``moderate``.
        "speed": (0.0, 0.0, 0.0, 2.0, 4.0),
        # Length units added to each coordinate of a lamp, at least and at most. For presets.
        "nearest": (0.0, 0.0, 0.0, 0.0, 0.0),
        "farthest": (0.0, 0.0, 0.0, 0.0, 0.0),
        # Factor on the lamps' diffuse light is 1 ± this. RL-ViGen: ± 0.2, added.
        "diffuse": (0.0, 0.1, 0.2, 0.3, 0.4),
        # Added to each channel of it, ± this. For presets.
        "tint": (0.0, 0.0, 0.0, 0.0, 0.0),
        # Share of the light from the camera (the headlight) that is taken away. dm_control's
        # diffuse 0.8 and ambient 0.4 fall to 0.48 and 0.24, within DMC Remastered's ranges of
        # 0.4–0.9 and 0.1–0.8 (Grigsby & Qi 2020, arXiv 2010.06740).
        "dimmed": (0.0, 0.1, 0.2, 0.3, 0.4),
        # Added to the lamps' specular light of 0.3: highlights grow. Ours.
        "specular": (0.0, 0.1, 0.25, 0.4, 0.6),
        # Lamps that join, rounded down. Ours.
        "lamps": (0.0, 0.0, 1.0, 1.0, 2.0),
        # Gain on the whole frame where it gets darker, and where it gets brighter. Ours, set so
        # that the levels change a frame about as much as those of the other families.
        "dark": (1.0, 0.67, 0.59, 0.52, 0.43),
        "bright": (1.0, 1.5, 1.72, 1.93, 2.5),
        # Standard deviation of the logarithm of each channel's gain. DMC-GB (Hansen & Wang 2021,
        # arXiv 2011.13389) varies colours with 0.10 (easy) and 0.18 (hard).
        "cast": (0.0, 0.06, 0.09, 0.12, 0.18),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        model = scene.model
        for lamp in range(model.nlight):
            tilt = np.deg2rad(numbers.tilt * rng.uniform(0.7, 1))
            turn = _turn(_horizontal(rng.uniform(0, 2 * np.pi)), tilt)
            away = rng.uniform(numbers.nearest, numbers.farthest, 3)
            model.light_pos[lamp] = turn @ model.light_pos[lamp] + away
            model.light_dir[lamp] = turn @ model.light_dir[lamp]
            model.light_diffuse[lamp] *= 1 + numbers.diffuse * signs(rng, 1)[0]
            model.light_diffuse[lamp] += numbers.tint * rng.uniform(-1, 1, 3)
            model.light_specular[lamp] += numbers.specular
        np.clip(model.light_diffuse, 0, 1, out=model.light_diffuse)
        np.clip(model.light_specular, 0, 1, out=model.light_specular)
        headlight = model.vis.headlight
        headlight.diffuse *= 1 - numbers.dimmed
        headlight.ambient *= 1 - numbers.dimmed
        self._start = model.light_pos.copy(), model.light_dir.copy()
        self._speed = np.deg2rad(numbers.speed) * signs(rng, 1)[0]
        self._joining = [
            _turn(_horizontal(azimuth), np.deg2rad(slant)) @ (0.0, 0.0, -1.0)
            for azimuth, slant in zip(
                rng.uniform(0, 2 * np.pi, 2), rng.uniform(*SLANT, 2), strict=True
            )
        ][: int(numbers.lamps)]

        limit = numbers.dark if rng.uniform() < DARK_SHARE else numbers.bright
        strength = limit ** rng.uniform(0.8, 1)
        gain = strength * np.exp(numbers.cast * rng.standard_normal(3))
        self._gain = row(gain.astype(np.float32), scene.width)

    def step(self, scene: Scene, t: int) -> None:
        if self._speed:
            turn = _turn(np.array([0.0, 0.0, 1.0]), self._speed * t)
            for field, start in zip(("light_pos", "light_dir"), self._start, strict=True):
                getattr(scene.model, field)[:] = start @ turn.T

    def decorate(self, scene: Scene, t: int) -> None:
        turn = _turn(np.array([0.0, 0.0, 1.0]), self._speed * t)
        for direction in self._joining:
            scene.add_lamp(turn @ direction, JOINING)

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        lit = rgb.reshape(len(rgb), -1) * self._gain
        return np.minimum(lit, 255, out=lit).astype(np.uint8).reshape(rgb.shape)


def _horizontal(azimuth: float) -> np.ndarray:
    """Return the unit vector along the ground at ``azimuth`` in radians, float (3,)."""
    return np.array([np.cos(azimuth), np.sin(azimuth), 0.0])


def _turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation by ``angle`` in radians about ``axis``, float (3, 3)."""
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, axis, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
