"""Families, levels and the two together: the shifts that a user may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.registry import FAMILIES
from shiftbench.shifts.presets import PRESETS

if TYPE_CHECKING:
    from shiftbench.specs import Suite

#: Level → severity in [0, 1]. A suite file may define its own.
LEVELS = {"none": 0.0, "mild": 0.25, "moderate": 0.5, "severe": 0.75, "extreme": 1.0}

#: Family → its own levels, where it does not take the suite's: a preset is what it is.
OWN_LEVELS: dict[str, dict[str, float]] = {"preset": dict.fromkeys(PRESETS, 1.0)}

CLEAN = "none"


def levels_of(family: str, levels: dict[str, float]) -> dict[str, float]:
    """Return the levels at which a family is shown: its own, or ``levels``."""
    return OWN_LEVELS.get(family, levels)


class Shift(Struct, frozen=True, forbid_unknown_fields=True):
    """A family at a level, written ``texture:severe``; the clean arm is ``none:none``.

    Attributes:
        family, level: names.
        severity: in [0, 1].
        backgrounds: folder with the user's own pictures, see `showing`.

    Raises:
        ShiftBenchError: a severity outside [0, 1].
    """

    family: str
    level: str
    severity: float
    backgrounds: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.severity <= 1.0:
            raise ShiftBenchError(f"shift {self}: severity {self.severity}: allowed is 0 to 1")

    @classmethod
    def clean(cls) -> Shift:
        return cls(CLEAN, CLEAN, 0.0)

    @classmethod
    def parse(cls, text: str, suite: Suite, flag: str = "--shift") -> list[Shift]:
        """Read ``none``, ``all``, ``LEVEL`` (every family), ``FAMILY`` or ``FAMILY:LEVEL``.

        A family outside the suite may be named explicitly. One with levels of its own, which
        ``preset`` is, is read only together with one of them.

        Raises:
            ShiftBenchError: an unknown family or level, with the nearest valid name.
        """
        family, colon, _ = text.partition(":")
        levels = {**suite.levels, CLEAN: 0.0}
        if colon:
            chosen = [cls._named(text, levels, flag)]
        elif text == CLEAN:
            chosen = [cls.clean()]
        elif text == "all":
            chosen = suite.shifts()
        elif text in levels:
            chosen = [shift for shift in suite.shifts() if shift.level == text]
        elif family in OWN_LEVELS:
            own = ", ".join(f"{family}:{level}" for level in OWN_LEVELS[family])
            raise ShiftBenchError(f"{flag} {text}: each is something else, name one: {own}")
        elif text in FAMILIES:
            chosen = [cls(text, name, s) for name, s in levels.items() if name != CLEAN]
        else:
            raise unknown("shift", text, ["all", *levels, *FAMILIES], flag)
        return chosen

    @classmethod
    def one(cls, text: str, backgrounds: str | Path = "") -> Shift:
        """Read ``none`` or ``FAMILY:LEVEL``, for an environment, which shows one family.

        Args:
            text: what to read.
            backgrounds: folder with the user's own pictures, as for `showing`.

        Raises:
            ShiftBenchError: an unknown family or level, with the nearest valid name; or as
                `showing`.
        """
        if text == CLEAN:
            return cls.clean()
        if ":" not in text:
            raise ShiftBenchError(
                f"shift '{text}': an environment shows one family at one level, write FAMILY:LEVEL "
                f"such as texture:severe. Families: {', '.join(FAMILIES)}; "
                f"levels: {', '.join(LEVELS)}"
            )
        return cls._named(text, LEVELS, "shift").showing(backgrounds)

    @classmethod
    def _named(cls, text: str, levels: dict[str, float], flag: str) -> Shift:
        """Read ``FAMILY:LEVEL``."""
        family, _, level = text.partition(":")
        if family == level == CLEAN:
            return cls.clean()
        if family not in FAMILIES:
            raise unknown("shift family", family, FAMILIES, flag)
        if level == CLEAN:
            return cls.clean()
        known = levels_of(family, levels)
        if level not in known:
            raise unknown(family if family in OWN_LEVELS else "level", level, known, flag)
        return cls(family, level, known[level])

    def showing(self, folder: str | Path) -> Shift:
        """Return this shift with the user's own pictures, if it shows any.

        Args:
            folder: with images, GIFs or videos; an empty text for none.

        Raises:
            ShiftBenchError: the folder cannot be read or holds no picture.
        """
        if self.is_clean or not str(folder):
            return self
        if not FAMILIES.get(self.family).for_shift(self).reads_backgrounds:
            return self
        from shiftbench.shifts import pictures

        pictures.files(folder)
        # What is remembered of a folder must not depend on the folder one is in.
        return msgspec.structs.replace(self, backgrounds=str(Path(folder).resolve()))

    @property
    def is_clean(self) -> bool:
        return self.family == CLEAN

    def __str__(self) -> str:
        return f"{self.family}:{self.level}"
