"""Rows: one an episode, with a fixed schema; cells: one atomic CSV file each.

``results/README.md`` documents every column of `COLUMNS`; a test compares the two.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from shiftbench.data import PACKAGE
from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing

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
    Column("shift_hash", "str", "first 12 hex digits of a SHA-256 over the family's source"),
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
        name = f"{self.family}-{self.level}-seed{self.train_seed}-{digest}.csv"
        suite = f"{self.suite}-v{self.suite_version}"
        return root / suite / "cells" / folder / file_name(self.agent) / name


def file_name(text: str) -> str:
    """Return ``text`` with everything replaced that a file name had better not hold."""
    return "".join(c if c.isalnum() or c in "-_.+=" else "_" for c in text)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; floats round-trip exactly."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in COLUMNS], restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(paths: Iterable[Path], tasks: dict[str, Task] | None = None) -> pd.DataFrame:
    """Read and check any number of row files.

    Args:
        paths: CSV files, folders (every CSV file below that has the key columns), or globs.
        tasks: whose anchors give the scores where a file has none; the shipped ones by default.

    Returns:
        One row an episode with every column of `COLUMNS`; what a file lacks is empty.

    Raises:
        ShiftBenchError: no file, missing columns, text where a number belongs, a return that is
            not finite, a newer schema, a duplicate key, or no score and no anchors for it. The
            message names the file and the row.
    """
    import pandas as pd

    files = _expand(paths)
    frames = [_read_file(file) for file in files]
    rows = pd.concat(frames, ignore_index=True)
    if rows.empty:
        raise ShiftBenchError(f"{', '.join(map(str, paths))}: no rows")
    _fill_scores(rows, tasks)
    twice = rows.duplicated([*KEY, "suite", "suite_version", "task_version"], keep=False)
    if twice.any():
        first = rows[twice].iloc[0]
        key = ", ".join(f"{name} {first[name]}" for name in KEY)
        where = sorted(set(rows[twice & (rows["agent"] == first["agent"])]["_file"]))[:2]
        raise ShiftBenchError(f"{' and '.join(where)}: more than one row for {key}")
    return rows.drop(columns=["_file", "_row"])


def _expand(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(p for p in path.rglob("*.csv") if _is_rows(p))
            if not found:
                raise ShiftBenchError(f"{path}: holds no CSV file with rows")
        elif path.is_file():
            found = [path]
        else:
            found = (
                sorted(p for p in Path().glob(str(path)) if p.is_file())
                if (not path.is_absolute())
                else []
            )
            if not found:
                raise ShiftBenchError(f"{path}: no such file or folder")
        files += found
    return list(dict.fromkeys(files))


def _is_rows(path: Path) -> bool:
    """Whether a file in a folder is a row file: leaderboards and curves lie beside them."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return set(KEY) <= set(file.readline().strip().split(","))


def _read_file(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ShiftBenchError(f"{path}: not a readable CSV file: {reason}") from error
    missing = [name for name in REQUIRED if name not in frame]
    if missing:
        raise ShiftBenchError(
            f"{path}: missing columns {', '.join(missing)} (needed: {', '.join(REQUIRED)})"
        )
    columns = {}
    for column in COLUMNS:
        texts = frame[column.name] if column.name in frame else pd.Series("", frame.index)
        columns[column.name] = _convert(texts, column, path)
    rows = pd.DataFrame(columns)
    rows["_file"], rows["_row"] = str(path), frame.index + 2  # the heading is row 1
    newer = rows["schema"].dropna()
    if len(newer) and newer.max() > SCHEMA:
        raise ShiftBenchError(
            f"{path}: schema {int(newer.max())} is newer than this shiftbench's {SCHEMA}: "
            "install a newer shiftbench"
        )
    return rows


def _convert(texts: pd.Series, column: Column, path: Path) -> pd.Series:
    """Parse one column; raise ShiftBenchError with the row of the first text that does not fit."""
    import numpy as np
    import pandas as pd

    empty = texts == ""
    if column.required and empty.any():
        raise ShiftBenchError(f"{path}, row {_line(empty)}: '{column.name}' is empty")
    if column.kind == "str":
        return texts.astype(str)
    try:
        # Through Python's float, which is exact, unlike pandas' quicker parser.
        values = np.where(empty, "nan", texts).astype(float)
        bad = ~np.isfinite(values) & ~empty
    except ValueError:
        bad, values = ~texts.map(_is_number) & ~empty, None
    if column.kind == "int" and values is not None:
        bad = bad | (~empty & (values != np.floor(values)))
    if bad.any():
        text = texts[bad].iloc[0]
        wanted = "a whole number" if column.kind == "int" else "a finite number"
        raise ShiftBenchError(
            f"{path}, row {_line(bad)}: '{column.name}' is '{text}', not {wanted}"
        )
    series = pd.Series(values, texts.index)
    if column.kind == "int":
        return series.astype("int64") if not empty.any() else series.astype("Int64")
    return series


def _line(mask: pd.Series) -> int:
    return int(mask[mask].index[0]) + 2


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fill_scores(rows: pd.DataFrame, tasks: dict[str, Task] | None) -> None:
    """Compute the scores that files lack from the anchors of the tasks."""
    from shiftbench.specs import load_tasks

    lacking = rows["score"].isna()
    if not lacking.any():
        return
    known = tasks if tasks is not None else load_tasks()
    for name in rows.loc[lacking, "task"].unique():
        where = lacking & (rows["task"] == name)
        if name not in known:
            first = rows[where].iloc[0]
            raise ShiftBenchError(
                f"{first['_file']}, row {first['_row']}: no score, and no task file with the "
                f"anchors of '{name}': add a score column or the task"
            )
        rows.loc[where, "score"] = known[name].score(rows.loc[where, "return"])


def shift_hash(family_class: type | None, severity: float) -> str:
    """Return what the rows call ``shift_hash``: over the sources beside a family, and the severity.

    Args:
        family_class: None for the clean arm, whose hash is empty.
    """
    if family_class is None:
        return ""
    import inspect

    folder = Path(inspect.getfile(family_class)).parent
    digest = hashlib.sha256(repr(severity).encode())
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def provenance() -> dict[str, str]:
    """Return versions and commit, without importing any of the packages."""
    found = {"python": platform.python_version(), "commit": _commit()}
    for name in ("shiftbench", "mujoco", "dm_control", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _commit() -> str:
    """Return the commit of the checkout that this package runs from, if it runs from one."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return ""
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # no git on this machine
    return head + ("+" if changes else "")
