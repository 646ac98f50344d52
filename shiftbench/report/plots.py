"""Plots: colour-blind safe, readable at six inches, the same bytes for the same rows.

Figures are made without pyplot: nothing here changes the settings or the windows of a program that
imports it.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
from matplotlib import rc_context
from matplotlib.figure import Figure

from shiftbench.report.runs import APART, order
from shiftbench.specs import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

WIDTH = 6.0  # inches
DPI = 200
#: Of seaborn's colour-blind palette, without the yellow that is faint on white.
COLOURS = [sns.color_palette("colorblind")[index] for index in (0, 1, 2, 3, 4, 5, 9, 7)]
MARKERS = "osD^vPX*"
#: Greys of letters and lines, and what a page in dark colours has in their place.
INKS = (("#262626", "#e6e9ed"), ("#595959", "#9aa5b1"), ("#cccccc", "#3d4651"))
#: Panels side by side in the plot of the families.
PANELS = 3
#: From this score on the plot shows the reference as well.
NEAR_REFERENCE = 80.0


@contextmanager
def _style(name: str) -> Iterator[None]:
    """Hold our settings while a figure is made or saved."""
    settings = {
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
        "svg.fonttype": "none",  # letters stay letters
        "svg.hashsalt": "shiftbench",
        "text.parse_math": False,  # a name may hold a dollar
    }
    with ExitStack() as stack:
        stack.enter_context(sns.axes_style(name))
        stack.enter_context(sns.plotting_context("paper", font_scale=1.1))
        stack.enter_context(rc_context(settings))
        stack.enter_context(warnings.catch_warnings())
        # Letters that the font lacks: those of an SVG are drawn by who shows it.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def score_by_level(board: pd.DataFrame) -> Figure:
    """Draw the score of every agent against the level, with 95 % intervals.

    Args:
        board: `shiftbench.report.tables.leaderboard`, at least one line.
    """
    levels = order(board)
    agents = list(board["agent"].unique())
    labels, columns, key_lines = _key(agents)
    with _style("whitegrid"):
        figure = Figure(figsize=(WIDTH, 3.2 + 0.2 * key_lines), layout="constrained")
        axes = figure.subplots()
        spread = min(0.06, 0.4 / len(agents))
        handles = []
        for index, agent in enumerate(agents):
            own = board[board["agent"] == agent]
            # A small offset keeps the intervals of agents with equal scores apart.
            offset = spread * (index - (len(agents) - 1) / 2)
            drawn = axes.errorbar(
                np.array([levels.index(level) for level in own["level"]]) + offset,
                own["score"],
                yerr=[own["score"] - own["low"], own["high"] - own["score"]],
                markersize=5.5,
                capsize=3,
                linewidth=1.6,
                **_look(index),
            )
            handles.append(drawn)
        axes.margins(y=0.08)
        _anchor(axes, 0.0, "random")
        if board["high"].max() > NEAR_REFERENCE:
            _anchor(axes, 100.0, "reference")
        axes.set_xticks(range(len(levels)), [_shown(level) for level in levels])
        axes.set_xlim(-0.4, len(levels) - 0.6)
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("score (IQM, 95 % interval)")
        axes.set_xlabel("level of the shift")
        sns.despine(ax=axes)
        # Outside, so that it never covers a line.
        # With handles, since labels that begin with "_" are left out otherwise.
        figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
    return figure


def families(table: pd.DataFrame, agents: Sequence[str]) -> Figure:
    """Draw the mean score over tasks as heat maps: one panel a family, agents × levels.

    Args:
        table: `shiftbench.report.tables.by_family`.
        agents: from top to bottom.
    """
    levels = order(table)
    names = sorted(set(table["family"]) - {CLEAN}, key=lambda name: (name == APART, name)) or [
        CLEAN
    ]
    scores = table.groupby(["family", "agent", "level"])["score"].mean()
    columns = min(len(names), PANELS)
    lines = -(-len(names) // columns)
    labels = [_wrapped(agent, 24) for agent in agents]
    narrow = len(levels) * columns > 6  # the names of the levels stand upright
    height = 0.16 * max(2, *(label.count("\n") + 1 for label in labels)) * len(agents)
    with _style("white"):
        # Upright names take the height of their letters, also above where the last line is short.
        letters = max(len(_shown(level)) for level in levels)
        upright = 1.15 + max(0, letters - 8) * 0.08 * (1 if len(names) % columns == 0 else 2)
        below = upright if narrow else 0.7
        size = (WIDTH, below + lines * (0.3 + height))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for index, (axes, name) in enumerate(zip(grid.flat, names, strict=False)):
            # The clean scores start every panel: what is lost is read from left to right.
            values = np.array(
                [
                    [
                        scores.get((CLEAN if level == CLEAN else name, agent, level), np.nan)
                        for level in levels
                    ]
                    for agent in agents
                ]
            )
            shades = sns.heatmap(
                values,
                ax=axes,
                vmin=0.0,
                vmax=max(100.0, scores.max()),
                cmap="cividis",
                cbar=False,
                linewidths=0.5,
                xticklabels=[_shown(level) for level in levels],
                yticklabels=labels,
            ).collections[0]
            for (line, column), value in np.ndenumerate(values):
                dark = shades.norm(value) < 0.45  # where cividis is as far from black as from white
                axes.text(
                    column + 0.5,
                    line + 0.5,
                    "–" if np.isnan(value) else f"{value:z.0f}",
                    color="0.15" if np.isnan(value) else "white" if dark else "black",
                    fontsize="small",
                    ha="center",
                    va="center",
                )
            axes.set_title(_shown(name), fontsize="medium")
            lowest = index + columns >= len(names)
            axes.tick_params(axis="x", rotation=90 if narrow else 0, labelbottom=lowest)
            axes.tick_params(axis="y", rotation=0)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        figure.suptitle("mean score over tasks (0 random, 100 reference)", fontsize="medium")
    return figure


def save(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as ``png`` or ``svg``, without a date."""
    metadata = {"Software": None} if kind == "png" else {"Date": None}
    _write(figure, path, format=kind, dpi=DPI, metadata=metadata)


def themed(figure: Figure) -> str:
    """Return a figure as SVG for a page: no background, and letters and lines follow its theme.

    The reader's preference for light or dark counts, also where the SVG is the source of an image.
    """
    buffer = io.StringIO()
    _write(figure, buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    light, dark = (
        ";".join(f"--c{place}:{pair[theme]}" for place, pair in enumerate(INKS)) for theme in (0, 1)
    )
    for place, (ink, _) in enumerate(INKS):
        svg = svg.replace(ink, f"var(--c{place})")
    rules = f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}"
    head, mark, rest = svg.partition("<defs>")
    return f"{head}<style>{rules}</style>{mark}{rest}"


def _write(figure: Figure, file: Path | io.StringIO, **options: Any) -> None:
    with _style("white"):
        figure.savefig(file, **options)
    # Its axes have their places now: finding them takes longer than drawing, and would be repeated
    # for each file.
    figure.set_layout_engine("none")


def _key(agents: Sequence[str]) -> tuple[list[str], int, float]:
    """Return the labels of a key above a plot, in how many columns they fit, and its lines."""
    labels = [_wrapped(agent, 66) for agent in agents]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    columns = max(1, min(len(agents), 72 // (longest + 7)))
    return labels, columns, sum(label.count("\n") + 1 for label in labels) / columns


def _look(index: int) -> dict[str, Any]:
    """Return colour, marker and line of the agent of that place on the leaderboard."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": "-" if index < len(COLOURS) else "--",
    }


def _anchor(axes, score: float, name: str) -> None:
    """Draw one end of the score scale, named outside the axes, where no data can lie."""
    axes.axhline(score, color="0.35", linewidth=1.0, linestyle=":", zorder=1)
    axes.annotate(
        name, (1.0, score), xycoords=("axes fraction", "data"), fontsize="small", color="0.35",
        ha="left", va="center", xytext=(3, 0), textcoords="offset points", annotation_clip=False,
    )  # fmt: skip


def _shown(level: str) -> str:
    return "clean" if level == CLEAN else level


def _wrapped(name: str, width: int) -> str:
    """Return an agent's id in lines of at most ``width`` ≥ 20 letters, broken at punctuation."""
    lines = [""]
    for part in re.findall(r"\+?[^+:=_/]{1,18}[:=_/]?|.", name):
        if len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
