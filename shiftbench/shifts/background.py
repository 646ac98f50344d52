"""Family ``background``: a procedural picture behind the scene, and from ``severe`` on under it.

The picture replaces the pixels where the depth image says that nothing stands, as the video
backgrounds of DMC-GB do (Hansen & Wang 2021, arXiv 2011.13389: behind the sky when easy, behind sky
and floor when hard). It is made once an episode; a frame costs one addition and one masked copy.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import mujoco
import numpy as np

from shiftbench.shifts import patterns
from shiftbench.shifts.base import GradedFamily
from shiftbench.shifts.sky import put

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Types of geoms that are floors and walls: planes and terrain.
GROUND = (int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD))

#: Darkest and lightest luma of the picture's palette, and its saturation. Bodies of dm_control are
#: mostly lighter than this when lit, so that they stay visible. Ours.
LUMA, SATURATION = (0.08, 0.45), 0.5

#: How much a second pattern darkens the first at most, like shade on a wall. Ours.
SHADE = 0.5


class Background(GradedFamily):
    """Puts a picture behind the scene."""

    needs_depth = True
    table: ClassVar = {
        # Share of the picture in its mixture with the sky. Ours.
        "opacity": (0.0, 0.25, 0.45, 0.65, 0.9),
        # Frame widths an agent step that the picture moves by. Ours: still up to ``moderate``.
        "speed": (0.0, 0.0, 0.0, 0.01, 0.02),
        # 1 where the floor gives way to the picture, as in DMC-GB's hard set.
        "floor": (0.0, 0.0, 0.0, 1.0, 1.0),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        self._size = size = max(scene.height, scene.width)
        picture = (
            patterns.colour(
                patterns.field(rng, size), patterns.palette(rng, LUMA, saturation=SATURATION)
            )
            * (1 - SHADE * patterns.field(rng, size))[..., None]
        )
        # The mixture's two parts are both rounded down, so that their sum cannot exceed 255.
        self._clear = np.float32(1 - numbers.opacity)
        self._picture = np.tile((numbers.opacity * picture).astype(np.uint8), (2, 2, 1))
        heading = rng.uniform(0, 2 * np.pi)
        self._velocity = numbers.speed * size * np.array([np.sin(heading), np.cos(heading)])
        if numbers.floor == 1:
            model = scene.model
            model.geom_rgba[np.isin(model.geom_type, GROUND), 3] = 0

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        y, x = (self._velocity * t % self._size).astype(int)
        height, width = depth.shape
        behind = (rgb * self._clear).astype(np.uint8)
        behind += self._picture[y : y + height, x : x + width]
        put(rgb, behind, depth == 1)
        return rgb
