"""Certify a suite: plan, train readers, measure, draw again elsewhere; go on where it stopped.

Two pools of worker processes: one trains and measures, the other draws frames again, so that equal
frames prove something about the seed and not about one process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench import progress
from shiftbench.certify import cells
from shiftbench.certify.cells import Plan
from shiftbench.certify.verdicts import Cell
from shiftbench.errors import ShiftBenchError
from shiftbench.files import check_writable
from shiftbench.registry import FAMILIES
from shiftbench.specs import Suite, Task

if TYPE_CHECKING:
    from tqdm import tqdm

#: Seconds between looks at how far the workers are.
_GLANCE = 0.3

#: In a worker: ticks done by all workers together, and whether to stop.
_ticks: Any = None
_stop: Any = None


class _Stopped(Exception):
    """The main process wants no more of this."""


def certify(
    suite: Suite,
    tasks: Sequence[Task],
    out: Path,
    *,
    states: int = 200,
    solvable: bool = True,
    workers: int | None = None,
) -> list[Cell]:
    """Measure every cell of a suite on these tasks that ``out`` does not hold yet.

    Args:
        suite: whose families and levels.
        tasks: on which tasks.
        out: folder for readers and cells.
        states: states to compare; readers train on `cells.FRAMES_PER_STATE` times as many frames.
        solvable: whether readers are trained, which is half of the work.
        workers: processes that train and measure; by default one a core.

    Returns:
        All cells, in order of task, family and level.

    Raises:
        ShiftBenchError: bad input, nothing can be drawn here, or a worker died.
    """
    plans = [Plan.of(suite, task, states, solvable) for task in tasks]
    check_writable(out)
    missing = [
        (plan, family)
        for plan in plans
        for family in plan.families
        if not all(plan.cell_path(out, shift).exists() for shift in plan.of_family(family))
    ]
    if missing:
        _measure_all(plans, missing, out, workers or os.cpu_count() or 1)
    return [cells.read(plan.cell_path(out, shift)) for plan in plans for shift in plan.shifts]


def _measure_all(
    plans: Sequence[Plan], missing: Sequence[tuple[Plan, str]], out: Path, workers: int
) -> None:
    """Write the cells of the missing families, and the readers that they need."""
    readers = [
        (plan, kind)
        for plan in plans
        if plan.solvable and any(plan is other for other, _ in missing)
        for kind in cells.READERS
        if not plan.reader_path(out, kind).exists()
    ]
    total = sum(cells.training_work(plan) for plan, _ in readers) + sum(
        cells.measuring_work(plan, family) for plan, family in missing
    )
    context = multiprocessing.get_context("spawn")
    shared = context.Value("q", 0), context.Event()
    families = {name: FAMILIES.get(name) for plan in plans for name in plan.families}
    with (
        _pool(workers, context, shared, families) as many,
        _pool(1, context, shared, families) as other,
        progress.bar(total=total, unit="frame", unit_scale=True, desc="certify") as bar,
    ):
        try:
            trained = [many.submit(_train, plan, kind, out) for plan, kind in readers]
            for future in _finished(trained, bar, shared[0]):
                future.result()
            halves: dict[Future, tuple[int, str]] = {}
            for i, (plan, family) in enumerate(missing):
                halves[many.submit(_measure, plan, family, out)] = i, "measured"
                halves[other.submit(cells.repeat, plan, family)] = i, "again"
            found: dict[int, dict[str, Any]] = {i: {} for i in range(len(missing))}
            for future in _finished(halves, bar, shared[0]):
                i, half = halves[future]
                found[i][half] = future.result()
                if len(found[i]) == 2:
                    _write(missing[i][0], out, **found.pop(i))
        except BrokenProcessPool as error:
            raise ShiftBenchError(
                f"a worker process ended before its work was done (out of memory?): {error}"
            ) from error
        finally:
            shared[1].set()


def _write(plan: Plan, out: Path, measured: dict, again: dict) -> None:
    for shift, half in measured.items():
        cells.write(plan.cell_path(out, shift), cells.finish(plan, shift, half, again[shift]))


def _finished(futures: Iterable[Future], bar: tqdm, ticks: Any) -> Iterator[Future]:
    """Yield futures as they are done, and move the bar meanwhile."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_GLANCE, return_when=FIRST_COMPLETED)
        bar.update(min(ticks.value, bar.total) - bar.n)
        yield from done


# -- in the workers ------------------------------------------------------------------------------


@contextmanager
def _pool(count: int, context: Any, shared: tuple, families: dict) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(count, context, _start, (*shared, families))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start(ticks: Any, stop: Any, families: dict[str, Any]) -> None:
    """Prepare a worker: one thread, deaf to Ctrl-C, families registered at run time included."""
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()

    global _ticks, _stop
    _ticks, _stop = ticks, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears it and sets `stop`
    torch.set_num_threads(1)
    for name, family in families.items():
        if name not in FAMILIES:
            FAMILIES.register(name, family)


def _end_with_parent() -> None:
    """End this process with the main one, however that ends."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _tick(count: int) -> None:
    with _ticks.get_lock():
        _ticks.value += count
    if _stop.is_set():
        raise _Stopped


def _train(plan: Plan, kind: str, out: Path) -> None:
    cells.train_reader(plan, kind, out, _tick)


def _measure(plan: Plan, family: str, out: Path) -> dict:
    return cells.measure(plan, family, out, _tick)
