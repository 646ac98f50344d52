"""Whether rows can be published: complete, of a known suite, with their provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiftbench import results
from shiftbench.levels import CLEAN, levels_of
from shiftbench.parsing import shown
from shiftbench.specs import Suite, Task

if TYPE_CHECKING:
    import pandas as pd

#: What published rows must say of themselves, beside the columns that every file needs.
PROVENANCE = (
    "schema", "suite", "suite_version", "task_version", "image_size", "render", "length",
    "train_steps", "shiftbench", "mujoco", "dm_control", "python", "gl", "device",
)  # fmt: skip
#: What a shifted and a clean episode share.
EPISODE = ("agent", "task", "train_seed", "episode")
#: Points by which a stored score may differ from that of the anchors: it is written exactly.
TOLERANCE = 1e-6


def problems(
    paths: Iterable[Path], suites: dict[str, Suite], tasks: dict[str, Task]
) -> tuple[int, list[str]]:
    """Return the number of rows, and a line for each thing that keeps them from publication.

    Every line names the file and the first row at fault, and how many rows share the fault.

    Raises:
        ShiftBenchError: as `shiftbench.results.read_rows`; such rows cannot even be reported.
    """
    rows = results.read_rows(paths, tasks, places=True)
    found = [
        f"{bad.iloc[0]['_file']}, row {bad.iloc[0]['_row']}: {what}"
        + (f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else "")
        for bad, what in _faults(rows, suites, tasks)
    ]
    return len(rows), found


def _faults(
    rows: pd.DataFrame, suites: dict[str, Suite], tasks: dict[str, Task]
) -> Iterator[tuple[pd.DataFrame, str]]:
    """Give the rows that share a fault, and the fault."""
    for name in PROVENANCE:
        empty = rows[name].isna() | (rows[name].astype(str) == "")
        if empty.any():
            yield rows[empty], f"'{name}' is empty"
    shifted = rows["family"] != CLEAN
    unhashed = (rows["train_steps"].fillna(0) > 0) & (rows["checkpoint"] == "")
    if unhashed.any():
        yield rows[unhashed], "a trained agent without 'checkpoint'"
    for what, same in results.shared_policies(rows).items():
        yield same, what
    unsourced = shifted & (rows["shift_hash"] == "")
    if unsourced.any():
        yield rows[unsourced], "a shift without 'shift_hash'"
    for (name, version), own in rows.groupby(["suite", "suite_version"], sort=False):
        suite = suites.get(name)
        if suite is None or suite.version != version:
            yield own, f"suite '{shown(name)}' version {version} is not one of this shiftbench's"
        else:
            yield from _outside(own, suite, tasks)
    alone = ~(~shifted).groupby([rows[name] for name in EPISODE], sort=False).transform("any")
    if alone.any():
        yield rows[alone], "no clean row of the same episode"


def _outside(
    rows: pd.DataFrame, suite: Suite, tasks: dict[str, Task]
) -> Iterator[tuple[pd.DataFrame, str]]:
    """Give what is not as the suite says."""
    shifts = {(s.family, s.level): s.severity for s in suite.shifts()}
    for (family, level), own in rows.groupby(["family", "level"], sort=False):
        if (family, level) not in shifts:
            levels = ", ".join(levels_of(family, suite.levels))
            yield (
                own,
                (
                    f"{shown(family)}:{shown(level)} is no shift of {suite.id} "
                    f"(families: {', '.join(suite.families)}; levels: {levels})"
                ),
            )
        elif (other := own[own["severity"] != shifts[family, level]]).size:
            yield other, f"severity of {level} is not {shifts[family, level]}"
    for column, value in (("image_size", suite.image_size), ("render", suite.render)):
        if (other := rows[(rows[column] != value).fillna(True)]).size:
            yield other, f"{column} is not {value}, as in {suite.id}"
    for name, own in rows.groupby("task", sort=False):
        if name not in suite.tasks or name not in tasks:
            yield own, f"task '{shown(name)}' is none of {suite.id}: {', '.join(suite.tasks)}"
            continue
        task = tasks[name]
        if (other := own[(own["task_version"] != task.version).fillna(True)]).size:
            yield other, f"task_version of {name} is not {task.version}"
        apart = np.abs(own["score"] - task.score(own["return"])) > TOLERANCE
        if apart.any():
            yield own[apart], f"'score' is not that of the anchors of {name}"
    cells = ["agent", "task", "family", "level", "train_seed"]
    for _, own in rows.groupby(cells, sort=False):
        lacking = sorted(set(range(suite.episodes)) - set(own["episode"]))
        if lacking:
            text = ", ".join(map(str, lacking[:10]))
            yield own, f"the cell lacks episodes of {suite.id}'s {suite.episodes}: {text}"
