"""Real frames of the shifts in rows, for the page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from shiftbench import specs
from shiftbench.errors import ShiftBenchError
from shiftbench.levels import Shift
from shiftbench.registry import FAMILIES
from shiftbench.specs import CLEAN

if TYPE_CHECKING:
    import pandas as pd

    from shiftbench.specs import Task


class Gallery(NamedTuple):
    """Frames of one task, families × levels.

    Attributes:
        task: its name; empty where nothing could be drawn.
        families, levels: names; the first level is the clean one.
        frames: WebP files without loss, or None where a family lacks a level.
        reason: why there are no frames, else empty.
    """

    task: str = ""
    families: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    frames: tuple[tuple[bytes | None, ...], ...] = ()
    reason: str = ""


def draw(rows: pd.DataFrame, tasks: dict[str, Task] | None = None) -> Gallery:
    """Draw one task under every shift of the rows that is known here.

    Args:
        rows: what `shiftbench.results.read_rows` returns.
        tasks: which can be drawn; the shipped ones by default.
    """
    tasks = specs.load_tasks() if tasks is None else tasks
    names = [name for name in sorted(rows["task"].unique()) if name in tasks]
    suite = specs.load_suites().get(next((s for s in rows["suite"].unique() if s), ""))
    if not names:
        return Gallery(reason="no task of these rows is known to the program that made this page")
    if suite is None:
        return Gallery(reason="the rows name no suite that the program that made this page knows")
    told = [
        (family, level, float(severity))
        for family, level, severity in rows[["family", "level", "severity"]]
        .drop_duplicates()
        .sort_values(["family", "severity"])
        .itertuples(index=False)
        if family in FAMILIES and family != CLEAN
    ]
    try:
        shifts = [Shift(*shift) for shift in told]
        from shiftbench import preview

        families, levels, frames = preview.moments(tasks[names[0]], suite, shifts)
    except ShiftBenchError as error:
        return Gallery(reason=str(error))
    pictures = tuple(tuple((frame is not None and _webp(frame)) or None for frame in row)
                     for row in frames)  # fmt: skip
    return Gallery(names[0], tuple(families), tuple(levels), pictures)


def _webp(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="WEBP", lossless=True, quality=100)
    return buffer.getvalue()
