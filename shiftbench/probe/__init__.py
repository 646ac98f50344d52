"""Probes: what training did to an agent's encoder. ``docs/probes.md`` says what is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench.files import replacing

if TYPE_CHECKING:
    import pandas as pd


def build(rows: Sequence[dict[str, Any]], scores: pd.DataFrame | None, out: Path) -> None:
    """Write ``probes.csv`` and the plot to ``out``.

    Args:
        rows: of `shiftbench.probe.run.probe`.
        scores: of `shiftbench.probe.tables.read_scores`, to draw the probes against.
        out: the folder.

    Raises:
        ShiftBenchError: ``out`` cannot be written.
    """
    from shiftbench.probe import plot, tables
    from shiftbench.report.plots import save

    tables.write(out / "probes.csv", rows)
    figure = plot.draw(rows, scores)
    for suffix in ("png", "svg"):
        with replacing(out / f"probes.{suffix}") as path:
            save(figure, path, suffix)


def to_json(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as JSON, null where a number is not known."""
    from shiftbench.probe import tables

    return json.dumps(tables.known(rows), indent=2)
