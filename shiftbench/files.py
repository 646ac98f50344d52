"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shiftbench.errors import ShiftBenchError


@contextmanager
def write_text(path: Path) -> Iterator[IO[str]]:
    """Open a text file for writing that replaces ``path`` only when the block ends well.

    Raises:
        ShiftBenchError: the folder cannot be written or the disk is full; an earlier file stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    except OSError as error:
        raise ShiftBenchError(f"{path}: cannot be written: {error}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise ShiftBenchError(f"{path}: cannot be written: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
