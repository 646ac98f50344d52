"""Several learners at a time on one device, each in a process of its own, against one alone."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import subprocess
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from cache import CACHED, HELD, begin, fill, replay_of

from shiftbench import seeding
from shiftbench.accounting import naming_compiler
from shiftbench.agents import resolve
from shiftbench.errors import ShiftBenchError

#: Updates before any is timed; the first compiles where that is asked for.
WARM_UP = 5
#: Seconds after which a learner that says nothing counts as failed.
PATIENCE = 900.0


class Learners(NamedTuple):
    """What runs: the agent's name and size, where, and whether its updates are compiled."""

    name: str
    size: str
    device: str
    compiled: bool = False


def updates(what: Learners, count: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Let ``count`` learners do updates for so many seconds at the same time.

    Returns:
        ``runs``, ``ms`` (milliseconds of an update of a run, the median run's), ``per_second``
        (updates a second of all together), ``together`` (seconds in which all were at it) and
        ``use``, the mean percentage of the time in which the GPU was at work, None where
        ``nvidia-smi`` does not tell it.

    Raises:
        ShiftBenchError: a learner failed.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for index in range(count):
            here, there = context.Pipe()
            arguments = (what, folder / str(index), seconds, there)
            process = context.Process(target=_learn, args=arguments, daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        waiting = list(pipes)
        while waiting:
            for pipe in wait(waiting, PATIENCE) or _failed(what, count, "nothing was heard of it"):
                if message := _heard(pipe, what, count):
                    _failed(what, count, message)
                waiting.remove(pipe)
        for pipe in pipes:
            pipe.send("go")
        use, end = [], time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0.0:
            time.sleep(min(1.0, left))
            use += _gpu_use() if what.device != "cpu" else []
        found = [_heard(pipe, what, count) for pipe in pipes]
        for process in processes:
            process.join(10.0)
    finally:
        for process in processes:
            process.kill()
            process.join()
    starts, ends, done = zip(*found, strict=True)
    each = [(b - a) / n for a, b, n in zip(starts, ends, done, strict=True)]
    return {
        "runs": count,
        "ms": 1e3 * statistics.median(each),
        "per_second": sum(1.0 / spent for spent in each),
        "together": min(ends) - max(starts),
        "use": statistics.fmean(use) if use else None,
    }


def _heard(pipe: Connection, what: Learners, count: int) -> Any:
    try:
        return pipe.recv() if pipe.poll(PATIENCE) else _failed(what, count, "it hangs")
    except EOFError:
        return _failed(what, count, "it ended")


def _failed(what: Learners, count: int, why: str) -> NoReturn:
    raise ShiftBenchError(f"{what.name} {what.size}: one of {count} learners failed: {why}")


def _learn(what: Learners, folder: Path, seconds: float, pipe: Connection) -> None:
    torch.set_num_threads(1)
    try:
        agent = begin(resolve(what.name, size=what.size), what.device)
        replay = replay_of(agent, folder, HELD, CACHED)
        fill(agent, replay, HELD)
        rng = seeding.rng(0)
        with naming_compiler():
            if what.compiled:
                agent.compile()
            for _ in range(WARM_UP):
                agent.learn(replay, rng)
    except ShiftBenchError as error:
        pipe.send(str(error))
        return
    pipe.send(None)
    pipe.recv()  # ends here where nobody waits any more
    start, done = time.monotonic(), 0
    while done == 0 or time.monotonic() - start < seconds:
        agent.learn(replay, rng)  # waits for the device, as it returns numbers
        done += 1
    pipe.send((start, time.monotonic(), done))


def _gpu_use() -> list[float]:
    """Return the percentage of the last second in which torch's first GPU worked, or nothing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = [tool, f"--id={gpu}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    said = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return [float(said)] if said.isdigit() else []
