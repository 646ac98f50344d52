import os
import signal
import sys

import pytest

from shiftbench.halt import Halt, Halted, hearing


class Presses:
    """Presses Ctrl-C where Python swallows the exception."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the handler runs between two instructions in here
            pass


def test_ctrl_c_is_heard_where_its_exception_is_swallowed(monkeypatch):
    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: swallowed.append(fault.exc_type))
    before = signal.getsignal(signal.SIGINT)
    halt = Halt()
    with hearing():
        Presses()
        assert swallowed == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            halt.check()
    halt.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_stays_ignored_where_it_is():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hearing():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_clock_stops_work():
    assert Halt().allows(1e6)
    with pytest.raises(Halted):
        Halt(0.0).check()
    with pytest.raises(Halted):
        Halt(asked=lambda: True).check()
