"""Several families at once: the family ``combined``, and the presets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from shiftbench.errors import unknown
from shiftbench.registry import FAMILIES
from shiftbench.shifts.base import SEVERITY, GradedFamily, ShiftFamily
from shiftbench.shifts.presets import PRESETS, Look

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene
    from shiftbench.specs import Shift

#: The families that change the scene, in the order in which they act: the camera decides what is
#: seen, surfaces come before what stands before them, and light and weather reach everything.
SCENE = ("camera", "texture", "color", "background", "distractor", "lighting", "weather")

#: Family → its severity within ``combined`` at each of `SEVERITY`. Ours: all families together at
#: the severity that is asked for leave nothing of thin bodies, and the levels hardly differ. Light
#: and weather both darken, so they get the least: a person must still see the agent.
TOGETHER = {
    "camera": (0.0, 0.08, 0.15, 0.23, 0.38),
    "texture": (0.0, 0.08, 0.15, 0.23, 0.38),
    "color": (0.0, 0.08, 0.15, 0.23, 0.38),
    "background": (0.0, 0.08, 0.15, 0.23, 0.38),
    "distractor": (0.0, 0.08, 0.15, 0.23, 0.38),
    "lighting": (0.0, 0.04, 0.09, 0.16, 0.23),
    "weather": (0.0, 0.04, 0.09, 0.16, 0.23),
}


#: Numbers between the streams of two families: those NumPy's ``PCG64.jumped`` skips, 2^128 over the
#: golden ratio, so that no part of the generator's state is the same.
STRIDE = 0x9E3779B97F4A7C15F39CC0605CEDC835


class Composite(ShiftFamily):
    """Families that act one after the other, each with a random stream of its own.

    Attributes:
        members: name → family, of `SCENE`, in that order.
    """

    def __init__(self, names: Iterable[str], shift: Shift) -> None:
        chosen = sorted(names, key=SCENE.index)
        self.members = {name: FAMILIES.get(name).for_shift(shift) for name in chosen}
        everyone = self.members.values()
        self.needs_depth = any(member.needs_depth for member in everyone)
        self.reads_backgrounds = any(member.reads_backgrounds for member in everyone)
        self._acting: Sequence[ShiftFamily] = ()

    def streams(
        self, rng: np.random.Generator
    ) -> Iterator[tuple[str, GradedFamily, np.random.Generator]]:
        """Yield each member's name, itself, and a stream for it until the next one is asked for.

        The stream depends on the name's place in `SCENE` alone: it is that of ``rng``, so many
        times `STRIDE` numbers later.
        """
        source = rng.bit_generator
        start = source.state
        for name, member in self.members.items():
            source.state = start
            source.advance((1 + SCENE.index(name)) * STRIDE)
            yield name, member, rng

    def step(self, scene: Scene, t: int) -> None:
        for member in self._acting:
            member.step(scene, t)

    def decorate(self, scene: Scene, t: int) -> None:
        for member in self._acting:
            member.decorate(scene, t)

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        for member in self._acting:
            rgb = member.post(rgb, depth, t)
        return rgb


class Combined(Composite):
    """All families that change the scene; what moves does so as in each alone."""

    members: dict[str, GradedFamily]
    _severity = -1.0

    @classmethod
    def for_shift(cls, shift: Shift) -> Combined:
        return cls(SCENE, shift)

    def apply(self, scene: Scene, severity: float, rng: np.random.Generator) -> None:
        self._acting = list(self.members.values())
        if severity != self._severity:
            self._severity = severity
            self._numbers = {name: self._together(name) for name in self.members}
        for name, member, stream in self.streams(rng):
            member.use(scene, self._numbers[name], stream)

    def _together(self, name: str) -> SimpleNamespace:
        """Return a member's numbers at its own severity; what moves does so as in it alone."""
        member, severity = self.members[name], self._severity
        alone = vars(member.numbers(severity))
        own = float(np.interp(severity, SEVERITY, TOGETHER[name]))
        return member.numbers(own, **{row: alone[row] for row in member.motion})


class Preset(Composite):
    """Another suite's level: the shift's level is its name, its severity is of no account."""

    members: dict[str, GradedFamily]
    _looks: tuple[Look, ...]

    @classmethod
    def for_shift(cls, shift: Shift) -> Preset:
        if shift.level not in PRESETS:
            raise unknown("preset", shift.level, PRESETS, "shift")
        looks = PRESETS[shift.level].looks
        preset = cls({name for look in looks for name in look}, shift)
        preset._looks = looks
        return preset

    def apply(self, scene: Scene, severity: float, rng: np.random.Generator) -> None:
        look = self._looks[rng.integers(len(self._looks))]
        self._acting = [member for name, member in self.members.items() if name in look]
        for name, member, stream in self.streams(rng):
            if name in look:
                member.use(scene, member.numbers(0.0, **look[name]), stream)
