"""The numbers of the probes as rows, as CSV and as a table for a terminal."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from shiftbench import listing, results
from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing
from shiftbench.specs import CLEAN

if TYPE_CHECKING:
    import pandas as pd

#: Raised with every change of the columns' meaning.
SCHEMA = 1

#: Probe → what its number is.
PROBES = {
    "invariance": "distance from clean",
    "decodability": "R² of the positions",
    "forgetting": "k-NN accuracy",
    "attention": "Jaccard index with the agent",
}


class Column(Struct, frozen=True):
    """A column of probes.csv: heading, ``str``, ``int`` or ``float``, and meaning."""

    name: str
    kind: str
    doc: str


_EPISODES = {column.name: column for column in results.COLUMNS}


def _as_in_episodes(*names: str) -> list[Column]:
    """Return columns that mean what they mean in the rows of episodes."""
    return [Column(name, _EPISODES[name].kind, _EPISODES[name].doc) for name in names]


_KEY = ("agent", "task", "family", "level", "train_seed")

#: Columns of probes.csv; ``docs/probes.md`` says what they mean, a test compares the two.
COLUMNS = (
    *_as_in_episodes(*_KEY),
    Column("probe", "str", f"what was measured: {', '.join(f'`{name}`' for name in PROBES)}"),
    Column("before", "float", "its number for the encoder that training began with"),
    Column("after", "float", "its number for the trained encoder"),
    Column("chance", "float", "the number that guessing gives, where there is one"),
    Column("note", "str", "why a number is missing"),
    Column("states", "int", "states that were asked for"),
    Column("probe_seed", "int", "seed of states, looks and scenes"),
    Column("schema", "int", "version of these columns"),
    *_as_in_episodes("severity", "suite", "suite_version", "task_version", "image_size", "render"),
    *_as_in_episodes("train_steps", "checkpoint", "shift_hash", "shiftbench", "mujoco"),
    *_as_in_episodes("dm_control", "torch", "python", "gl", "device", "commit"),
)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``probes.csv``, whole or not at all; what is not known is empty.

    Raises:
        ShiftBenchError: the folder cannot be written or the disk is full.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in COLUMNS])
        writer.writeheader()
        writer.writerows(known(rows))


def known(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with None in place of numbers that there are none of, in the columns' order."""
    return [{column.name: _or_none(row[column.name]) for column in COLUMNS} for row in rows]


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table: a line for each run, probe and family, a column a level, before → after."""
    severities = {row["level"]: row["severity"] for row in rows}
    levels = sorted(severities, key=severities.__getitem__)
    shifted = list(dict.fromkeys(row["family"] for row in rows if row["family"] != CLEAN))
    order = list(PROBES)
    lines: dict[tuple, dict[str, Any]] = {}
    for row in rows:
        run = row["agent"], row["task"], row["train_seed"]
        # The clean number stands in front of every family's.
        everywhere = row["family"] == CLEAN and row["probe"] != "forgetting" and shifted
        for family in shifted if everywhere else [row["family"]]:
            line = lines.setdefault(
                (*run, order.index(row["probe"]), family),
                dict(zip(("agent", "task", "seed"), run, strict=True))
                | {"probe": row["probe"], "family": family}
                | dict.fromkeys((*levels, "chance"), ""),
            )
            line[row["level"]] = f"{_number(row['before'])} → {_number(row['after'])}"
            if math.isfinite(row["chance"]):
                line["chance"] = line["chance"] or _number(row["chance"])
    runs = list(dict.fromkeys(key[:3] for key in lines))
    # Sorting keeps the order of the families.
    ordered = sorted(lines, key=lambda key: (runs.index(key[:3]), key[3]))
    return listing.table([lines[key] for key in ordered])


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def read_scores(path: Path, plan: Sequence, tasks: dict) -> pd.DataFrame:
    """Read the agents' scores that the probes are drawn against.

    Args:
        path: a row file or a folder of them.
        plan: the runs that are probed.
        tasks: name → task, whose anchors give scores that a file lacks.

    Returns:
        One row a cell: the key columns of a cell and ``score``, the mean over its episodes.

    Raises:
        ShiftBenchError: as `shiftbench.results.read_rows`, or no row is of a run that is probed.
    """
    rows = results.read_rows([path], tasks)
    cells = rows.groupby(list(_KEY), as_index=False)["score"].mean()
    runs = {(run.agent.id, run.task.name, run.seed) for run in plan}
    mine = [key in runs for key in zip(cells.agent, cells.task, cells.train_seed, strict=True)]
    if not any(mine):
        raise ShiftBenchError(
            f"--rows {path}: holds no rows of the agents, tasks and seeds that are probed"
        )
    return cells[mine]
