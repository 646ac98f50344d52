"""Files of every schema, files of others, and files that would hurt."""

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shiftbench import parsing, results, schema, specs
from shiftbench import validate as rules
from shiftbench.errors import ShiftBenchError

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
HEADING = "agent,task,family,level,train_seed,episode,return\n"
ROW = "mine,cartpole_balance,none,none,0,0,500.0\n"


def text(folder, content, name="rows.csv"):
    (folder / name).write_text(content)
    return folder / name


# -- every schema stays readable ------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, results.SCHEMA + 1))
def test_a_file_of_every_schema_stays_readable(number):
    rows = results.read_rows([HERE / "rows" / f"schema-{number}.csv"])
    assert rows["schema"].tolist() == [results.SCHEMA] * 4
    assert rows["return"].tolist() == [500.0, 500 - 1 / 3, 425.0, 425 - 1 / 3]
    assert rows["level"].tolist() == ["none", "none", "severe", "severe"]
    assert rows.loc[2, ["suite", "shift_hash", "gl"]].tolist() == ["mini", "0123456789ab", "egl"]


def test_a_file_of_seven_columns_stays_readable():
    rows = results.read_rows([HERE / "rows" / "seven-columns.csv"])
    task = specs.load_tasks()["cartpole_balance"]
    assert rows["score"].tolist() == [task.score(value) for value in rows["return"]]
    assert rows["suite"].tolist() == [""] * 4


def test_older_rows_are_migrated_and_newer_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(parsing, "SCHEMA", 3)
    monkeypatch.setitem(schema.MIGRATIONS, 1, lambda f: f.assign(length=f["length"] * 2))
    monkeypatch.setitem(schema.MIGRATIONS, 2, lambda f: f.assign(length=f["length"] + 1))
    lines = [ROW.replace(",0,0,", f",0,{i},").strip() + f",{i},100\n" for i in (1, 3, 2)]
    path = text(tmp_path, HEADING.strip() + ",schema,length\n" + "".join(lines))
    rows = results.read_rows([path])
    assert rows["episode"].tolist() == [1, 3, 2]
    assert rows["length"].tolist() == [201, 100, 101]
    assert rows["schema"].tolist() == [3, 3, 3]


# -- exact, and as texts say ----------------------------------------------------------------------


def test_names_that_look_like_numbers_stay_names(tmp_path):
    lines = [ROW.replace("mine", name) for name in ("007", "1e3", "NA", "True", "nan")]
    assert results.read_rows([text(tmp_path, HEADING + "".join(lines))])["agent"].tolist() == [
        "007", "1e3", "NA", "True", "nan",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_come_back_bit_for_bit(tmp_path, seed):
    rng = np.random.default_rng(seed)
    bits = rng.integers(1 << 62, size=2000, dtype=np.int64).view(np.float64)
    values = bits[np.isfinite(bits) & (np.abs(bits) < 1e300)]
    lines = [
        f"mine,cartpole_balance,none,none,0,{i},{v!r}\n" for i, v in enumerate(values.tolist())
    ]
    read = results.read_rows([text(tmp_path, HEADING + "".join(lines))])["return"]
    assert read.to_numpy().tobytes() == values.tobytes()


def test_quotes_and_line_breaks_in_unread_columns_keep_the_numbers_of_rows(tmp_path):
    content = HEADING.strip() + ",note\n" + ROW.strip() + ',"a\nb,""c"""\n\n'
    path = text(tmp_path, content + ROW.strip().replace("500.0", "much") + ",x\n")
    with pytest.raises(ShiftBenchError, match="row 5: 'return' is 'much'"):
        results.read_rows([path])


# -- anchors --------------------------------------------------------------------------------------


def test_anchors_of_a_file_score_unknown_tasks(tmp_path):
    rows = text(tmp_path, HEADING + ROW.replace("cartpole_balance", "chess"))
    scales = specs.load_scales(text(tmp_path, "[chess]\nrandom = 100\nreference = 900\n", "a.toml"))
    assert results.read_rows([rows], {}, scales)["score"].tolist() == [50.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("chess = 3", r"'chess' must be a table \[chess\]"),
        ("[chess]\nrandom = 1", r"\[chess\]: .*`reference`.*keys: random, reference"),
        ("[chess]\nrandom = 1\nreference = 1", "a reference above random"),
        ("[chess]\nrandom = -inf\nreference = 1", "finite numbers"),
        ("[chess]\nrandom = 0\nreference = 1\nbest = 2", "best"),
        ("[chess", "not valid TOML"),
    ],
)
def test_bad_anchors(tmp_path, content, message):
    path = text(tmp_path, content, "anchors.toml")
    with pytest.raises(ShiftBenchError, match=message) as error:
        specs.load_scales(path)
    assert str(path) in str(error.value)


# -- files that would hurt ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADING + ROW.replace("mine", '"a\nb"'), r"row 3: 'agent' is 'a\?b', which cannot be pri"),
        (HEADING + ROW.replace("mine", "\x1b[31mred"), r"row 2: 'agent' is '\?\[31mred', which"),
        (HEADING + ROW.replace("500.0", "9" * 400), r"'return' is '9{40}…', not a finite"),
        (HEADING + ROW.replace("cartpole_balance", "c" * 10**5), "anchors of 'c{40}…'"),
        (
            HEADING + ROW.replace("mine", "m" * 10**6),
            "row 2: not a readable CSV file: field larger",
        ),
    ],
    ids=["line break", "escape", "long number", "long name", "longer name"],
)
def test_what_is_said_is_short_and_printable(tmp_path, content, message):
    with pytest.raises(ShiftBenchError, match=message) as error:
        results.read_rows([text(tmp_path, content)])
    assert len(str(error.value)) < 400 + len(str(tmp_path))
    assert str(error.value).isprintable()


def test_a_million_broken_lines_are_refused_at_the_first(tmp_path):
    path = text(tmp_path, HEADING + "broken\n" * 1_000_000)
    start = time.process_time()
    with pytest.raises(ShiftBenchError, match="row 2: 1 fields, the heading has 7"):
        results.read_rows([path])
    assert time.process_time() - start < 1.0


def test_duplicates_far_apart_name_both_rows(tmp_path):
    lines = [f"mine,cartpole_balance,none,none,0,{i % 999},1\n" for i in range(1000)]
    with pytest.raises(ShiftBenchError, match=r"row 2 and .*, row 1001: the same key twice"):
        results.read_rows([text(tmp_path, HEADING + "".join(lines))])


# -- validate -------------------------------------------------------------------------------------


def problems(*paths):
    return rules.problems(paths, specs.load_suites(), specs.load_tasks())


def full(path):
    """Rows of one agent that can be published."""
    task = specs.load_tasks()["cartpole_balance"]
    row = results.read_rows([HERE / "rows" / "schema-1.csv"]).iloc[0].to_dict()
    shifts = [("none", "none", 0.0, ""), ("texture", "severe", 0.75, "0123456789ab")]
    rows = [
        {**row, "family": family, "level": level, "severity": severity, "shift_hash": digest,
         "episode": episode, "return": 400.0 + episode, "score": task.score(400.0 + episode)}
        for family, level, severity, digest in shifts for episode in range(10)
    ]  # fmt: skip
    results.write_rows(path, rows)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_rows_that_can_be_published(tmp_path):
    full(tmp_path / "rows.csv")
    assert problems(tmp_path / "rows.csv") == (20, [])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("mujoco", "", "row 12: 'mujoco' is empty"),
        ("train_steps", "", "row 12: 'train_steps' is empty"),
        ("checkpoint", "", "row 12: a trained agent without 'checkpoint'"),
        ("shift_hash", "", "row 12: a shift without 'shift_hash'"),
        ("family", "preset", "row 12: preset:severe is no shift of mini-v1"),
        ("severity", "0.7", "row 12: severity of severe is not 0.75"),
        ("image_size", "84", "row 2: image_size is not 64"),
        ("render", "dm_control", "row 2: render is not fast"),
        ("task", "walker_walk", "row 12: task 'walker_walk' is none of mini-v1"),
        ("task_version", "9", "row 2: task_version of cartpole_balance is not 1"),
        ("suite_version", "9", "row 2: suite 'mini' version 9 is not one"),
        ("score", "99", "row 12: 'score' is not that of the anchors"),
        ("agent", "other", "row 12: no clean row of the same episode"),
    ],
)
def test_what_keeps_rows_from_publication(tmp_path, column, value, message):
    rows = full(tmp_path / "rows.csv")
    # What a report would refuse to mix is changed everywhere, the rest where it is shifted.
    rows.loc[slice(None) if column in results.SAME and column != "severity" else slice(10, None),
             column] = value  # fmt: skip
    rows.to_csv(tmp_path / "rows.csv", index=False)
    _, found = problems(tmp_path / "rows.csv")
    assert any(message in line for line in found), found
    assert all(str(tmp_path / "rows.csv") in line for line in found)


def test_a_cell_without_all_episodes_cannot_be_published(tmp_path):
    full(tmp_path / "rows.csv").drop(index=[13]).to_csv(tmp_path / "rows.csv", index=False)
    assert problems(tmp_path / "rows.csv")[1] == [
        f"{tmp_path / 'rows.csv'}, row 12: the cell lacks episodes of mini-v1's 10: 3 "
        "(and 8 more rows)"
    ]


def test_one_policy_is_not_two_seeds(tmp_path):
    rows = full(tmp_path / "rows.csv")
    pd.concat([rows, rows.assign(train_seed="7")]).to_csv(tmp_path / "rows.csv", index=False)
    (line,) = problems(tmp_path / "rows.csv")[1]
    assert "row 2: one checkpoint is training seeds 0, 7 of " in line
    assert line.endswith("(and 39 more rows)")


def test_the_command_says_what_is_wrong(tmp_path, call):
    full(tmp_path / "rows.csv").assign(gl="").to_csv(tmp_path / "rows.csv", index=False)
    done = call("validate", tmp_path / "rows.csv")
    assert done.code == 1
    assert re.fullmatch(
        r".*row 2: 'gl' is empty \(and 19 more rows\)\n20 rows, 1 prob.*\n", done.out
    )


def published(folder):
    """Return the row files of a suite's results: every CSV that results/README.md calls no table.

    A lab's file may have any name, and a heading that makes it no file of rows must not hide it.
    """
    layout = (REPOSITORY / "results" / "README.md").read_text().split("```")[1]
    tables = set(re.findall(r"\w+\.csv", layout)) - {"episodes.csv"}
    return [
        path
        for path in sorted(folder.rglob("*.csv"))
        if "checkpoints" not in path.parts and path.name not in tables
    ]


SUITES = [path for path in sorted((REPOSITORY / "results").glob("*")) if published(path)]


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_what_is_published_is_valid(suite):
    # All files of a suite at once: they must go together.
    assert problems(*published(suite))[1] == []


def test_files_of_labs_are_found_whatever_their_name(tmp_path):
    shutil.copy(SUITES[0] / "episodes.csv", tmp_path / "episodes.csv")
    assert problems(*published(tmp_path))[1] == []
    (tmp_path / "leaderboard.csv").write_text("rank,agent\n")
    (tmp_path / "mylab-mine.csv").write_text("agent,task\n")
    with pytest.raises(ShiftBenchError, match=r"mylab-mine.csv: missing columns"):
        problems(*published(tmp_path))
    rows = full(tmp_path / "mylab-mine.csv").assign(gl="", agent="mine")
    rows.to_csv(tmp_path / "mylab-mine.csv", index=False)
    assert "mylab-mine.csv, row 2: 'gl' is empty" in " ".join(problems(*published(tmp_path))[1])
