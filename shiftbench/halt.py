"""When work must stop: the time is over, Ctrl-C, or the process that started it says so."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_pressed = threading.Event()


@contextmanager
def hearing() -> Iterator[None]:
    """Remember Ctrl-C for `Halt`, besides raising KeyboardInterrupt where it strikes.

    Python prints and forgets an exception that strikes in a destructor or another callback, and
    the work would go on. Where somebody else has the signal, or it is ignored, it stays so.
    """

    def press(number: int, frame: FrameType | None) -> None:
        _pressed.set()
        signal.default_int_handler(number, frame)

    _pressed.clear()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _pressed.clear()


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
        """Whether work that takes so many seconds would end in time.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, and was not heard where it struck.
        """
        if _pressed.is_set():
            raise KeyboardInterrupt
        return self.end - time.monotonic() > seconds and not self.asked()

    def check(self) -> None:
        """Raise `Halted` where it is time to stop."""
        if not self.allows(0.0):
            raise Halted

    def __str__(self) -> str:
        return f"the time is over (--max-minutes {self.minutes:g})"


@contextmanager
def deaf() -> Iterator[None]:
    """Block Ctrl-C; a process that is started meanwhile never hears it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
