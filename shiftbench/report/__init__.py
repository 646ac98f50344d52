"""Reports: tables and plots from rows. Imports neither torch nor dm_control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from shiftbench.files import replacing

if TYPE_CHECKING:
    import pandas as pd


def build(rows: pd.DataFrame, out: Path, seed: int = 0) -> pd.DataFrame:
    """Write the tables (CSV, Markdown, LaTeX) and the plots to ``out``.

    Args:
        rows: what `shiftbench.results.read_rows` returns.
        out: folder, made if missing.
        seed: of the bootstrap.

    Returns:
        The leaderboard; notes on what is missing are in ``board.attrs["notes"]``.

    Raises:
        ShiftBenchError: not one run is complete, or ``out`` cannot be written.
    """
    from shiftbench.report import markup, pairs, plots, tables

    board, missing = tables.leaderboard(rows, seed)
    board.attrs["notes"] = [f"missing: {line}" for line in missing] + tables.remarks(rows, board)
    families = tables.by_family(rows)
    agents = list(dict.fromkeys([*board["agent"], *families["agent"]]))
    against = pairs.compare(rows, list(board["agent"].unique()), tables.order(board))
    board.attrs["notes"] += pairs.remarks(against)
    parts = {column: tables.breakdown(rows, column, seed) for column in ("family", "task")}
    figures = {
        "score_by_level": plots.score_by_level(board),
        "families": plots.families(families, agents),
    }
    written = {
        "leaderboard": board,
        "by_family": parts["family"],
        "by_task": parts["task"],
        "families": families,
        "comparisons": against,
    }
    for name, table in written.items():
        with replacing(out / f"{name}.csv") as path:
            names = table.select_dtypes(["object", "str"]).columns
            table.assign(**{n: table[n].map(markup.spreadsheet) for n in names}).to_csv(
                path, index=False
            )
    for suffix, text in (
        ("md", _markdown(board, parts, against)),
        ("tex", markup.latex_table(board)),
    ):
        with replacing(out / f"leaderboard.{suffix}") as path:
            path.write_text(text, encoding="utf-8")
    for name, figure in figures.items():
        for suffix in ("png", "svg"):
            with replacing(out / f"{name}.{suffix}") as path:
                plots.save(figure, path, suffix)
    return board


def render_table(board: pd.DataFrame) -> str:
    """Return the leaderboard as aligned text for a terminal."""
    from shiftbench.report.markup import cells

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


def _markdown(board: pd.DataFrame, parts: dict[str, pd.DataFrame], against: pd.DataFrame) -> str:
    import jinja2

    from shiftbench.report.markup import cells, markdown, verdicts

    loader = jinja2.Environment(
        loader=jinja2.PackageLoader("shiftbench.report"),
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader.filters["escaped"] = markdown
    sections = [("", cells(board))]
    if len(against):
        sections.append(("Who is better", verdicts(against)))
    sections += [
        (f"{column.capitalize()}: {name}", cells(own))
        for column, part in parts.items()
        if part[column].nunique() > 1
        for name, own in part.groupby(column)
    ]
    template = loader.get_template("leaderboard.md.j2")
    return template.render(sections=sections, notes=board.attrs.get("notes", []))
