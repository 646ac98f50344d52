"""Family ``lighting``: lamps that move, change strength and colour, down to near darkness.

Two things change. The lamps of the model move around what they light, and the even light from the
camera gives way to them, so that shading turns hard. And the light as a whole gets another strength
and colour; because MuJoCo paints the sky without any lamp, that gain is applied to the finished
frame, where it reaches everything that is seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from shiftbench.shifts.base import ShiftFamily

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: The severities of the tables below; between them values are interpolated.
SEVERITY = (0.0, 0.25, 0.5, 0.75, 1.0)

#: Angle in degrees by which each lamp is turned about the body it hangs on. RL-ViGen (Yuan et al.
#: 2023, arXiv 2307.10224) moves lights by 3–5 (easy) and 9–11 (hard) length units; from 6 above the
#: floor, where dm_control's cartpole has its lamp, those are 27°–40° and 56°–61°.
TILT = (0.0, 20.0, 35.0, 50.0, 65.0)

#: Factor on the lamps' diffuse light is 1 ± this. RL-ViGen: ± 0.2.
DIFFUSE = (0.0, 0.1, 0.2, 0.3, 0.4)

#: Share of the light from the camera (the headlight) that is taken away. dm_control's diffuse 0.8
#: and ambient 0.4 fall to 0.48 and 0.24, within DMC Remastered's ranges of 0.4–0.9 and 0.1–0.8
#: (Grigsby & Qi 2020, arXiv 2010.06740).
DIMMED = (0.0, 0.1, 0.2, 0.3, 0.4)

#: Added to the lamps' specular light of 0.3: highlights grow. Ours.
SPECULAR = (0.0, 0.1, 0.25, 0.4, 0.6)

#: Gain on the whole frame where it gets darker, and where it gets brighter. Ours, set so that the
#: levels change a frame about as much as those of the other families.
DARK = (1.0, 0.9, 0.8, 0.7, 0.6)
BRIGHT = (1.0, 1.1, 1.2, 1.33, 1.5)

#: Probability that an episode gets darker; low light is the harder and the commoner case. Ours.
DARK_SHARE = 0.75

#: Standard deviation of the logarithm of each channel's gain. DMC-GB (Hansen & Wang 2021, arXiv
#: 2011.13389) varies colours with 0.10 (easy) and 0.18 (hard).
CAST = (0.0, 0.04, 0.07, 0.10, 0.18)


class Lighting(ShiftFamily):
    """Moves, dims and colours the light."""

    def apply(self, scene: Scene, severity: float, rng: np.random.Generator) -> None:
        tilt, diffuse, dimmed, specular, dark, bright, cast = (
            float(np.interp(severity, SEVERITY, table))
            for table in (TILT, DIFFUSE, DIMMED, SPECULAR, DARK, BRIGHT, CAST)
        )
        model = scene.model
        for lamp in range(model.nlight):
            turn = _turn(rng.uniform(0, 2 * np.pi), np.deg2rad(tilt * rng.uniform(0.7, 1)))
            model.light_pos[lamp] = turn @ model.light_pos[lamp]
            model.light_dir[lamp] = turn @ model.light_dir[lamp]
            model.light_diffuse[lamp] *= 1 + diffuse * rng.choice((-1, 1))
            model.light_specular[lamp] += specular
        np.clip(model.light_diffuse, 0, 1, out=model.light_diffuse)
        np.clip(model.light_specular, 0, 1, out=model.light_specular)
        headlight = model.vis.headlight
        headlight.diffuse *= 1 - dimmed
        headlight.ambient *= 1 - dimmed

        limit = dark if rng.uniform() < DARK_SHARE else bright
        strength = limit ** rng.uniform(0.8, 1)
        gain = strength * np.exp(cast * rng.standard_normal(3))
        self._gain = np.tile(gain.astype(np.float32), scene.width)

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        # A row of pixels at a time: three channels are too short a row for fast broadcasting.
        lit = rgb.reshape(len(rgb), -1) * self._gain
        return np.minimum(lit, 255, out=lit).astype(np.uint8).reshape(rgb.shape)


def _turn(azimuth: float, angle: float) -> np.ndarray:
    """Return the rotation by ``angle`` about the horizontal axis at ``azimuth``, float (3, 3)."""
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, [np.cos(azimuth), np.sin(azimuth), 0.0], angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
