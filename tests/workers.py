"""Work for processes, which import it by this module's name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch

from shiftbench.errors import ShiftBenchError


def act(item: str, halt, send) -> None:
    """Do what the item says."""
    send(torch.get_num_threads())
    if item == "error":
        raise ShiftBenchError("something a user can mend")
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def wait(item: str, halt, send) -> None:
    """Wait until told to stop, and leave a file then."""
    send("begun")
    try:
        while True:
            halt.check()
            time.sleep(0.01)
    finally:
        Path(item).write_text("cleaned up")
