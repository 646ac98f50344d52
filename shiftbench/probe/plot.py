"""The probes as a picture: against the agents' scores, else before against after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from shiftbench.probe.tables import PROBES
from shiftbench.report.plots import COLOURS, MARKERS, WIDTH, _style, _wrapped
from shiftbench.specs import CLEAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: An R² below this is drawn here.
FLOOR = -1.0


def draw(rows: Sequence[dict[str, Any]], scores: pd.DataFrame | None = None) -> Figure:
    """Draw a panel a probe, a colour an agent, a point a cell; the larger, the more severe.

    Hollow points stand where guessing would, on clean frames.

    Args:
        rows: of `shiftbench.probe.run.probe`.
        scores: of `shiftbench.probe.tables.read_scores`: the number after training is drawn against
            the score of the same cell, and what has no shift against the mean over the run's
            shifts. Without, the number before training is drawn against that after.
    """
    table = pd.DataFrame(list(rows))
    if scores is not None:
        table = _scored(table, scores)
    agents = list(dict.fromkeys(row["agent"] for row in rows))
    labels = [_wrapped(agent, 24) for agent in agents]
    lines = sum(label.count("\n") + 1 for label in labels) / 3
    with _style("whitegrid"):
        figure = Figure(figsize=(WIDTH, 5.6 + 0.2 * lines), layout="constrained")
        for axes, probe in zip(figure.subplots(2, 2).flat, PROBES, strict=True):
            own = table[table["probe"] == probe]
            if probe == "invariance":
                own = own[own["family"] != CLEAN]  # where it is 0 by definition
            if probe == "decodability":
                for axis in (axes.xaxis, axes.yaxis) if scores is None else (axes.xaxis,):
                    axis.set_major_formatter(_at_most)
                own = own.assign(**{name: own[name].clip(FLOOR) for name in ("before", "after")})
            columns = ("before", "after") if scores is None else ("after", "score")
            own = own.dropna(subset=list(columns))
            for index, agent in enumerate(agents):
                _points(axes, own[own["agent"] == agent], columns, index)
            if scores is None and len(own):
                low, high = own[list(columns)].min().min(), own[list(columns)].max().max()
                axes.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=0)
            axes.set_title(f"{probe}: {PROBES[probe]}", fontsize="small")
            axes.set_xlabel("before training" if scores is None else "after training")
            score = "mean score under the shifts" if probe == "forgetting" else "score"
            axes.set_ylabel("after training" if scores is None else score)
            axes.tick_params(labelsize="small")
            if own.empty:
                axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color="0.35")
        keys = [
            Line2D([], [], linestyle="", marker=_marker(i), color=_colour(i), label=label)
            for i, label in enumerate(labels)
        ]
        keys.append(
            Line2D([], [], linestyle="", marker="o", markerfacecolor="none",
                   markeredgecolor="0.35", label="guessing")
        )  # fmt: skip
        figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _scored(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Give each row the score that it is drawn against, NaN where there is none."""
    run = ["agent", "task", "train_seed"]
    table = table.merge(scores, how="left", on=[*run, "family", "level"])
    shifted = table[(table["family"] != CLEAN) & (table["probe"] == "invariance")]
    means = shifted.groupby(run, as_index=False)["score"].mean()
    single = table["probe"] == "forgetting"
    table.loc[single, "score"] = table[single][run].merge(means, how="left", on=run)["score"].values
    return table


def _points(axes: Axes, own: pd.DataFrame, columns: tuple[str, str], index: int) -> None:
    size = 14 + 30 * own["severity"]
    options = {"marker": _marker(index), "linewidths": 1, "edgecolors": [_colour(index)]}
    axes.scatter(own[columns[0]], own[columns[1]], size, color=[_colour(index)], alpha=0.7,
                 marker=_marker(index), linewidths=0)  # fmt: skip
    guessed = own[own["chance"].notna() & (own["family"] == CLEAN)]
    across = guessed["chance"]
    up = across if columns[0] == "before" else guessed["score"]
    axes.scatter(across, up, 18, facecolors="none", **options)


def _at_most(value: float, position: int | None = None) -> str:
    """Return the text of a tick: what stands at `FLOOR` may lie below."""
    return f"≤ {value:.1f}" if value == FLOOR else f"{value:.1f}"


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def _colour(index: int) -> tuple[float, float, float]:
    return COLOURS[index % len(COLOURS)]
