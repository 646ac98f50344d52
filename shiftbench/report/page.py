"""The report as one HTML file: nothing is fetched, and every name is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from shiftbench import __version__, stats
from shiftbench.files import replacing
from shiftbench.report import gallery, markup, plots
from shiftbench.report.runs import APART, order
from shiftbench.report.tables import hardest
from shiftbench.specs import CLEAN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shiftbench.report import Report
    from shiftbench.specs import Task

#: Name of a plot → its title, and how it is read.
PLOTS = {
    "score_by_level": (
        "Score against level",
        "How fast an agent loses score as shifts grow. Bars are 95 % intervals.",
    ),
    "retention": (
        "What each family leaves",
        "Percent of the clean score of the same episodes. Compare within a row first: a weak agent "
        "has little to lose.",
    ),
    "clean_against_shifted": (
        "Clean against shifted",
        "A mark is one training seed on one task. Further right is better without shifts, higher "
        "is better under them; on the dotted line nothing is lost.",
    ),
    "profiles": (
        "Performance profiles",
        "The share of runs that score more than τ. A curve above and to the right of another is "
        "better throughout; bands, where agents are few, hold 95 % of bootstrap draws, which with "
        "few seeds is narrower than a 95 % interval.",
    ),
    "improvement": (
        "Who beats whom",
        "The chance that a random run of the agent on the left scores more than one of the agent "
        "below. Near 0.5 nothing can be told.",
    ),
    "families": ("Score by family and level", "The mean score over the tasks; clean at the left."),
    "curves": (
        "Training",
        "Lines are clean training episodes, five averaged; marks are evaluations in between. One "
        "line a seed.",
    ),
}  # fmt: skip

#: Column of the rows → what the page calls it.
PROVENANCE = {
    "train_steps": "environment steps of training", "suite": "suite",
    "suite_version": "its version", "image_size": "frames, px", "render": "render profile",
    "shiftbench": "shiftbench", "mujoco": "mujoco", "dm_control": "dm_control",
    "torch": "torch", "python": "Python", "gl": "OpenGL", "device": "device", "commit": "commit",
}  # fmt: skip
#: Checkpoints of an agent that are named one by one.
CHECKPOINTS = 30


class Cell(NamedTuple):
    """A number of the leaderboard: its text, its interval's, what it is sorted by, its bar."""

    text: str
    interval: str = ""
    sort: str = ""
    bar: float | None = None


class Line(NamedTuple):
    """An agent of the leaderboard, of one task and family or of all."""

    place: int
    agent: str
    rank: str
    scores: list[Cell]
    kept: list[Cell]
    overall: Cell
    runs: str


def write(
    found: Report,
    rows: pd.DataFrame,
    figures: dict[str, Figure],
    out: Path,
    *,
    curves: pd.DataFrame | None = None,
    tasks: dict[str, Task] | None = None,
) -> Path:
    """Write ``index.html`` to ``out`` and return its path.

    Args:
        found: the tables of ``rows``.
        rows: what `shiftbench.results.read_rows` returns.
        figures: plots by name; those in `PLOTS` are shown.
        out: folder, made if missing.
        curves: what `shiftbench.report.curves.read` returns.
        tasks: which the gallery can draw; the shipped ones by default.

    Raises:
        ShiftBenchError: the folder cannot be written.
    """
    import jinja2

    loader = jinja2.Environment(
        loader=jinja2.PackageLoader("shiftbench.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader.globals["inlined"] = _inlined
    loader.filters["zip"] = zip
    loader.filters["base64"] = _base64
    levels = order(found.board)
    agents = list(dict.fromkeys([*found.board["agent"], *found.families["agent"]]))
    tasks_, families = (_choices(found.families[column]) for column in ("task", "family"))
    text = loader.get_template("page.html.j2").render(
        version=__version__,
        title=_title(rows),
        facts=_facts(rows, levels),
        levels=[plots._shown(level) for level in levels],
        shifted=[place for place, level in enumerate(levels) if level != CLEAN],
        hardest=levels.index(hardest(found.board)),
        tasks=tasks_,
        families=families,
        scopes=list(_scopes(found, agents, levels, tasks_, families)),
        agents=[
            _agent(name, place, found.board, rows, curves) for place, name in enumerate(agents)
        ],
        figures=[
            (name, *PLOTS[name], plots.themed(figures[name])) for name in PLOTS if name in figures
        ],
        pairs=markup.verdicts(found.comparisons) if len(found.comparisons) else None,
        gallery=gallery.draw(rows, tasks),
        missing=found.missing,
        notes=[note for note in found.board.attrs["notes"] if not note.startswith("missing: ")],
        csv=markup.quoted(found.board).to_csv(index=False),
    )
    path = out / "index.html"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


# -- the leaderboard -----------------------------------------------------------------------------


def _choices(column: pd.Series) -> list[str]:
    """Return what a filter offers beside all: nothing where there is one."""
    names = sorted(set(column) - {CLEAN}, key=lambda name: (name == APART, name))
    return names if len(names) > 1 else []


def _scopes(
    found: Report, agents: list[str], levels: list[str], tasks: list[str], families: list[str]
) -> Iterator[tuple[str, str, list[Line]]]:
    """Give task, family and lines of each part of the leaderboard; "" is all of them."""
    parts = {("", ""): found.board}
    parts |= {(name, ""): own for name, own in found.by_task.groupby("task") if name in tasks}
    parts |= {
        ("", name): own for name, own in found.by_family.groupby("family") if name in families
    }
    for task, of_task in found.families.groupby("task"):
        for family in families if task in tasks else ():
            own = of_task[of_task["family"].isin([family, CLEAN])]
            if (own["family"] == family).any():
                parts[str(task), family] = own
    worst = hardest(found.board)
    for (task, family), own in parts.items():
        groups = dict(iter(own.groupby("agent", sort=False)))
        # The order of its own board where it has one, else that of the whole.
        names = [agent for agent in (agents if task and family else groups) if agent in groups]
        yield (
            task,
            family,
            [_line(agents.index(agent), agent, groups[agent], levels, worst) for agent in names],
        )


def _line(place: int, agent: str, own: pd.DataFrame, levels: list[str], worst: str) -> Line:
    first = own.iloc[0]
    by_level = {entry["level"]: entry for entry in own.to_dict("records")}
    rank = first.get("rank")
    runs = f"{first['tasks']} × {first['seeds']}" if "tasks" in own else f"1 × {first['seeds']}"
    return Line(
        place,
        agent,
        "–" if rank is None or pd.isna(rank) else str(rank),
        [_score(by_level.get(level)) for level in levels],
        [_kept(by_level.get(level)) for level in levels if level != CLEAN],
        _ranged(first, "overall", "overall_low", "overall_high"),
        runs,
    )


def _score(entry: dict | None) -> Cell:
    return Cell("missing") if entry is None else _ranged(entry, "score", "low", "high")


def _kept(entry: dict | None) -> Cell:
    if entry is None:
        return Cell("missing")
    if "retention" not in entry:
        entry = {**entry, "retention": stats.retention(entry["score"], entry["clean_score"])}
    return _ranged(entry, "retention", "retention_low", "retention_high", 100.0, "\u202f%")


def _ranged(entry, value: str, low: str, high: str, scale: float = 1.0, unit: str = "") -> Cell:
    if value not in entry or np.isnan(entry[value]):
        return Cell("–")
    number, digits = scale * entry[value], 0 if unit else 1
    interval = ""
    if low in entry and not np.isnan(entry[low]):
        interval = f"{scale * entry[low]:z.{digits}f} to {scale * entry[high]:z.{digits}f}{unit}"
    bar = float(np.clip(number, 0.0, 100.0))
    text = f"{number:z.{digits}f}{unit}"
    # A minus, not a hyphen, which may break the line; sorted by what JavaScript reads.
    return Cell(text.replace("-", "−"), interval.replace("-", "−"), f"{number:.6g}", bar)


# -- the rest ------------------------------------------------------------------------------------


def _title(rows: pd.DataFrame) -> str:
    suites = rows[["suite", "suite_version"]].drop_duplicates()
    names = [f"{s}-v{v}" if not pd.isna(v) else s for s, v in suites.itertuples(index=False) if s]
    return names[0] if names else "rows without a suite"


def _facts(rows: pd.DataFrame, levels: list[str]) -> list[tuple[str, str]]:
    counts = {
        name: rows[column].nunique()
        for name, column in (("agent", "agent"), ("task", "task"), ("training seed", "train_seed"))
    }
    families = rows["family"].nunique() - int((rows["family"] == CLEAN).any())
    counts |= {"family of shifts": families, "level": len(levels), "episode": len(rows)}
    plural = {"family of shifts": "families of shifts"}
    return [
        (f"{count:,}", name if count == 1 else plural.get(name, f"{name}s"))
        for name, count in counts.items()
    ]


def _agent(
    name: str, place: int, board: pd.DataFrame, rows: pd.DataFrame, curves: pd.DataFrame | None
) -> dict:
    """Return what the page says of an agent when its row is opened."""
    own = rows[rows["agent"] == name]
    lines = board[board["agent"] == name].to_dict("records")
    curve = curves[curves["agent"] == name] if curves is not None else pd.DataFrame()
    figure, alt = None, ""
    if len(curve):
        from shiftbench.report import figures

        # The place on the leaderboard gives the colour, as in all other plots.
        figure = figures.training(curve, list(dict.fromkeys([*board["agent"], name])))
        alt = "; ".join(
            f"{task}, seed {seed}: return {of['train_return'].iloc[0]:.0f} at "
            f"{of['env_steps'].iloc[0]:,} and {of['train_return'].iloc[-1]:.0f} at "
            f"{of['env_steps'].iloc[-1]:,} environment steps"
            for (task, seed), of in curve.groupby(["task", "train_seed"])
        )
    hashes = own[own["checkpoint"] != ""][["task", "train_seed", "checkpoint"]].drop_duplicates()
    return {
        "name": name,
        "place": place,
        "lines": [(plots._shown(line["level"]), _score(line), _kept(line)) for line in lines],
        "curve": figure and plots.themed(figure),
        "alt": alt,
        "seeds": ", ".join(map(str, sorted(own["train_seed"].unique()))),
        "tasks": ", ".join(sorted(own["task"].unique())),
        "episodes": f"{len(own):,}",
        "provenance": [(label, _values(own[column])) for column, label in PROVENANCE.items()],
        "checkpoints": [
            f"{task}, seed {seed}: {digest[:12]}"
            for task, seed, digest in hashes.head(CHECKPOINTS).itertuples(index=False)
        ],
        "more": max(0, len(hashes) - CHECKPOINTS),
    }


def _values(column: pd.Series) -> str:
    found = sorted(str(value) for value in column.dropna().unique() if str(value))
    return ", ".join(found) or "not stated"


def _base64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def _inlined(name: str):
    """Return a file of ours as it is, for a place in the page where it is code."""
    from markupsafe import Markup

    return Markup((Path(__file__).parent / name).read_text(encoding="utf-8"))
