"""Files that are whole or not there."""

from __future__ import annotations

import glob
import io
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shiftbench.errors import ShiftBenchError

#: Seconds after which a temporary file belongs to nobody; writing one takes a few at most.
LEFTOVER = 3600.0


def check_writable(out: Path, flag: str = "--out") -> None:
    """Raise ShiftBenchError unless files can be made in ``out`` (or in what it will be made in).

    A nameless file is really made there, since permissions do not tell all; nothing is left.
    """
    try:
        for present in (out, *out.absolute().parents):
            with suppress(FileNotFoundError, NotADirectoryError):
                present.stat()
                break
        with tempfile.TemporaryFile(dir=present):
            pass
    except OSError as error:
        reason = f"nothing can be written in {present}: {error.strerror}"
        raise ShiftBenchError(f"{flag} {out}: {reason}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file that becomes ``path`` when the block ends well.

    Until then, and for ever if the block fails, ``path`` is what it was. Folders are made. What a
    killed process left of an earlier attempt is removed.

    Raises:
        ShiftBenchError: the folder cannot be written or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
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


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` that are too old to belong to a process at work."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):  # another process may remove the same one
            if time.time() - file.stat().st_mtime > LEFTOVER:
                file.unlink()


def write_at(file: io.FileIO, data: bytes, offset: int) -> None:
    """Write all of ``data`` from byte ``offset`` on.

    Raises:
        OSError: the disk is full, or will not take it for another reason.
    """
    while data:
        done = os.pwrite(file.fileno(), data, offset)
        data, offset = data[done:], offset + done
