"""One process at a time in a run's folder."""

import signal
import subprocess
import sys

import pytest

from shiftbench.errors import ShiftBenchError
from shiftbench.locks import locked, set_aside

HOLD = """
import sys, time
from pathlib import Path
from shiftbench.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_refused_while_another_process_holds_it_and_free_when_that_was_killed(tmp_path):
    folder = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ShiftBenchError, match="another process trains there"), locked(folder):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
    with locked(folder):
        assert not folder.exists()
    with locked(folder):
        pass


def test_what_is_set_aside_is_never_lost(tmp_path):
    folder = tmp_path / "run"
    assert set_aside(folder) is None
    for number in (1, 2):
        folder.mkdir()
        (folder / "file").write_text(str(number))
        assert set_aside(folder) == tmp_path / f"run.old-{number}"
    assert (tmp_path / "run.old-1" / "file").read_text() == "1"
