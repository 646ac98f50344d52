"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shiftbench.errors import ShiftBenchError


def check_writable(out: Path, flag: str = "--out") -> None:
    """Raise ShiftBenchError unless files can be made in ``out`` (or in what it will be made in)."""
    present = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not present.is_dir() or not os.access(present, os.W_OK | os.X_OK):
        raise ShiftBenchError(f"{flag} {out}: {present} is not a folder that can be written")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file that becomes ``path`` when the block ends well.

    Until then, and for ever if the block fails, ``path`` is what it was. Folders are made.

    Raises:
        ShiftBenchError: the folder cannot be written or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise ShiftBenchError(f"{path}: cannot be written: {error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
