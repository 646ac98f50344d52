"""What the benchmarks write into a page of the documentation."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text and whose others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def machine() -> str:
    """Return in words what this is measured on, and how busy that was in the last minute."""
    import mujoco

    from shiftbench.envs import gl

    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {gl.backend()}: {gl.driver()}, "
        f"Python {platform.python_version()}, mujoco {mujoco.__version__}, load average "
        f"{os.getloadavg()[0]:.1f} with this benchmark"
    )


def check(path: Path, name: str) -> None:
    """Raise ValueError unless the page has a place for the section ``name``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--out {path}: {error.strerror}") from error
    begin, end = (text.find(mark) for mark in _marks(name))
    if not 0 <= begin < end:
        raise ValueError(f"--out {path}: it needs the lines {' and '.join(_marks(name))}")


def fill(path: Path, name: str, text: str) -> None:
    """Put ``text`` in place of what stands between the section's two marks.

    Raises:
        ValueError: as `check`.
    """
    check(path, name)
    begin, end = _marks(name)
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    path.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"
