"""Rows and tables in other programs' formats: Parquet, and JSON with a published schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench import __version__
from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing
from shiftbench.schema import COLUMNS, SCHEMA

if TYPE_CHECKING:
    import pandas as pd

    from shiftbench.report import Report

#: The JSON Schema (2020-12) of what `document` returns.
JSON_SCHEMA = Path(__file__).with_name("leaderboard.schema.json")
#: Raised with every change of that schema that a reader could trip over.
FORMAT = 1


def write(rows: pd.DataFrame, out: Path) -> list[Path]:
    """Write ``rows.parquet`` and ``leaderboard.json`` to ``out`` and return the files.

    Args:
        rows: what `shiftbench.results.read_rows` returns.
        out: folder, made if missing.

    Raises:
        ShiftBenchError: pyarrow is not installed, not one run is complete, or ``out`` cannot be
            written.
    """
    table = _table(rows)
    from pyarrow import parquet

    from shiftbench import report

    found = report.compute(rows)
    paths = [out / "rows.parquet", out / "leaderboard.json"]
    with replacing(paths[0]) as path:
        parquet.write_table(table, path, compression="zstd")
    with replacing(paths[1]) as path:
        path.write_text(json.dumps(document(found), indent=2) + "\n", encoding="utf-8")
    return paths


def document(found: Report) -> dict[str, Any]:
    """Return all tables as JSON-ready lists of objects; a number that is not known is None."""
    from shiftbench.report import TABLES

    return {
        "format": FORMAT,
        "shiftbench": __version__,
        **{name: _records(table) for name, table in zip(TABLES, found, strict=False)},
        "missing": found.missing,
        "notes": found.board.attrs["notes"],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    # 15 digits are all that pandas writes.
    return json.loads(table.to_json(orient="records", double_precision=15))


def _table(rows: pd.DataFrame):
    """Return rows as an Arrow table whose columns carry their meaning as metadata."""
    try:
        import pyarrow
    except ImportError as error:
        raise ShiftBenchError("Parquet needs pyarrow: pip install 'shiftbench[parquet]'") from error
    table = pyarrow.Table.from_pandas(rows, preserve_index=False)
    meanings = {column.name: column.doc for column in COLUMNS}
    fields = [
        field.with_metadata({"description": meanings[field.name]} if field.name in meanings else {})
        for field in table.schema
    ]
    described = pyarrow.schema(
        fields, {**(table.schema.metadata or {}), b"shiftbench.schema": str(SCHEMA).encode()}
    )
    return table.cast(described)
