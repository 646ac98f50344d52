import os
import signal
import sys

import pytest

from shiftbench.halt import Halt, Halted, hearing

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class Signals:
    """Sends a signal where Python swallows the exception."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        for _ in range(1000):  # the handler runs between two instructions in here
            pass


@SIGNALS
def test_a_signal_is_heard_where_its_exception_is_swallowed(monkeypatch, number):
    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: swallowed.append(fault.exc_type))
    before = signal.getsignal(number)
    halt = Halt()
    with hearing():
        Signals(number)
        assert swallowed == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            halt.check()
    halt.check()
    assert signal.getsignal(number) is before


@SIGNALS
def test_a_signal_stays_ignored_where_it_is(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with hearing():
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_the_clock_stops_work():
    assert Halt().allows(1e6)
    with pytest.raises(Halted):
        Halt(0.0).check()
    with pytest.raises(Halted):
        Halt(asked=lambda: True).check()
