"""When work must stop: the time is over, a signal, or the process that started it says so.

The signals are SIGINT, which is Ctrl-C, and SIGTERM, which is how a cluster's scheduler takes a
machine back. Both do the same.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: What is heard, and who has it before anybody asks for it.
_SIGNALS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

_asked = threading.Event()


@contextmanager
def hearing() -> Iterator[None]:
    """Remember a signal to stop for `Halt`, besides raising KeyboardInterrupt where it strikes.

    Python prints and forgets an exception that strikes in a destructor or another callback, and
    the work would go on. Where somebody else has a signal, or it is ignored, it stays so.
    """

    def hear(number: int, frame: FrameType | None) -> None:
        _asked.set()
        raise KeyboardInterrupt

    _asked.clear()
    ours = {number: was for number, was in _SIGNALS.items() if signal.getsignal(number) is was}
    if threading.current_thread() is not threading.main_thread():
        ours = {}
    for number in ours:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, was in ours.items():
            signal.signal(number, was)
        _asked.clear()


class Unbegun(KeyboardInterrupt):
    """Ctrl-C or SIGTERM before anything was changed."""


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
            KeyboardInterrupt: a signal asked to stop, and was not heard where it struck.
        """
        if _asked.is_set():
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
    """Block the signals; a process that is started meanwhile never hears them.

    It is told to stop by the process that started it, or killed.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Ignore the signals from now on, also where they could not be blocked (`deaf`)."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
