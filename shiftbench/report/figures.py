"""The plots of a whole report, beside the two of `shiftbench.report.plots` that every run draws.

Each is left out where there is nothing to show: one agent has nobody to be compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shiftbench import bootstrap, stats
from shiftbench.report.plots import WIDTH, _key, _look, _shown, _style, _wrapped
from shiftbench.report.runs import APART, Runs, group_of
from shiftbench.report.tables import hardest
from shiftbench.specs import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from shiftbench.report import Report

#: Scores at which a performance profile is drawn, and draws of its band.
PROFILE, DRAWS = 101, 500
#: Episodes of a training that are averaged in its curve.
SMOOTH = 5
#: From so many agents on, bands would cover each other.
BANDS = 5


def draw(found: Report, curves: pd.DataFrame) -> dict[str, Figure]:
    """Return the plots that there is something for, by name.

    Args:
        found: all tables.
        curves: `shiftbench.report.curves.read`.
    """
    agents = list(found.board["agent"].unique())
    level, runs = hardest(found.board), found.runs
    shown = {
        "retention": lambda: retention(found.by_family, agents, level),
        "profiles": lambda: profiles(runs, agents, list(dict.fromkeys([CLEAN, level]))),
        "improvement": lambda: improvement(found.comparisons, agents, level),
        "clean_against_shifted": lambda: scatter(runs, agents, level),
        "curves": lambda: training(curves, agents),
    }
    return {name: figure for name, make in shown.items() if (figure := make()) is not None}


def retention(families: pd.DataFrame, agents: Sequence[str], level: str) -> Figure | None:
    """Draw how much of its clean score every agent keeps under each family, in percent.

    Args:
        families: `shiftbench.report.tables.breakdown` by family.
        agents: from top to bottom.
        level: of the shifts.
    """
    own = families[(families["level"] == level) & (level != CLEAN)]
    if own["retention"].isna().all():
        return None
    names = sorted(set(own["family"]), key=lambda name: (name == APART, name))
    table = own.pivot(index="agent", columns="family", values="retention")
    return _matrix(
        100.0 * table.reindex(index=agents, columns=names).to_numpy(float),
        agents,
        names,
        (0.0, 100.0),
        "cividis",
        f"retention at {level}: % of clean score (–: none, or under 10)",
        "{:z.0f}",
    )


def improvement(comparisons: pd.DataFrame, agents: Sequence[str], level: str) -> Figure | None:
    """Draw the chance that a run of the agent on the left beats one of the agent below.

    Args:
        comparisons: `shiftbench.report.pairs.compare`.
        agents: in the order of the leaderboard.
        level: at which they are compared.
    """
    own = comparisons[comparisons["level"] == level]
    if own.empty:
        return None
    met = {*own["agent"], *own["other"]}
    agents = [agent for agent in agents if agent in met]
    place = {agent: index for index, agent in enumerate(agents)}
    values = np.full((len(agents), len(agents)), np.nan)
    for pair in own.itertuples():
        one, other = place[pair.agent], place[pair.other]
        values[one, other], values[other, one] = pair.improvement, 1.0 - pair.improvement
    return _matrix(
        values,
        agents,
        agents,
        (0.0, 1.0),
        "RdBu",
        f"chance that the row's agent beats the column's, {_shown(level)}",
        "{:.2f}",
    )


def profiles(
    runs: dict[str, dict[str, Runs]], agents: Sequence[str], levels: Sequence[str]
) -> Figure | None:
    """Draw performance profiles: the share of runs above a score, one panel a level.

    Bands, of few agents, are pointwise 95 % percentile intervals over seeds and episodes.
    """
    groups = {
        (agent, level): group_of(runs[agent][level])
        for agent in agents
        for level in levels
        if runs.get(agent, {}).get(level)
    }
    levels = [level for level in levels if any(key[1] == level for key in groups)]
    every = np.concatenate([stats.run_scores(group) for group in groups.values()])
    margin = 0.05 * max(float(np.ptp(every)), 1.0)
    scores = np.linspace(every.min() - margin, every.max() + margin, PROFILE)
    with _style("whitegrid"):
        figure, panels = _panels(agents, len(levels), 2.6)
        for axes, level in zip(panels, levels, strict=True):
            for index, agent in enumerate(agents):
                if (agent, level) not in groups:
                    continue
                group, look = groups[agent, level], _look(index)
                share = stats.profile([task.mean(axis=1) for task in group], scores)
                axes.step(scores, share, where="mid", linewidth=1.6, color=look["color"],
                          linestyle=look["linestyle"])  # fmt: skip
                if len(agents) <= BANDS:
                    drawn = stats.profile(bootstrap.draw(group, DRAWS), scores)
                    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
                    axes.fill_between(scores, low, high, step="mid", alpha=0.15, linewidth=0,
                                      color=look["color"])  # fmt: skip
            axes.set_title(_shown(level), fontsize="medium")
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel("score τ")
        panels[0].set_ylabel("share of runs above τ")
    return figure


def scatter(runs: dict[str, dict[str, Runs]], agents: Sequence[str], level: str) -> Figure | None:
    """Draw each run's score at ``level`` against its clean score; on the line nothing is lost."""
    points = {
        agent: np.array(
            [
                (beside.scores.mean(), run.scores.mean())
                for key, run in runs.get(agent, {}).get(level, {}).items()
                if key in clean and (beside := clean[key].of(run.episodes))
            ]
        ).reshape(-1, 2)
        for agent in agents
        if (clean := runs.get(agent, {}).get(CLEAN, {}))
    }
    points = {agent: own for agent, own in points.items() if np.isfinite(own).any()}
    if level == CLEAN or not points:
        return None
    every = np.concatenate(list(points.values()))
    with _style("whitegrid"):
        figure, (axes,) = _panels(agents, 1, 3.6, shown=list(points), lines=False)
        for index, agent in enumerate(agents):
            if agent in points:
                look = _look(index)
                axes.scatter(*points[agent].T, s=34, alpha=0.75, linewidth=0.5, edgecolor="white",
                             color=look["color"], marker=look["marker"], zorder=3)  # fmt: skip
        margin = 0.06 * max(float(np.nanmax(every) - np.nanmin(every)), 10.0)
        ends = (np.nanmin(every) - margin, np.nanmax(every) + margin)
        axes.plot(ends, ends, color="0.35", linewidth=1.0, linestyle=":", zorder=1)
        axes.annotate("nothing lost", (ends[1], ends[1]), xytext=(-6, -2), fontsize="small",
                      textcoords="offset points", color="0.35", ha="right", va="top")  # fmt: skip
        axes.set(xlim=ends, ylim=ends, xlabel="clean score of a run", ylabel=f"score at {level}")
    return figure


def training(curves: pd.DataFrame, agents: Sequence[str]) -> Figure | None:
    """Draw training curves: one panel a task, one line a seed, clean evaluations as marks.

    Args:
        curves: `shiftbench.report.curves.read`.
        agents: in the order of the leaderboard; those without a curve are not in the key.
    """
    curves = curves[curves["agent"].isin(agents)]
    if curves.empty:
        return None
    tasks = sorted(curves["task"].unique())
    drawn = [agent for agent in agents if agent in set(curves["agent"])]
    with _style("whitegrid"):
        figure, panels = _panels(agents, len(tasks), 2.6, shown=drawn, sharey=False)
        for axes, task in zip(panels, tasks, strict=True):
            here = curves[curves["task"] == task]
            for (agent, _), own in here.groupby(["agent", "train_seed"], sort=False):
                look = _look(agents.index(agent))
                steps = own["env_steps"] / 1000.0
                smooth = own["train_return"].rolling(SMOOTH, min_periods=1).mean()
                axes.plot(steps, smooth, color=look["color"], linestyle=look["linestyle"],
                          linewidth=1.4)  # fmt: skip
                axes.plot(steps, own["eval_return"], color=look["color"], marker=look["marker"],
                          linestyle="none", markersize=6, markeredgecolor="white")  # fmt: skip
            axes.set_title(_wrapped(task, 28), fontsize="medium")
            axes.set_xlabel("thousand environment steps")
        panels[0].set_ylabel("return")
    return figure


def _panels(
    agents: Sequence[str],
    count: int,
    height: float,
    *,
    shown: Sequence[str] | None = None,
    lines: bool = True,
    sharey: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``count`` panels, at most three side by side, and a key above them.

    Args:
        agents: all, whose places give the looks.
        count: of the panels.
        height: of a line of panels, in inches.
        shown: agents in the key, all by default.
        lines: whether the key shows the agents' lines beside their markers.
        sharey: whether all panels have one axis of scores.
    """
    shown = agents if shown is None else shown
    labels, key_columns, key_lines = _key(shown)
    columns = min(count, 3 if sharey else 2)
    rows = -(-count // columns)
    size = (WIDTH, height * rows + 0.2 * key_lines)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    from matplotlib.lines import Line2D

    looks = [_look(list(agents).index(agent)) for agent in shown]
    looks = looks if lines else [{**look, "linestyle": "none"} for look in looks]
    handles = [
        Line2D([], [], label=label, **look) for label, look in zip(labels, looks, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=key_columns, frameon=False)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for axes in grid.flat[:count]:
        sns.despine(ax=axes)
    return figure, list(grid.flat[:count])


def _matrix(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    ends: tuple[float, float],
    colours: str,
    title: str,
    form: str,
) -> Figure:
    """Draw a heat map with its numbers; NaN is a dash."""
    lefts, belows = [_wrapped(name, 24) for name in rows], [_wrapped(name, 24) for name in columns]
    tall = 0.17 * max(2, *(label.count("\n") + 1 for label in lefts)) * len(rows)
    longest = max(len(line) for label in belows for line in label.split("\n"))
    with _style("white"):
        size = (WIDTH, 0.6 + tall + 0.085 * longest)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        shades = sns.heatmap(
            values, ax=axes, vmin=ends[0], vmax=ends[1], cmap=colours, cbar=False, linewidths=0.5,
            xticklabels=belows, yticklabels=lefts,
        ).collections[0]  # fmt: skip
        for (line, column), value in np.ndenumerate(values):
            red, green, blue, _ = shades.to_rgba(value)
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
            text, colour = form.format(value), "white" if dark else "black"
            if np.isnan(value):
                text, colour = "–", "0.15"
            axes.text(column + 0.5, line + 0.5, text, color=colour, fontsize="small", ha="center",
                      va="center")  # fmt: skip
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="y", rotation=0)
        axes.set_title(title, fontsize="medium", x=0.0, ha="left")
    return figure
