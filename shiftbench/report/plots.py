"""Plots: seaborn, colour-blind safe, readable at the width of a column."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only; no window system is needed

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shiftbench.specs import CLEAN

WIDTH = 6.0  # inches
sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=1.15)


def score_by_level(board: pd.DataFrame) -> Figure:
    """Draw the score of every agent against the level, with 95 % intervals."""
    levels = list(board.drop_duplicates("level").sort_values("severity", kind="stable")["level"])
    agents = list(board["agent"].unique())
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    for index, agent in enumerate(agents):
        own = board[board["agent"] == agent]
        # A small offset keeps the intervals of agents with equal scores apart.
        offset = 0.06 * (index - (len(agents) - 1) / 2)
        x = np.array([levels.index(level) for level in own["level"]]) + offset
        axes.errorbar(
            x,
            own["score"],
            yerr=[own["score"] - own["low"], own["high"] - own["score"]],
            marker="osD^vPX*"[index % 8],
            markersize=6,
            capsize=3,
            linewidth=1.8,
            color=sns.color_palette("colorblind")[index % 10],
            label=agent,
        )
    axes.axhline(0.0, color="0.35", linewidth=1.0, linestyle="--")
    axes.annotate(
        "random policy", (1.0, 0.0), xycoords=("axes fraction", "data"), fontsize="small",
        color="0.35", ha="right", va="bottom", xytext=(-4, 2), textcoords="offset points",
    )  # fmt: skip
    axes.set_xticks(range(len(levels)), ["clean" if level == CLEAN else level for level in levels])
    axes.set_xlim(-0.35, len(levels) - 0.65)
    axes.set_ylabel("score (IQM, 95 % interval)")
    axes.set_xlabel("level of the shift")
    axes.margins(y=0.12)
    sns.despine(figure)
    _legend(axes, len(agents))
    return figure


def families(rows: pd.DataFrame) -> Figure:
    """Draw the mean score of every agent as a heat map: families × levels, one panel an agent."""
    table = rows.groupby(["agent", "family", "level"])["score"].mean().reset_index()
    order = rows.drop_duplicates("level").sort_values("severity", kind="stable")["level"]
    levels = [level for level in order if level != CLEAN] or [CLEAN]
    agents = list(rows["agent"].unique())
    names = [family for family in rows["family"].unique() if family != CLEAN] or [CLEAN]
    columns = min(len(agents), 3)
    lines = -(-len(agents) // columns)
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(WIDTH, lines * (1.1 + 0.36 * len(names))),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    limit = max(100.0, table["score"].max())
    for axes, agent in zip(grid.flat, agents, strict=False):
        own = table[table["agent"] == agent]
        values = own.pivot(index="family", columns="level", values="score")
        clean = own[own["level"] == CLEAN]["score"]
        sns.heatmap(
            values.reindex(index=names, columns=levels),
            ax=axes,
            vmin=0.0,
            vmax=limit,
            cmap="cividis",
            annot=True,
            fmt=".0f",
            cbar=False,
            linewidths=0.5,
        )
        axes.set_title(agent + (f" (clean {clean.mean():.0f})" if len(clean) else ""))
        axes.set(xlabel="", ylabel="")
        axes.tick_params(axis="x", rotation=30 if len(levels) * columns > 4 else 0)
        axes.tick_params(axis="y", rotation=0)
    for axes in list(grid.flat)[len(agents) :]:
        axes.set_visible(False)
    figure.suptitle("mean score by family and level", fontsize="medium")
    return figure


def save(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as ``png`` or ``svg``, the same bytes for the same rows."""
    metadata = {"Software": None} if kind == "png" else {"Date": None}
    with plt.rc_context({"svg.hashsalt": "shiftbench"}):
        figure.savefig(path, format=kind, dpi=200, metadata=metadata)


def close() -> None:
    """Free every figure."""
    plt.close("all")


def _legend(axes: plt.Axes, count: int) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(count, 3), frameon=False)
