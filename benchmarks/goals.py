"""What frames may cost, and the tables that say what they do cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from pages import markdown
from peers import BACKGROUNDS, RESETS

#: How many times faster than dm_control a clean frame must be, as a geometric mean over tasks.
MIN_SPEEDUP = 10.0

#: Family → most that a frame under it may cost, in clean frames, as a geometric mean over tasks.
#: Families that edit the scene, those that work on every pixel, and a worse camera or everything.
MAX_FRAME = {
    **dict.fromkeys(("lighting", "texture", "color", "camera", "distractor"), 1.25),
    **dict.fromkeys(("background", "weather"), 1.6),
    **dict.fromkeys(("sensor", "combined"), 2.5),
}

#: For a family that is none of ours.
MAX_FRAME_ELSE = 2.5

#: Column of what is measured without a shift.
_CLEAN = "clean"

#: Most milliseconds that a new look may add to a reset, as a mean over tasks.
MAX_CHANGE = 5.0


class Goal(NamedTuple):
    """One number that is judged.

    Attributes:
        name: what was measured.
        size: of the frames in pixels.
        level: of the shift; empty for the clean frame.
        limit, value: in the same unit.
        met: whether the value is on the right side of the limit.
        missing: the tasks that are on the wrong side alone, each with its value.
    """

    name: str
    size: int
    level: str
    limit: float
    value: float
    met: bool
    missing: dict[str, float]


def mean(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.mean(np.log(list(values)))))


def judge(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Return every goal that the rows of `render.measure`, one a task and size, speak to."""
    goals = []
    for size in _sizes(rows):
        of_size = [row for row in rows if row["size"] == size]
        speedups = {row["task"]: row["speedup"] for row in of_size}
        name = "clean frame, times faster"
        goals.append(_goal(name, size, "", MIN_SPEEDUP, speedups, larger=True))
        for shift in of_size[0]["ratios"]:
            family, _, level = shift.partition(":")
            limit = MAX_FRAME.get(family, MAX_FRAME_ELSE)
            ratios, changes = (
                {row["task"]: row[kind][shift] for row in of_size}
                for kind in ("ratios", "change_ms")
            )
            goals.append(_goal(f"{family}, clean frames", size, level, limit, ratios))
            goals.append(_goal(f"{family}, ms a reset", size, level, MAX_CHANGE, changes, np.mean))
    return goals


def _goal(
    name: str,
    size: int,
    level: str,
    limit: float,
    values: dict[str, float],
    average: Callable[[list[float]], float] = mean,
    larger: bool = False,
) -> Goal:
    """Judge the values of all tasks, their average and each; ``larger`` where more is better."""
    sign = -1 if larger else 1
    value = float(average(list(values.values())))
    missing = {task: v for task, v in values.items() if sign * v > sign * limit}
    return Goal(name, size, level, limit, value, sign * value <= sign * limit, missing)


def report(rows: Sequence[dict[str, Any]], goals: Sequence[Goal]) -> str:
    """Return the Markdown of everything measured, a part a size, then the goals."""
    parts = []
    for size in _sizes(rows):
        of_size = [row for row in rows if row["size"] == size]
        parts += [f"### {size} × {size} px", _clean(of_size)]
        shifts = list(of_size[0]["ratios"])
        for level in dict.fromkeys(shift.partition(":")[2] for shift in shifts):
            parts.append(
                f"Milliseconds a frame at `{level}` (clean frames that this is worth); the last "
                "row is the geometric mean."
            )
            parts.append(_shifted(of_size, [s for s in shifts if s.endswith(f":{level}")]))
        parts.append(
            "Milliseconds that a new look adds to a reset, up to the first frame, textures "
            "uploaded; the last row is the mean."
        )
        parts += [_changes(of_size, shifts), *_peers(of_size)]
    return "\n\n".join([*parts, "### Goals", _judged(goals)])


def _clean(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        theirs, ours = f"{row['ms']['dm_control']:.1f}", f"{row['ms']['clean']:.2f}"
        lines.append((row["task"], theirs, ours, f"{row['speedup']:.1f}×"))
    lines.append(("geometric mean", "", "", f"{mean(row['speedup'] for row in rows):.1f}×"))
    return markdown(("task", "dm_control, ms", "clean, ms", "faster"), lines)


def _shifted(rows: Sequence[dict[str, Any]], shifts: Sequence[str]) -> str:
    lines = [
        [row["task"], *(f"{row['ms'][s]:.2f} ({row['ratios'][s]:.2f}×)" for s in shifts)]
        for row in rows
    ]
    means = (mean(row["ratios"][shift] for row in rows) for shift in shifts)
    lines.append(["geometric mean", *(f"{value:.2f}×" for value in means)])
    return markdown(["task", *(shift.partition(":")[0] for shift in shifts)], lines)


def _changes(rows: Sequence[dict[str, Any]], shifts: Sequence[str]) -> str:
    """Families down and levels across: the mean over tasks and the dearest task."""
    levels = list(dict.fromkeys(shift.partition(":")[2] for shift in shifts))
    lines = []
    for family in dict.fromkeys(shift.partition(":")[0] for shift in shifts):
        line = [family]
        for level in levels:
            values = {row["task"]: row["change_ms"][f"{family}:{level}"] for row in rows}
            worst = max(values, key=values.__getitem__)
            line += [f"{np.mean(list(values.values())):.2f}", f"{values[worst]:.2f} ({worst})"]
        lines.append(line)
    head = [part for level in levels for part in (level, f"{level}, dearest task")]
    return markdown(["family", *head], lines)


def _peers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of the other suites' ways and its explanation; nothing without them."""
    if not all(row["peers"] for row in rows):
        return []
    frame, reset = rows[0]["peers"]["frame"], rows[0]["peers"]["reset"]
    lines = []
    for row in rows:
        peers = row["peers"]
        line = [row["task"], f"{row['ms'][frame]:.2f}"]
        line += [_beside(peers["ms"][name], row["ms"][frame]) for name in BACKGROUNDS]
        line.append(f"{row['reset_ms'][reset]:.1f}")
        line += [_beside(peers["ms"][name], row["reset_ms"][reset]) for name in RESETS]
        lines.append(line)
    means = [mean(row["peers"]["ms"][n] / row["ms"][frame] for row in rows) for n in BACKGROUNDS]
    again = [mean(row["peers"]["ms"][n] / row["reset_ms"][reset] for row in rows) for n in RESETS]
    cells = [[f"{value:.0f}×" for value in values] for values in (means, again)]
    lines.append(["geometric mean", "", *cells[0], "", *cells[1]])
    head = ["task", f"`{frame}`", *BACKGROUNDS, f"reset `{reset}`", *RESETS]
    ways = "; ".join(f"*{name}*: {what}" for name, what in {**BACKGROUNDS, **RESETS}.items())
    text = (
        f"Other suites' ways, drawn by dm_control: milliseconds (times ours), against a frame of "
        f"`{frame}` and against a reset with `{reset}` up to its first frame. {ways}."
    )
    alone = ", ".join(
        f"{name} {np.median([row['peers']['edit_ms'][name] for row in rows]):.2f}"
        for name in BACKGROUNDS
    )
    ours = np.median([row["ms"][frame] - row["ms"]["clean"] for row in rows])
    apart = (
        f"Milliseconds of these ways without the drawing, median over tasks: {alone}. A frame of "
        f"`{frame}` less a clean one: {ours:.2f}."
    )
    return [text, markdown(head, lines), apart]


def _beside(theirs: float, ours: float) -> str:
    return f"{theirs:.1f} ({theirs / ours:.0f}×)"


def _judged(goals: Sequence[Goal]) -> str:
    """Names down, sizes and levels across; below it who misses a goal alone."""
    found = {(goal.name, goal.size, goal.level or _CLEAN): goal for goal in goals}
    columns = list(dict.fromkeys((goal.size, goal.level or _CLEAN) for goal in goals))
    lines = []
    for name in sorted({goal.name: None for goal in goals}, key=lambda n: n.endswith("reset")):
        cells = [found.get((name, *column)) for column in columns]
        limit = next(goal.limit for goal in goals if goal.name == name)
        lines.append([name, f"{limit:g}", *(_cell(goal) for goal in cells)])
    head = ["goal (missed where bold)", "limit", *(f"{px} px {level}" for px, level in columns)]
    apart = [
        f"- {goal.name}, {goal.size} px {goal.level}: "
        + ", ".join(f"{task} {value:.2f}" for task, value in goal.missing.items())
        for goal in goals
        if goal.missing
    ]
    missing = "\n".join(["Tasks that miss a goal one by one:", "", *(apart or ["- none"])])
    return f"{markdown(head, lines)}\n\n{missing}"


def _cell(goal: Goal | None) -> str:
    if goal is None:
        return ""
    return f"{goal.value:.2f}" if goal.met else f"**{goal.value:.2f}**"


def _sizes(rows: Sequence[dict[str, Any]]) -> list[int]:
    return list(dict.fromkeys(row["size"] for row in rows))
