"""The certificate as a picture: distance and legibility by level, a row a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from shiftbench.certify.verdicts import FACTOR, KEPT, MEASURES, Verdict, compared, window
from shiftbench.report.plots import COLOURS, MARKERS, WIDTH, _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches of a row.
HEIGHT = 2.0

#: What the scale of distances is marked with.
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)

#: What `combined` is drawn in: it is no further kind of shift beside the others.
APART = {"combined": "black"}

FAILED = "#c00000"


def draw(verdicts: Sequence[Verdict]) -> Figure:
    """Draw a row a task: a panel for each measure and, where there are readers, one for R².

    A line a family, on a logarithmic scale, where a factor of two is the same height everywhere.
    Grey bars show the factor of two at each level; a red ring marks a
    cell that fails by what the panel shows, or in every panel where no panel shows it.
    """
    tasks = list(dict.fromkeys(v.cell.task for v in verdicts))
    families = list(dict.fromkeys(v.cell.family for v in verdicts))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(families)} | APART
    panels = [*MEASURES, *(["r2"] if verdicts[0].cell.r2 is not None else [])]
    with _style("whitegrid"):
        figure = Figure(figsize=(WIDTH * 1.25, 1.0 + HEIGHT * len(tasks)), layout="constrained")
        grid = figure.subplots(len(tasks), len(panels), squeeze=False)
        for task, line in zip(tasks, grid, strict=True):
            own = [v for v in verdicts if v.cell.task == task]
            severities = {v.cell.level: v.cell.severity for v in own}
            levels = sorted(severities, key=severities.__getitem__)
            for axes, panel in zip(line, panels, strict=True):
                (_r2 if panel == "r2" else _distance)(axes, own, levels, panel)
                _lines(axes, own, levels, panel, colours)
                if axes in grid[0]:
                    axes.set_title(MEASURES.get(panel, "R² of the positions"), fontsize="medium")
                axes.set_xticks(
                    range(len(levels)), levels, rotation=30, ha="right", rotation_mode="anchor"
                )
                axes.set_xlim(-0.5, len(levels) - 0.5)
                axes.grid(axis="x", visible=False)
                axes.tick_params(labelsize="small")
            line[0].set_ylabel(task)
        keys = [
            Line2D(
                [], [], color=colours[f], marker=MARKERS[i % len(MARKERS)], markersize=4, label=f
            )
            for i, f in enumerate(families)
        ]
        keys.append(
            Line2D([], [], marker="o", markersize=9, markerfacecolor="none",
                   markeredgecolor=FAILED, markeredgewidth=1.5, linestyle="", label="fails")
        )  # fmt: skip
        figure.legend(handles=keys, loc="outside upper center", ncols=5, frameon=False)
    return figure


def _marker(family: int) -> str:
    return MARKERS[family % len(MARKERS)]


def _lines(
    axes: Axes, own: Sequence[Verdict], levels: list[str], panel: str, colours: dict
) -> None:
    families = list(dict.fromkeys(v.cell.family for v in own))
    for i, family in enumerate(families):
        mine = sorted((v for v in own if v.cell.family == family), key=lambda v: v.cell.severity)
        spots = [levels.index(v.cell.level) + 0.035 * (i - len(families) / 2) for v in mine]
        values = [getattr(v.cell, panel) for v in mine]
        axes.plot(spots, values, color=colours[family], marker=_marker(i),
                  markersize=4, linewidth=1.1,
                  linestyle="--" if family in APART else "-")  # fmt: skip
        for spot, value, verdict in zip(spots, values, mine, strict=True):
            if any(fault.measure in (panel, "") for fault in verdict.faults):
                axes.plot(spot, value, "o", markersize=9, markerfacecolor="none",
                          markeredgecolor=FAILED, markeredgewidth=1.5)  # fmt: skip


def _distance(axes: Axes, own: Sequence[Verdict], levels: list[str], measure: str) -> None:
    """Show the factor of two around what is compared, centred on the scale."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())
    for i, level in enumerate(levels):
        distances = [
            getattr(v.cell, measure)
            for v in own
            if v.cell.level == level and compared(v.cell.family, measure)
        ]
        low, high = window(distances) if distances else (0.0, 0.0)
        if low > 0:
            middle = (low * high) ** 0.5
            axes.fill_between(
                [i - 0.38, i + 0.38], middle / FACTOR**0.5, middle * FACTOR**0.5,
                color="0.85", zorder=0,
            )  # fmt: skip


def _r2(axes: Axes, own: Sequence[Verdict], levels: list[str], panel: str) -> None:
    """Show the R² from clean frames and the share of it that must be kept."""
    clean = own[0].cell.r2_clean
    axes.axhline(clean, color="0.35", linewidth=1, linestyle=":")
    axes.axhline(KEPT * clean, color=FAILED, linewidth=1, linestyle=":")
    worst = min(v.cell.r2 for v in own)
    axes.set_ylim(max(-1.0, min(0.45, worst - 0.05)), 1.05)
