"""Several runs at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from shiftbench import progress
from shiftbench.errors import ShiftBenchError
from shiftbench.halt import Halt, Halted, deaf, ignore

#: What a process does: takes one item, when to stop, and what sends a message to `each`.
Work = Callable[[Any, Halt, Callable[[Any], None]], None]

#: Seconds between two looks at the clock and for Ctrl-C.
_GLANCE = 0.5


def each(
    work: Work,
    items: Sequence[Any],
    jobs: int,
    halt: Halt,
    on_message: Callable[[Any, Any], None],
) -> list[tuple[Any, str]]:
    """Do ``work`` for every item, ``jobs`` at a time, and return those that failed, and why.

    An item that fails is reported at once, and the others go on. Ctrl-C asks all to stop, waits
    until they have, and is raised then; a second one ends them where they are.

    Args:
        work: can be pickled, as its items can; torch has its share of the threads there.
        items: ``str`` names them.
        jobs: how many processes.
        halt: no further item is begun once it is time to stop.
        on_message: called here with the item and what its work sent.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    context = multiprocessing.get_context("spawn")
    stop, todo = context.Event(), list(items)
    failed: list[tuple[Any, str]] = []
    alive: dict[Connection, tuple[Any, Any]] = {}
    interrupted = False
    try:
        while alive or (todo and not interrupted and halt.allows(0.0)):
            try:
                while todo and len(alive) < jobs and not interrupted and halt.allows(0.0):
                    item = todo.pop(0)
                    here, there = context.Pipe(duplex=False)
                    process = context.Process(
                        target=_child, args=(work, item, halt.minutes, halt.end, stop, there, jobs)
                    )
                    with deaf():  # also until it is known, else nobody would wait for it
                        process.start()
                        there.close()
                        alive[here] = item, process
                for pipe in wait(list(alive), timeout=_GLANCE):
                    _hear(pipe, alive, failed, on_message)
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                stop.set()
                progress.note("Stopping: every run ends after the step it is at.")
    except BaseException:
        for _, process in alive.values():
            process.kill()
        raise
    finally:
        for _, process in alive.values():
            process.join()
    if interrupted:
        raise KeyboardInterrupt
    return failed


def failure(failed: list[tuple[Any, str]], count: int) -> ShiftBenchError:
    """Return the error that names what failed, of ``count`` items."""
    reasons = "; ".join(f"{item}: {reason}" for item, reason in failed)
    return ShiftBenchError(f"{len(failed)} of {count} runs failed: {reasons}")


def _hear(pipe: Connection, alive: dict, failed: list, on_message: Callable) -> None:
    """Take one message, or the end of its process."""
    item, process = alive[pipe]
    try:
        kind, content = pipe.recv()
    except EOFError:
        process.join()
        del alive[pipe]
        code = process.exitcode
        if not code:
            return
        end = f"signal {-code} (out of memory?)" if code < 0 else f"exit code {code}"
        kind, content = "error", f"its process ended with {end}"
    if kind == "error":
        failed.append((item, content))
        progress.note(f"{item}: {content}")
    else:
        on_message(item, content)


def _child(
    work: Work, item: Any, minutes: float, end: float, stop: Any, pipe: Connection, jobs: int
) -> None:
    import torch

    ignore()
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    parent = multiprocessing.parent_process()
    halt = Halt(asked=lambda: stop.is_set() or not parent.is_alive())
    halt.minutes, halt.end = minutes, end
    try:
        work(item, halt, lambda message: pipe.send(("message", message)))
    except Halted:
        pass
    except (ShiftBenchError, OSError) as error:
        with suppress(OSError):  # it may be the pipe itself, whose reader is gone
            pipe.send(("error", " ".join(str(error).split())))
    pipe.close()
