"""A shift family that fades the frame to its negative."""

from __future__ import annotations

import numpy as np

from shiftbench.shifts.base import ShiftFamily


class Invert(ShiftFamily):
    def apply(self, scene, severity: float, rng: np.random.Generator) -> None:
        self._severity = severity

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        mixed = rgb + self._severity * (255.0 - 2.0 * rgb)
        return mixed.round().astype(np.uint8)
