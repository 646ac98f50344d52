"""Rows, with the columns of `shiftbench.schema`; cells: one atomic CSV file each."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.files import replacing
from shiftbench.parsing import heading, parse, shown
from shiftbench.schema import COLUMNS, KEY, KINDS, SCHEMA
from shiftbench.specs import CLEAN, LEVELS, load_tasks

if TYPE_CHECKING:
    import pandas as pd

    from shiftbench.specs import Scale, Task

__all__ = ["COLUMNS", "KEY", "KINDS", "SCHEMA", "Cell", "file_name", "read_rows", "write_rows"]

#: Column → the column within whose values it must not vary, or "" for all rows.
SAME = {
    "suite": "",
    "suite_version": "",
    "image_size": "",
    "render": "",
    "task_version": "task",
    "severity": "level",
}


class Cell(Struct, frozen=True):
    """What addresses a cell: everything that changes its returns.

    Versions of libraries, the commit and the device are provenance and do not enter the address.
    """

    suite: str
    suite_version: int
    task: str
    task_version: int
    agent: str
    train_seed: int
    checkpoint: str
    family: str
    level: str
    severity: float
    shift_hash: str
    image_size: int
    render: str
    episodes: int

    def path(self, root: Path) -> Path:
        """Return the file of this cell under ``root``."""
        text = json.dumps([getattr(self, name) for name in self.__struct_fields__])
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        folder = f"{self.task}-v{self.task_version}"
        shift = file_name(f"{self.family}-{self.level}")
        name = f"{shift}-seed{self.train_seed}-{digest}.csv"
        suite = f"{self.suite}-v{self.suite_version}"
        return root / suite / "cells" / folder / file_name(self.agent) / name


def file_name(text: str) -> str:
    """Return ``text`` as a name of files: odd characters replaced, and hashed as a long tail is.

    The colon of a timm model's name alone is replaced without.
    """
    name = "".join(c if c.isalnum() or c in "-_.+=" else "_" for c in text)
    if len(name.encode()) <= 120 and name == text.replace(":", "_"):
        return name
    return f"{name[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def replaced(cells: Mapping[Cell, Path]) -> list[Path]:
    """Return the stored cells that ``cells``, those of one run, stand in place of.

    Rows of one folder are reported together, so it must not hold two cells of one shift (with
    another number of episodes, say) nor cells of another checkpoint of the same training seed.
    """
    if not cells:
        return []
    cell, path = next(iter(cells.items()))
    shifts = {(cell.family, cell.level) for cell in cells}
    found = []
    for other in path.parent.glob(f"*-seed{cell.train_seed}-*.csv"):
        if other in cells.values():
            continue
        with suppress(OSError, UnicodeDecodeError, csv.Error), other.open(encoding="utf-8") as file:
            row = next(csv.DictReader(file), {})
            shift = row.get("family"), row.get("level")
            if (row.get("agent"), row.get("train_seed")) != (cell.agent, str(cell.train_seed)):
                continue  # an agent of nearly the same name
            if row.get("checkpoint", "") != cell.checkpoint or shift in shifts:
                found.append(other)
    return found


def put_in_force(cells: Mapping[Cell, Path]) -> int:
    """Let those of ``cells``, of one run, that are stored count, and what they replace not.

    What is replaced is renamed to ``<name>.csv.old``, which no reader takes for rows, and back when
    it is put in force again.

    Returns:
        How many are stored.
    """
    for path in cells.values():
        if not path.exists():
            with suppress(FileNotFoundError, NotADirectoryError):  # most often there is none
                _old(path).replace(path)
    stored = {cell: path for cell, path in cells.items() if path.exists()}
    for other in replaced(stored):
        with suppress(FileNotFoundError):  # another process did it
            other.replace(_old(other))
    return len(stored)


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; floats round-trip exactly.

    Raises:
        ShiftBenchError: the folder cannot be written or the disk is full.
        ValueError: a row has a key that is no column.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in COLUMNS], restval="")
        writer.writeheader()
        writer.writerows(rows)


# -- reading -------------------------------------------------------------------------------------


def read_rows(
    paths: Iterable[Path],
    tasks: dict[str, Task] | None = None,
    scales: Mapping[str, Scale] | None = None,
    *,
    places: bool = False,
) -> pd.DataFrame:
    """Read and check any number of row files.

    Args:
        paths: CSV files, folders (every row file below), or globs.
        tasks: whose anchors give the scores where a file has none; the shipped ones by default.
        scales: anchors by name of the task, before those of ``tasks``.
        places: also return the columns ``_file`` and ``_row``, where each row was read.

    Returns:
        One row an episode with every column of `COLUMNS`: ``str`` (empty where a file has none),
        ``float64`` (NaN) or ``int64``, ``Int64`` where the column may be empty. ``score`` and
        ``severity`` are always filled in. Columns that are not ours are left out.

    Raises:
        ShiftBenchError: no file, no rows, missing columns, text where a number belongs, a number
            that is not finite, a newer schema, rows of different versions, a duplicate key, or no
            score and no anchors for it. The message names the file, and the row where there is one.
    """
    import pandas as pd

    files = row_files(paths)
    if not files:
        raise ShiftBenchError("no row files were given")
    rows = pd.concat([parse(file) for file in files], ignore_index=True)
    _fill_severities(rows)
    _fill_scores(rows, tasks, scales or {})
    _check_comparable(rows)
    _check_unique(rows)
    return rows if places else rows.drop(columns=["_file", "_row"])


def only(rows: pd.DataFrame, column: str, names: Sequence[str]) -> pd.DataFrame:
    """Return the rows with one of ``names`` in ``column``; all of them where no name is given.

    Raises:
        ShiftBenchError: no row has one of the names.
    """
    for name in names:
        if name not in set(rows[column]):
            raise unknown(column, name, set(rows[column]), f"--{column}")
    return rows[rows[column].isin(names)].reset_index(drop=True) if names else rows


def shared_policies(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what is wrong with one policy that stands as several seeds, and the rows concerned.

    Its returns are not independent, so an interval over the seeds is too narrow.
    """
    own = ["agent", "task", "checkpoint"]
    named = rows[rows["checkpoint"] != ""]
    found = {}
    for (agent, task, _), same in named.groupby(own, sort=False):
        seeds = sorted(set(same["train_seed"]))
        if len(seeds) > 1:
            text = ", ".join(map(str, seeds))
            found[f"one checkpoint is training seeds {text} of {shown(agent)} on {task}"] = same
    return found


def row_files(paths: Iterable[Path]) -> list[Path]:
    """Return each file that `read_rows` reads, once; ``paths`` and errors are as there."""
    files: list[Path] = []
    for path in paths:
        found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        found = [Path(path)] if Path(path).exists() else found
        if not found:
            raise ShiftBenchError(f"{path}: no such file or folder")
        for match in found:
            files += _row_files(match) if match.is_dir() else [match]
    return list({file.resolve(): file for file in files}.values())


def _row_files(folder: Path) -> list[Path]:
    """Return the row files below a folder: leaderboards and training curves lie beside them."""
    found = [
        path
        for path in sorted(folder.rglob("*.csv"))
        if path.is_file() and _is_rows(set(heading(path)))
    ]
    if not found:
        raise ShiftBenchError(f"{folder}: holds no CSV file with rows")
    return found


def _is_rows(heading: set[str]) -> bool:
    """Whether a file is one of rows.

    Either of two columns tells, so that a file without the other is refused, not passed over; the
    numbers of `shiftbench probe` have one of them as well.
    """
    return bool(heading & {"train_seed", "episode"}) and "probe" not in heading


# -- checking ------------------------------------------------------------------------------------


def _fill_severities(rows: pd.DataFrame) -> None:
    """Fill in the severity of the usual levels where a file has none."""
    half = (rows["family"] == CLEAN) != (rows["level"] == CLEAN)
    if half.any():
        first = rows[half].iloc[0]
        raise ShiftBenchError(
            f"{first['_file']}, row {first['_row']}: family '{shown(first['family'])}' with level "
            f"'{shown(first['level'])}': the clean arm is '{CLEAN}' in both, a shift in neither"
        )
    rows["severity"] = rows["severity"].fillna(rows["level"].map(LEVELS).astype(float))
    lacking = rows["severity"].isna()
    if lacking.any():
        first = rows[lacking].iloc[0]
        raise ShiftBenchError(
            f"{first['_file']}, row {first['_row']}: no severity for level "
            f"'{shown(first['level'])}': add a severity column or use {', '.join(LEVELS)}"
        )
    clean = rows["level"] == CLEAN
    wrong = ~rows["severity"].between(0.0, 1.0) | (clean & (rows["severity"] != 0.0))
    if wrong.any():
        first = rows[wrong].iloc[0]
        raise ShiftBenchError(
            f"{first['_file']}, row {first['_row']}: severity {first['severity']:g} of level "
            f"'{shown(first['level'])}': severities lie in 0..1, that of clean episodes is 0"
        )


def _fill_scores(
    rows: pd.DataFrame, tasks: dict[str, Task] | None, scales: Mapping[str, Scale]
) -> None:
    """Compute the scores that files lack from the anchors of the tasks."""
    lacking = rows["score"].isna()
    if not lacking.any():
        return
    known = tasks if tasks is not None else load_tasks()
    for name in rows.loc[lacking, "task"].unique():
        where = lacking & (rows["task"] == name)
        versions = set(rows.loc[where, "task_version"].dropna())
        scale = scales.get(name)
        if scale is None and name in known and not versions - {known[name].version}:
            scale = known[name].scale
        if scale is None:
            first = rows[where].iloc[0]
            version = "".join(f" version {version}" for version in sorted(versions)[:3])
            raise ShiftBenchError(
                f"{first['_file']}, row {first['_row']}: no score, and no task file with the "
                f"anchors of '{shown(name)}'{version}: add a score column, the task (--tasks-dir) "
                "or --anchors"
            )
        told = (rows["task"] == name) & ~lacking
        wanted = scale.score(rows.loc[told, "return"])
        off = (rows.loc[told, "score"] - wanted).abs() > 0.1 + 1e-3 * wanted.abs()
        if off.any():
            first = rows[told][off].iloc[0]
            raise ShiftBenchError(
                f"{first['_file']}, row {first['_row']}: score {first['score']:g}, where the "
                f"anchors of '{shown(name)}' give {wanted[off].iloc[0]:.4g}, by which other rows "
                "get theirs: give all rows a score, or none"
            )
        rows.loc[where, "score"] = scale.score(rows.loc[where, "return"])


def _check_comparable(rows: pd.DataFrame) -> None:
    """Raise ShiftBenchError for rows that must not be averaged or ranked together.

    An empty entry goes with any other: somebody's own rows may say nothing of versions.
    """
    for column, within in SAME.items():
        named = [column, within] if within else [column]
        told = rows[[*named, "_file"]].drop_duplicates(named)
        told = told[told[column].notna() & (told[column].astype(str) != "")]
        groups = told.groupby(within, sort=False) if within else [("", told)]
        for name, group in groups:
            if len(group) > 1:
                one, other = group.iloc[0], group.iloc[1]
                of = f" of {within} '{shown(name)}'" if within else ""
                values = " and ".join(shown(str(line[column])) for line in (one, other))
                raise ShiftBenchError(
                    f"{one['_file']} and {other['_file']}: {column}{of} is {values}: not "
                    "comparable, report them apart"
                )


def _check_unique(rows: pd.DataFrame) -> None:
    again = rows.duplicated(list(KEY))
    if not again.any():
        return
    other = rows[again].iloc[0]
    first = rows[(rows[list(KEY)] == other[list(KEY)]).all(axis=1)].iloc[0]
    key = ", ".join(f"{name} {shown(str(first[name]))}" for name in KEY)
    differ = [name for name in KINDS if str(first[name]) != str(other[name])]
    hint = f" (they differ in {', '.join(differ)})" if differ else ""
    raise ShiftBenchError(
        f"{first['_file']}, row {first['_row']} and {other['_file']}, row {other['_row']}: "
        f"the same key twice: {key}{hint}; keep one of them"
    )
