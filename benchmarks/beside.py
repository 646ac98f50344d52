"""Several learners at a time on one device, each in a process of its own, against one alone."""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import statistics
import subprocess
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any, NamedTuple

import torch
from cache import HELD, begin, fill, replay_of

from shiftbench import allocator, seeding
from shiftbench.agents import resolve
from shiftbench.errors import ShiftBenchError

#: Updates before any is timed; the first compiles where that is asked for.
WARM_UP = 5
#: Seconds after which learners that are not ready yet count as failed.
PATIENCE = 900.0


class Learners(NamedTuple):
    """What runs: the agent's name and size, where, and how its updates are computed.

    ``kept`` says whether freed memory is kept, as trainings do (`shiftbench.allocator`).
    """

    name: str
    size: str
    device: str
    compiled: bool = False
    kept: bool = True


def updates(what: Learners, count: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Let ``count`` learners do updates for so many seconds at the same time.

    Returns:
        ``runs``, ``ms`` (milliseconds of an update of a run, the median run's), ``per_second``
        (updates a second of all together), ``faults`` (page faults of an update, the median run's)
        and ``use``, the mean percentage of the time in which the GPU was at work, None where
        ``nvidia-smi`` does not tell it.

    Raises:
        ShiftBenchError: a learner failed.
    """
    context = multiprocessing.get_context("spawn")
    ready, over = context.Barrier(count + 1), context.Event()
    pipes, processes = [], []
    for index in range(count):
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=_learn, args=(what, folder / str(index), ready, over, there), daemon=True
        )
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        ready.wait(PATIENCE)
        use, end = [], time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0.0:
            time.sleep(min(1.0, left))
            use += _gpu_use() if what.device != "cpu" else []
        over.set()
        found = [pipe.recv() for pipe in pipes]
    except (BrokenBarrierError, EOFError) as error:
        message = f"{what.name} {what.size}: a learner failed, of {count} at a time"
        raise ShiftBenchError(message) from error
    finally:
        over.set()
        for process in processes:
            process.join(30.0)
            process.kill()
    each = [spent / done for done, spent, _ in found]
    return {
        "runs": count,
        "ms": 1e3 * statistics.median(each),
        "per_second": sum(1.0 / spent for spent in each),
        "faults": statistics.median(faults / done for done, _, faults in found),
        "use": statistics.fmean(use) if use else None,
    }


def _learn(what: Learners, folder: Path, ready: Barrier, over: Event, pipe: Connection) -> None:
    try:
        torch.set_num_threads(1)
        if what.kept:
            allocator.keep_freed()
        agent = begin(resolve(what.name, size=what.size), what.device)
        replay = replay_of(agent, folder, HELD, None)
        fill(agent, replay, HELD)
        if what.compiled:
            agent.compile()
        rng = seeding.rng(0)
        for _ in range(WARM_UP):
            agent.learn(replay, rng)
    except BaseException:
        ready.abort()
        raise
    ready.wait(PATIENCE)
    start, before, done = time.perf_counter(), _faults(), 0
    while done == 0 or not over.is_set():
        agent.learn(replay, rng)  # waits for the device, as it returns numbers
        done += 1
    pipe.send((done, time.perf_counter() - start, _faults() - before))


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _gpu_use() -> list[float]:
    """Return the percentage of the last second in which the first GPU was at work, or nothing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    said = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return [float(said)] if said.isdigit() else []
