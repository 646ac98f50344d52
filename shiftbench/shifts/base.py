"""What a shift family is: the one interface between a family and the renderer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene


class ShiftFamily:
    """One kind of visual change, for one environment.

    A family changes pixels only: it may edit visual fields of the scene and the finished image,
    never anything the physics reads. One instance serves one environment for its whole life;
    `apply` is called at every reset, after the scene has been restored to its clean state.

    All randomness must come from the ``rng`` given to `apply`.
    """

    #: True where `post` reads the depth image; without it the renderer does not read depth back.
    needs_depth = False

    def apply(self, scene: Scene, severity: float, rng: np.random.Generator) -> None:
        """Edit the clean scene in place at the start of an episode.

        Args:
            scene: the visual side of one environment.
            severity: in (0, 1]; 0 never gets here, the clean arm has no family.
            rng: the only source of randomness, seeded by task, family, level and episode.
        """

    def step(self, scene: Scene, t: int) -> None:
        """Edit the scene before frame ``t`` (agent steps since the reset): moving shifts."""

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        """Return the final image of frame ``t``.

        Args:
            rgb: uint8 (H, W, 3), the rendered frame; may be changed in place.
            depth: float32 (H, W) in [0, 1], 1 at the far plane (the sky); None unless
                `needs_depth`.
            t: agent steps since the reset.

        Returns:
            uint8 (H, W, 3).
        """
        return rgb
