"""One process at a time in the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from shiftbench.errors import ShiftBenchError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``; the system releases it however the process ends.

    The lock file stands beside the folder, so that the folder may be moved meanwhile.

    Raises:
        ShiftBenchError: another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_path(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ShiftBenchError(
            f"{folder}: another process trains there; wait for it, or give another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


def check_free(folder: Path) -> None:
    """Raise as `locked` does, and leave nothing behind."""
    if _path(folder).exists():
        with locked(folder):
            pass


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def set_aside(folder: Path) -> Path | None:
    """Rename ``folder``, if it is there, to the next free ``<name>.old-<n>``, and return that."""
    if not folder.exists():
        return None
    number = 1
    while (target := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    folder.rename(target)
    return target
