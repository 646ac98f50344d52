"""One good shift family, and one for each fault that the certificate must catch.

They lie in a module of their own, so that worker processes can import them.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import ClassVar

import mujoco
import numpy as np

from shiftbench.shifts.base import ShiftFamily


class Tint(ShiftFamily):
    """Good: takes away a share of each channel that grows with the severity."""

    def apply(self, scene, severity, rng):
        self.gain = 1 - 0.5 * self.strength(severity) * rng.uniform(0.8, 1, 3)

    def strength(self, severity):
        return severity

    def post(self, rgb, depth, t):
        return (rgb * self.gain).astype(np.uint8)


class Haze(Tint):
    """Good: as far away as a tint, in another way."""

    def post(self, rgb, depth, t):
        return (rgb * self.gain + 15 * (1 - self.gain)).astype(np.uint8)


class Falling(Tint):
    """Not graded: the higher the level, the milder it is."""

    def strength(self, severity):
        return 1.2 - severity


class Faint(Tint):
    """Not comparable: far milder than the others at every level."""

    def strength(self, severity):
        return severity / 5


class Hiding(Tint):
    """Not solvable: paints everything."""

    def apply(self, scene, severity, rng):
        super().apply(scene, severity, rng)
        self.paint = rng.integers(0, 256, 3)

    def post(self, rgb, depth, t):
        rgb[:] = self.paint
        return rgb


class Nudging(Tint):
    """Not harmless: moves a joint by less than a frame shows, in one step of an episode."""

    def step(self, scene, t):
        if t == 3:
            scene._live.qpos[0] += 1e-12


class Heavy(Tint):
    """Not harmless: edits the model of the physics, for good."""

    def apply(self, scene, severity, rng):
        super().apply(scene, severity, rng)
        scene._clean.dof_damping[0] = 2.51  # of 2.5


class Sticky(Tint):
    """Not harmless: what it changes in the picture stays when it is gone."""

    def apply(self, scene, severity, rng):
        super().apply(scene, severity, rng)
        scene._option.flags[mujoco.mjtVisFlag.mjVIS_TRANSPARENT] = 1


class Fixed(Tint):
    """Not seeded: every seed gives the same look."""

    def apply(self, scene, severity, rng):
        super().apply(scene, severity, np.random.default_rng(0))


class Unseeded(Tint):
    """Not seeded: no seed gives the same look twice."""

    def apply(self, scene, severity, rng):
        super().apply(scene, severity, np.random.default_rng())


class Counting(Tint):
    """Not seeded: the look depends on how many there were before."""

    before: ClassVar = itertools.count()

    def apply(self, scene, severity, rng):
        super().apply(scene, severity, np.random.default_rng(next(self.before)))


GOOD = (Tint, Haze)
BAD = SimpleNamespace(
    graded=(Falling,),
    comparable=(Faint,),
    solvable=(Hiding,),
    harmless=(Nudging, Heavy, Sticky),
    seeded=(Fixed, Unseeded, Counting),
)
