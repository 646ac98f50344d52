"""Reports: tables and plots from rows. Imports neither torch nor dm_control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from shiftbench.files import replacing

if TYPE_CHECKING:
    import pandas as pd


def build(rows: pd.DataFrame, out: Path, seed: int = 0) -> pd.DataFrame:
    """Write ``leaderboard.csv``, ``leaderboard.md``, ``families.csv`` and the plots to ``out``.

    Args:
        rows: what `shiftbench.results.read_rows` returns.
        out: folder, made if missing.
        seed: of the bootstrap.

    Returns:
        The leaderboard; notes on what is missing are in ``board.attrs["notes"]``.

    Raises:
        ShiftBenchError: not one run is complete, or ``out`` cannot be written.
    """
    from shiftbench.report import plots, tables

    board, missing = tables.leaderboard(rows, seed)
    board.attrs["notes"] = [f"missing: {line}" for line in missing] + tables.remarks(rows, board)
    families = tables.by_family(rows)
    agents = list(dict.fromkeys([*board["agent"], *families["agent"]]))
    figures = {
        "score_by_level": plots.score_by_level(board),
        "families": plots.families(families, agents),
    }
    for name, table in (("leaderboard", board), ("families", families)):
        with replacing(out / f"{name}.csv") as path:
            table.to_csv(path, index=False)
    with replacing(out / "leaderboard.md") as path:
        path.write_text(_markdown(board), encoding="utf-8")
    for name, figure in figures.items():
        for suffix in ("png", "svg"):
            with replacing(out / f"{name}.{suffix}") as path:
                plots.save(figure, path, suffix)
    return board


def render_table(board: pd.DataFrame) -> str:
    """Return the leaderboard as aligned text for a terminal."""
    from shiftbench.report.tables import cells

    headings, lines = cells(board)
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [headings, *lines]
    ]
    return "\n".join([*text, *(f"note: {note}" for note in board.attrs.get("notes", []))])


def to_json(board: pd.DataFrame) -> str:
    """Return the leaderboard as JSON: ``leaderboard`` (a list of objects) and ``notes``."""
    entries = json.loads(board.to_json(orient="records"))
    return json.dumps({"leaderboard": entries, "notes": board.attrs.get("notes", [])}, indent=2)


def _markdown(board: pd.DataFrame) -> str:
    import jinja2

    from shiftbench.report.tables import cells

    loader = jinja2.Environment(
        loader=jinja2.PackageLoader("shiftbench.report"),
        autoescape=False,
        keep_trailing_newline=True,
    )
    headings, lines = cells(board)
    safe = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    template = loader.get_template("leaderboard.md.j2")
    return template.render(headings=headings, lines=safe, notes=board.attrs.get("notes", []))
