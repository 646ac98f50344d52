"""From one CSV file to a data frame: strict, exact, and bounded in what it holds and says.

A file is read twice. First its lines are counted and measured, one at a time, which holds nothing
and ends at the first line that does not fit; then pandas reads whole columns. Only where a column
holds what does not belong there, its texts are looked at to name the row.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiftbench.errors import ShiftBenchError
from shiftbench.schema import COLUMNS, MIGRATIONS, REQUIRED, SCHEMA, Column

if TYPE_CHECKING:
    import pandas as pd

#: Letters of a text from a file that an error message shows.
SHOWN = 40
#: Above it a float is no longer every whole number.
EXACT = 2**53
#: Largest size of other numbers: beyond, sums and squares of them overflow.
LARGEST = 1e100


def heading(path: Path) -> list[str]:
    """Return the headings of a CSV file, none where it is empty.

    Raises:
        ShiftBenchError: no readable CSV file.
    """
    return next(_lines(path), (1, []))[1]


def parse(path: Path) -> pd.DataFrame:
    """Read one row file.

    Returns:
        One row an episode with every column of `COLUMNS`, typed as `shiftbench.results.read_rows`
        says, and ``_file`` and ``_row``: the file and the number of the line (from 1) in it.

    Raises:
        ShiftBenchError: missing or repeated columns, no rows, a line with another number of fields,
            text where a number belongs, a number that is not finite, an empty entry in a required
            column, a character that cannot be printed, or a newer schema. The message names the
            file and the first row at fault.
    """
    import pandas as pd

    rows = _measure(path)
    values = _read(path, COLUMNS)
    frame = {}
    # A newer file is refused as such, whatever else of it is strange.
    for column in sorted(COLUMNS, key=lambda column: column.name != "schema"):
        if column.name in values:
            frame[column.name] = _checked(values[column.name], column, path, rows)
        else:
            empty = "" if column.kind == "str" else np.nan
            frame[column.name] = _typed(pd.Series([empty]).repeat(len(rows)), column)
    whole = _migrated(pd.DataFrame({name: column.array for name, column in frame.items()}))
    whole = whole[[column.name for column in COLUMNS]]
    whole["_file"], whole["_row"] = str(path), rows
    return whole


def shown(text: str) -> str:
    """Return what an error message may say of a text from a file: short and printable."""
    short = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return "".join(c if c.isprintable() else "?" for c in short)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give the lines that are not blank, numbered from 1, as lists of texts."""
    try:
        # "-sig" drops the mark that spreadsheet programs put in front.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            try:
                for line in reader:
                    if line:
                        yield reader.line_num, line
            except csv.Error as error:
                where = f"{path}, row {reader.line_num}"
                raise ShiftBenchError(f"{where}: not a readable CSV file: {error}") from error
    except (OSError, ValueError) as error:
        raise ShiftBenchError(f"{path}: not a readable CSV file: {error}") from error


def _check_heading(path: Path, names: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ShiftBenchError(
            f"{path}: missing columns {', '.join(missing)} (needed: {', '.join(REQUIRED)})"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ShiftBenchError(f"{path}: more than one column '{shown(twice[0])}'")


def _measure(path: Path) -> np.ndarray:
    """Return the number of the line of every row, int64 (rows,); refuse a file out of shape."""
    lines = _lines(path)
    names = next(lines, (1, []))[1]
    _check_heading(path, names)

    def numbers() -> Iterator[int]:
        for number, line in lines:
            if len(line) != len(names):
                raise ShiftBenchError(
                    f"{path}, row {number}: {len(line)} fields, the heading has {len(names)}"
                )
            yield number

    rows = np.fromiter(numbers(), np.int64)
    if not len(rows):
        raise ShiftBenchError(f"{path}: a heading, but no rows")
    return rows


def _read(path: Path, columns: Sequence[Column], *, raw: bool = False) -> pd.DataFrame:
    """Read those columns that the file has: texts, and numbers as float64, NaN where empty.

    Args:
        raw: numbers are left the texts that they are. Without it they are as soon as one is none.
    """
    import pandas as pd

    numbers = [] if raw else [column.name for column in columns if column.kind != "str"]
    wanted = {column.name for column in columns}
    try:
        with warnings.catch_warnings():
            # The exact parser is pandas' default only from version 4 on, which warns of its name.
            warnings.simplefilter("ignore")
            return pd.read_csv(
                path,
                usecols=lambda name: name in wanted,
                index_col=False,
                dtype={
                    column.name: "float64" if column.name in numbers else "str"
                    for column in columns
                },
                keep_default_na=False,
                na_values={name: [""] for name in numbers},
                float_precision="round_trip",
                encoding="utf-8-sig",
            )
    except ValueError:
        if raw:
            raise
        return _read(path, columns, raw=True)


def _checked(values: pd.Series, column: Column, path: Path, rows: np.ndarray) -> pd.Series:
    """Return a column with its type; raise ShiftBenchError with the row of what does not fit."""
    import pandas as pd

    def refuse(bad: np.ndarray, texts: pd.Series, why: str) -> ShiftBenchError:
        index = int(np.flatnonzero(bad)[0])
        is_what = f"is '{shown(texts.iloc[index])}', {why}" if why else "is empty"
        return ShiftBenchError(f"{path}, row {rows[index]}: '{column.name}' {is_what}")

    if len(values) != len(rows):
        raise ShiftBenchError(f"{path}: not a readable CSV file: {len(values)} of {len(rows)} rows")
    if column.kind == "str":
        if column.required and (empty := (values == "").to_numpy()).any():
            raise refuse(empty, values, "")
        odd = [text for text in values.unique() if not text.isprintable()]
        if odd:
            raise refuse(values.isin(odd).to_numpy(), values, "which cannot be printed")
        return _typed(values, column)
    is_text = values.dtype != "float64"
    floats = pd.to_numeric(values, errors="coerce") if is_text else values
    floats = floats.astype(float)
    known = floats.notna().to_numpy()
    bad = ~known if is_text or column.required else np.zeros(len(rows), bool)
    whole = column.kind == "int"
    right = floats.between(0, EXACT) & (floats % 1 == 0) if whole else floats.abs() <= LARGEST
    bad |= known & ~right
    if bad.any():
        texts = values if is_text else _read(path, [column], raw=True)[column.name]
        empty = (texts == "").to_numpy()
        bad &= column.required | ~empty
        if bad.any():
            wanted = "a whole number from 0 on" if whole else f"a finite number up to {LARGEST:g}"
            first_is_empty = empty[np.flatnonzero(bad)[0]]
            raise refuse(bad, texts, "" if first_is_empty else f"not {wanted}")
    if column.name == "schema" and (floats > SCHEMA).any():
        raise ShiftBenchError(
            f"{path}: schema {floats.max():.0f} is newer than this shiftbench's {SCHEMA}: "
            "install a newer shiftbench"
        )
    return _typed(floats, column)


def _typed(values: pd.Series, column: Column) -> pd.Series:
    """Give a column its type: ``Int64`` where whole numbers may be missing."""
    whole = "int64" if column.required else "Int64"
    return values.astype({"str": "str", "float": "float64", "int": whole}[column.kind])


def _migrated(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring rows of older schemas up to the newest."""
    import pandas as pd

    for old in sorted(MIGRATIONS):
        is_old = (frame["schema"] == old).fillna(False).astype(bool)
        if is_old.any():
            newer = MIGRATIONS[old](frame[is_old]).assign(schema=old + 1)
            frame = pd.concat([newer, frame[~is_old]]).sort_index()
    return frame.astype({"schema": "Int64"})
