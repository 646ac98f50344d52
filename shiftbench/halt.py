"""When work must stop: the time is over, or the process that started it says so."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Halted(Exception):
    """Raised by `Halt.check` in the middle of work, which leaves no trace then."""


class Halt:
    """Tells work when to stop.

    Args:
        minutes: from now on.
        asked: whether something else asks to stop, in addition.

    Attributes:
        end: seconds of `time.monotonic`, which is the same clock in every process.
    """

    def __init__(
        self, minutes: float = math.inf, asked: Callable[[], bool] = lambda: False
    ) -> None:
        self.minutes, self.end, self.asked = minutes, time.monotonic() + 60.0 * minutes, asked

    @property
    def limited(self) -> bool:
        """Whether there is an end at all."""
        return math.isfinite(self.end)

    def allows(self, seconds: float) -> bool:
        """Whether work that takes so many seconds would end in time."""
        return self.end - time.monotonic() > seconds and not self.asked()

    def check(self) -> None:
        """Raise `Halted` where it is time to stop."""
        if not self.allows(0.0):
            raise Halted

    def __str__(self) -> str:
        return f"the time is over (--max-minutes {self.minutes:g})"
