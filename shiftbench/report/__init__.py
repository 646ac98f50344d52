"""Reports: tables and plots from rows. Imports neither torch nor dm_control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shiftbench import progress
from shiftbench.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from shiftbench.report.runs import Runs
    from shiftbench.specs import Task


#: Tables that `build` writes, as ``<name>.csv``.
TABLES = ("leaderboard", "by_family", "by_task", "families", "comparisons")


class Report(NamedTuple):
    """What a report says, as tables; ``results/README.md`` documents their columns.

    Attributes:
        board: the leaderboard; ``board.attrs["notes"]`` says what a reader should know.
        by_family, by_task: a leaderboard for each, named in the first column.
        families: mean return and score for each agent, task, family and level.
        comparisons: every two agents at every level.
        missing: one line for each thing that is missing, be it rows or training seeds.
        runs: agent → level → what counts, see `shiftbench.report.runs.Every`.
    """

    board: pd.DataFrame
    by_family: pd.DataFrame
    by_task: pd.DataFrame
    families: pd.DataFrame
    comparisons: pd.DataFrame
    missing: list[str]
    runs: dict[str, dict[str, Runs]]


def compute(rows: pd.DataFrame, seed: int = 0) -> Report:
    """Compute all tables.

    Args:
        rows: what `shiftbench.results.read_rows` returns.
        seed: of the bootstrap.

    Raises:
        ShiftBenchError: not one run is complete.
    """
    from shiftbench.report import pairs, tables
    from shiftbench.report.runs import Every, order

    every = Every(rows)
    complete = every.complete()
    board, missing = tables.leaderboard(every, seed)
    against = pairs.compare(complete, list(board["agent"].unique()), order(board))
    board.attrs["notes"] = [
        *(f"missing: {line}" for line in missing),
        *tables.remarks(rows, board),
        *pairs.remarks(against),
    ]
    parts = [tables.breakdown(every, column, seed) for column in ("family", "task")]
    return Report(board, *parts, tables.by_family(rows), against, missing, complete[0])


def build(
    rows: pd.DataFrame,
    out: Path,
    seed: int = 0,
    *,
    curves: pd.DataFrame | None = None,
    html: Path | None = None,
    tasks: dict[str, Task] | None = None,
) -> pd.DataFrame:
    """Write the tables (CSV, Markdown, LaTeX) and the plots to ``out``.

    Args:
        rows: what `shiftbench.results.read_rows` returns.
        out: folder, made if missing.
        seed: of the bootstrap.
        curves: what `shiftbench.report.curves.read` returns; None draws the two plots that every
            run gets, and no others.
        html: folder for ``index.html``, the same as a page.
        tasks: which the page's gallery can draw; the shipped ones by default.

    Returns:
        The leaderboard; notes on what is missing are in ``board.attrs["notes"]``.

    Raises:
        ShiftBenchError: not one run is complete, or a folder cannot be written.
    """
    from shiftbench.report import markup, plots

    found = compute(rows, seed)
    figures = draw(found, curves)
    for name, table in zip(TABLES, found, strict=False):
        with replacing(out / f"{name}.csv") as path:
            markup.quoted(table).to_csv(path, index=False)
    parts = {"family": found.by_family, "task": found.by_task}
    for suffix, text in (
        ("md", _markdown(found.board, parts, found.comparisons)),
        ("tex", markup.latex_table(found.board)),
    ):
        with replacing(out / f"leaderboard.{suffix}") as path:
            path.write_text(text, encoding="utf-8")
    files = [(name, suffix) for name in figures for suffix in ("png", "svg")]
    count = len(files) + (html is not None)
    with progress.bar(total=count, desc="report", unit="file", leave=False) as bar:
        for name, suffix in files:
            with replacing(out / f"{name}.{suffix}") as path:
                plots.save(figures[name], path, suffix)
            bar.update()
        if html is not None:
            from shiftbench.report import page

            bar.set_postfix_str("index.html")
            page.write(found, rows, figures, html, curves=curves, tasks=tasks)
            bar.update()
    return found.board


def draw(found: Report, curves: pd.DataFrame | None) -> dict[str, Figure]:
    """Return the plots by name; ``curves`` as in `build`."""
    from shiftbench.report import plots

    agents = list(dict.fromkeys([*found.board["agent"], *found.families["agent"]]))
    shown = {
        "score_by_level": plots.score_by_level(found.board),
        "families": plots.families(found.families, agents),
    }
    if curves is None:
        return shown
    from shiftbench.report import figures

    return shown | figures.draw(found, curves)


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
