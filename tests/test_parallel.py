"""Several runs at a time: failures, the time's end and Ctrl-C."""

import os
import signal

import pytest
import torch
import workers

from shiftbench import parallel
from shiftbench.halt import Halt


def test_what_fails_is_named_and_the_others_go_on(capsys):
    told = []
    failed = parallel.each(
        workers.act, ["error", "one", "killed", "two"], 2, Halt(), lambda *m: told.append(m)
    )
    share = max(1, torch.get_num_threads() // 2)
    assert sorted(told) == sorted((name, share) for name in ("error", "one", "killed", "two"))
    assert dict(failed) == {
        "error": "something a user can mend",
        "killed": "its process ended with signal 9 (out of memory?)",
    }
    assert "error: something a user can mend" in capsys.readouterr().err
    text = str(parallel.failure(failed, 4))
    assert text.startswith("2 of 4 runs failed: ")


def test_nothing_is_begun_when_the_time_is_over(tmp_path):
    halt, told = Halt(), []

    def hear(item, message):
        told.append(item)
        halt.end = 0.0

    paths = [str(tmp_path / name) for name in "abc"]
    # The process took the end along; it has to be near when it starts.
    halt.end = Halt(20 / 60).end
    assert parallel.each(workers.wait, paths, 1, halt, hear) == []
    assert told == paths[:1]
    assert (tmp_path / "a").read_text() == "cleaned up"


def test_ctrl_c_lets_all_end_cleanly(tmp_path):
    told = []

    def hear(item, message):
        told.append(item)
        if len(told) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    paths = [str(tmp_path / name) for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        parallel.each(workers.wait, paths, 2, Halt(), hear)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
