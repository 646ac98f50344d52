import builtins
import json

import jsonschema
import pandas as pd
import pytest
from pyarrow import parquet

from shiftbench import report, results
from shiftbench.errors import ShiftBenchError
from shiftbench.report import export, pairs, tables
from shiftbench.schema import COLUMNS


def one(agent, family, level, episode, score):
    return {
        "agent": agent, "task": "x", "train_seed": 0, "family": family, "level": level,
        "episode": episode, "return": 1.0, "score": score,
    }  # fmt: skip


@pytest.fixture
def rows(tmp_path):
    """Two agents, clean and severe; the second lacks the shift."""
    made = [
        one(agent, *shift, episode, score + episode)
        for agent, score in {"=1+1": 40.0, "weak": 3.0}.items()
        for shift in (("none", "none"), ("texture", "severe"))
        for episode in (0, 1)
    ]
    results.write_rows(tmp_path / "in" / "rows.csv", made[:-2])
    return results.read_rows([tmp_path / "in"])


def test_parquet_holds_the_rows_and_what_they_mean(rows, tmp_path):
    export.write(rows, tmp_path / "out")
    path = tmp_path / "out" / "rows.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(path), rows, check_dtype=False)
    schema = parquet.read_schema(path)
    for column in COLUMNS:
        assert schema.field(column.name).metadata[b"description"].decode() == column.doc


def test_json_is_as_its_schema_says(rows, tmp_path):
    _, path = export.write(rows, tmp_path / "out")
    schema = json.loads(export.JSON_SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(path.read_text())
    jsonschema.validate(document, schema)
    assert document["missing"] == ["weak: nothing at severe"]
    assert document["leaderboard"][0]["agent"] == "=1+1"  # JSON needs no apostrophe
    document["leaderboard"][0]["score"] = None
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_the_schema_has_the_columns_of_the_tables():
    defined = json.loads(export.JSON_SCHEMA.read_text())["$defs"]
    for name, columns in {
        "line": tables.LEADERBOARD,
        "family_line": ("family", *tables.LEADERBOARD),
        "task_line": ("task", *tables.LEADERBOARD),
        "cell": tables.FAMILIES,
        "comparison": pairs.COMPARISONS,
    }.items():
        assert tuple(defined[name]["properties"]) == columns
        assert tuple(defined[name]["required"]) == columns


def test_the_command(rows, tmp_path, call):
    done = call("export", tmp_path / "in", "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert done.out.split() == [
        str(tmp_path / "out" / name) for name in ("rows.parquet", "leaderboard.json")
    ]


def test_without_pyarrow_nothing_is_written(rows, tmp_path, monkeypatch):
    real = builtins.__import__

    def lacking(name, *arguments, **more):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ShiftBenchError, match=r"pip install 'shiftbench\[parquet\]'"):
        export.write(rows, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_tables_of_a_report_are_those_of_the_export(rows):
    found = report.compute(rows)
    assert export.document(found)["leaderboard"][1]["score"] == found.board["score"][1]
