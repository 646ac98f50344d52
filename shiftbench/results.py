"""Rows: one an episode, with a fixed schema; cells: one atomic CSV file each.

``results/README.md`` documents every column of `COLUMNS`; a test compares the two.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing
from shiftbench.specs import CLEAN, LEVELS, load_tasks

if TYPE_CHECKING:
    import pandas as pd

    from shiftbench.specs import Task

#: Raised with every change of the columns' meaning. Older files stay readable, newer are refused.
SCHEMA = 1


class Column(Struct, frozen=True):
    """A column of the row files.

    Attributes:
        name: heading.
        kind: ``str``, ``int`` or ``float``.
        doc: meaning, with units.
        required: whether a file without it is refused.
    """

    name: str
    kind: str
    doc: str
    required: bool = False


COLUMNS = (
    Column("agent", "str", "id of the agent: its name and every override", True),
    Column("task", "str", "name of the task", True),
    Column("family", "str", "shift family, `none` for the clean arm", True),
    Column("level", "str", "shift level, `none` for the clean arm", True),
    Column("train_seed", "int", "training seed of the agent", True),
    Column("episode", "int", "number of the evaluation episode, from 0", True),
    Column("return", "float", "sum of the rewards of the episode", True),
    Column("score", "float", "100 × (return − random) / (reference − random), not clipped"),
    Column("severity", "float", "severity of the level, in 0..1"),
    Column("length", "int", "length of the episode in environment steps"),
    Column("schema", "int", "version of these columns"),
    Column("suite", "str", "name of the suite"),
    Column("suite_version", "int", "version of the suite"),
    Column("task_version", "int", "version of the task"),
    Column("image_size", "int", "height and width of a frame in pixels"),
    Column("render", "str", "render profile"),
    Column("train_steps", "int", "environment steps that the agent was trained for"),
    Column("checkpoint", "str", "SHA-256 of the checkpoint file, empty where there is none"),
    Column(
        "shift_hash",
        "str",
        "first 12 hex digits of a SHA-256 over the family's source, "
        "the severity and the user's own pictures that it shows",
    ),
    Column("shiftbench", "str", "version of shiftbench"),
    Column("mujoco", "str", "version of mujoco"),
    Column("dm_control", "str", "version of dm_control"),
    Column("torch", "str", "version of torch"),
    Column("python", "str", "version of Python"),
    Column("gl", "str", "OpenGL backend that drew the frames"),
    Column("device", "str", "device that the agent ran on"),
    Column("commit", "str", "git commit of shiftbench, `+` where the tree had changes, or empty"),
)
KINDS = {column.name: column.kind for column in COLUMNS}
KEY = ("agent", "task", "family", "level", "train_seed", "episode")
REQUIRED = tuple(column.name for column in COLUMNS if column.required)
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
    """Return ``text`` as a name of files: odd characters replaced, a long tail hashed."""
    name = "".join(c if c.isalnum() or c in "-_.+=" else "_" for c in text)
    if len(name.encode()) <= 120:
        return name
    return f"{name[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


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


def read_rows(paths: Iterable[Path], tasks: dict[str, Task] | None = None) -> pd.DataFrame:
    """Read and check any number of row files.

    Args:
        paths: CSV files, folders (every row file below), or globs.
        tasks: whose anchors give the scores where a file has none; the shipped ones by default.

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

    files = _expand(paths)
    if not files:
        raise ShiftBenchError("no row files were given")
    rows = pd.concat([_read_file(file) for file in files], ignore_index=True)
    _fill_severities(rows)
    _fill_scores(rows, tasks)
    _check_comparable(rows)
    _check_unique(rows)
    return rows.drop(columns=["_file", "_row"])


def _expand(paths: Iterable[Path]) -> list[Path]:
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
        if path.is_file() and _is_rows(set(_lines(path)[0][1]))
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


def _lines(path: Path, limit: int | None = 1) -> list[tuple[int, list[str]]]:
    """Return the first ``limit`` lines that are not blank, numbered from 1, as lists of texts."""
    try:
        # "-sig" drops the mark that spreadsheet programs put in front.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            numbered = ((reader.line_num, line) for line in reader if line)
            return list(itertools.islice(numbered, limit)) or [(1, [])]
    except (OSError, ValueError, csv.Error) as error:
        raise ShiftBenchError(f"{path}: not a readable CSV file: {error}") from error


def _read_file(path: Path) -> pd.DataFrame:
    import pandas as pd

    (_, heading), *lines = _lines(path, None)
    missing = [name for name in REQUIRED if name not in heading]
    if missing:
        raise ShiftBenchError(
            f"{path}: missing columns {', '.join(missing)} (needed: {', '.join(REQUIRED)})"
        )
    twice = sorted({name for name in heading if heading.count(name) > 1})
    if twice:
        raise ShiftBenchError(f"{path}: more than one column '{twice[0]}'")
    if not lines:
        raise ShiftBenchError(f"{path}: a heading, but no rows")
    for number, line in lines:
        if len(line) != len(heading):
            raise ShiftBenchError(
                f"{path}, row {number}: {len(line)} fields, the heading has {len(heading)}"
            )
    numbers, texts = zip(*lines, strict=True)
    frame = pd.DataFrame(list(texts), columns=heading, index=numbers, dtype=str)
    rows = pd.DataFrame(
        {
            column.name: _convert(
                frame[column.name] if column.name in frame else pd.Series("", frame.index),
                column,
                path,
            )
            for column in COLUMNS
        }
    )
    newest = rows["schema"].max()
    if not pd.isna(newest) and newest > SCHEMA:
        raise ShiftBenchError(
            f"{path}: schema {newest} is newer than this shiftbench's {SCHEMA}: "
            "install a newer shiftbench"
        )
    rows["_file"], rows["_row"] = str(path), rows.index
    return rows


def _convert(texts: pd.Series, column: Column, path: Path) -> pd.Series:
    """Parse one column; raise ShiftBenchError with the row of the first text that does not fit."""
    if column.required and (texts == "").any():
        raise ShiftBenchError(
            f"{path}, row {texts[texts == ''].index[0]}: '{column.name}' is empty"
        )
    if column.kind == "str":
        return texts.astype(str)
    # Through Python's float, which is exact, unlike pandas' quicker parser.
    values = texts.map(_number).astype(float)
    bad = (texts != "") & ~(values.abs() < float("inf"))
    if column.kind == "int":
        # Above 2**53 a float is no longer every whole number.
        bad |= (texts != "") & ((values % 1 != 0) | (values.abs() > 2**53))
    if bad.any():
        wanted = "a whole number" if column.kind == "int" else "a finite number"
        raise ShiftBenchError(
            f"{path}, row {texts[bad].index[0]}: '{column.name}' is '{texts[bad].iloc[0]}', "
            f"not {wanted}"
        )
    if column.kind == "int":
        return values.astype("int64" if column.required else "Int64")
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


# -- checking ------------------------------------------------------------------------------------


def _fill_severities(rows: pd.DataFrame) -> None:
    """Fill in the severity of the usual levels where a file has none."""
    half = (rows["family"] == CLEAN) != (rows["level"] == CLEAN)
    if half.any():
        first = rows[half].iloc[0]
        raise ShiftBenchError(
            f"{first['_file']}, row {first['_row']}: family '{first['family']}' with level "
            f"'{first['level']}': the clean arm is '{CLEAN}' in both, a shift in neither"
        )
    rows["severity"] = rows["severity"].fillna(rows["level"].map(LEVELS).astype(float))
    lacking = rows["severity"].isna()
    if lacking.any():
        first = rows[lacking].iloc[0]
        raise ShiftBenchError(
            f"{first['_file']}, row {first['_row']}: no severity for level '{first['level']}': "
            f"add a severity column or use {', '.join(LEVELS)}"
        )


def _fill_scores(rows: pd.DataFrame, tasks: dict[str, Task] | None) -> None:
    """Compute the scores that files lack from the anchors of the tasks."""
    lacking = rows["score"].isna()
    if not lacking.any():
        return
    known = tasks if tasks is not None else load_tasks()
    for name in rows.loc[lacking, "task"].unique():
        where = lacking & (rows["task"] == name)
        first = rows[where].iloc[0]
        versions = set(rows.loc[where, "task_version"].dropna())
        if name not in known or versions - {known[name].version}:
            version = "".join(f" version {version}" for version in sorted(versions))
            raise ShiftBenchError(
                f"{first['_file']}, row {first['_row']}: no score, and no task file with the "
                f"anchors of '{name}'{version}: add a score column or the task"
            )
        rows.loc[where, "score"] = known[name].score(rows.loc[where, "return"])


def _check_comparable(rows: pd.DataFrame) -> None:
    """Raise ShiftBenchError for rows that must not be averaged or ranked together.

    An empty entry goes with any other: somebody's own rows may say nothing of versions.
    """
    for column, within in SAME.items():
        told = rows[rows[column].notna() & (rows[column].astype(str) != "")]
        groups = told.groupby(within, sort=False) if within else [("", told)]
        for name, group in groups:
            firsts = group.drop_duplicates(column)
            if len(firsts) > 1:
                one, other = firsts.iloc[0], firsts.iloc[1]
                of = f" of {within} '{name}'" if within else ""
                raise ShiftBenchError(
                    f"{one['_file']} and {other['_file']}: {column}{of} is {one[column]} and "
                    f"{other[column]}: not comparable, report them apart"
                )


def _check_unique(rows: pd.DataFrame) -> None:
    twice = rows[rows.duplicated(list(KEY), keep=False)]
    if twice.empty:
        return
    first = twice.iloc[0]
    same = twice[(twice[list(KEY)] == first[list(KEY)]).all(axis=1)]
    places = " and ".join(
        f"{file}, row {row}" for file, row in zip(same["_file"][:2], same["_row"], strict=False)
    )
    key = ", ".join(f"{name} {first[name]}" for name in KEY)
    other = same.iloc[1]
    differ = [name for name in KINDS if str(first[name]) != str(other[name])]
    hint = f" (they differ in {', '.join(differ)})" if differ else ""
    raise ShiftBenchError(f"{places}: the same key twice: {key}{hint}; keep one of them")
