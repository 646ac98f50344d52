import errno
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from shiftbench import provenance, results
from shiftbench.errors import ShiftBenchError

REPOSITORY = Path(__file__).parents[1]

#: The seven columns that a file must have, on a shipped task.
SHORT = "agent,task,family,level,train_seed,episode,return\n"
ROW = "mine,cartpole_balance,none,none,0,0,500.0\n"


def row(**changes):
    return {
        "agent": "scratch", "task": "cartpole_balance", "family": "texture", "level": "severe",
        "train_seed": 0, "episode": 0, "return": 500.0, "score": 33.0, "severity": 0.75,
        "length": 1000, "schema": results.SCHEMA, "suite": "mini", "suite_version": 1,
        "task_version": 1, "image_size": 64, "render": "fast", "train_steps": 20000,
        "checkpoint": "ab", "shift_hash": "cd", **changes,
    }  # fmt: skip


def write(folder, *rows, name="rows.csv"):
    results.write_rows(folder / name, rows)
    return folder / name


def text(folder, content, name="rows.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- what is written is what is read ------------------------------------------------------------


def test_floats_round_trip_exactly(tmp_path):
    returns = [1 / 3, 0.1 + 0.2, 5e-324, 1e100, -987.6543210987654, 0.0]
    path = write(
        tmp_path, *(row(episode=i, **{"return": r, "score": -r}) for i, r in enumerate(returns))
    )
    read = results.read_rows([path])
    assert read["return"].tolist() == returns
    assert read["score"].tolist() == [-r for r in returns]
    again = tmp_path / "again.csv"
    results.write_rows(again, read.to_dict("records"))
    assert again.read_text() == path.read_text()


def test_every_column_comes_back_with_its_type(tmp_path):
    read = results.read_rows([write(tmp_path, row())])
    assert list(read) == [column.name for column in results.COLUMNS]
    for column in results.COLUMNS:
        kind = read[column.name].dtype
        expected = {
            "str": pd.api.types.is_string_dtype(kind),
            "int": pd.api.types.is_integer_dtype(kind),
            "float": pd.api.types.is_float_dtype(kind),
        }[column.kind]
        assert expected, (column.name, kind)
    assert read.loc[0, "gl"] == ""  # what the row did not say
    assert read.loc[0, "image_size"] == 64


def test_the_readme_documents_exactly_the_columns():
    readme = (REPOSITORY / "results" / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)` \| (str|int|float) \| (yes|no) \| (.+) \|$", readme, re.M)
    assert found == [
        (c.name, c.kind, "yes" if c.required else "no", c.doc) for c in results.COLUMNS
    ]


def test_the_readme_documents_the_tables():
    from shiftbench.report.pairs import COMPARISONS
    from shiftbench.report.tables import FAMILIES, LEADERBOARD

    readme = (REPOSITORY / "results" / "README.md").read_text(encoding="utf-8")
    documented = {"leaderboard": LEADERBOARD, "families": FAMILIES, "comparisons": COMPARISONS}
    for name, columns in documented.items():
        section = readme.split(f"## {name}.csv\n")[1].split("\n## ")[0]
        assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.M)) == columns


# -- files made by others -----------------------------------------------------------------------


def test_seven_columns_are_enough(tmp_path, tasks):
    path = text(tmp_path, SHORT + ROW + "mine,cartpole_balance,texture,severe,0,0,1000\n")
    read = results.read_rows([path])
    assert read["score"].tolist() == [tasks["cartpole_balance"].score(500.0), 100.0]
    assert read["severity"].tolist() == [0.0, 0.75]


def test_column_order_extra_columns_and_a_mark_of_spreadsheets_do_not_matter(tmp_path):
    content = "\ufeffepisode,extra,return,agent,task,family,level,train_seed\n" + (
        "4,hello,7.5,mine,cartpole_balance,none,none,3\n\n"
    )
    read = results.read_rows([text(tmp_path, content)])
    assert (read.loc[0, "episode"], read.loc[0, "return"], read.loc[0, "train_seed"]) == (4, 7.5, 3)
    assert "extra" not in read


def with_column(name, *values):
    """Return a file with a row for each value of another column."""
    rows = [ROW.replace(",0,0,", f",0,{i},").strip() + f",{v}\n" for i, v in enumerate(values)]
    return SHORT.replace("\n", f",{name}\n") + "".join(rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "missing columns agent, task"),
        (SHORT, "a heading, but no rows"),
        ("agent,task,episode\nmine,x,0\n", "missing columns family, level, train_seed, return"),
        (SHORT + ROW + ROW.replace("500.0", "many"), "row 3: 'return' is 'many', not a finite"),
        (SHORT + ROW.replace("500.0", "nan"), "row 2: 'return' is 'nan', not a finite number"),
        (with_column("severity", "1.5"), "row 2: severity 1.5 of level 'none': severities lie in"),
        (
            with_column("severity", "0.5"),
            "row 2: severity 0.5 of.*clean episodes is 0",
        ),
        (
            with_column("score", "99", ""),
            "row 2: score 99, where the anchors.*a score, or none",
        ),
        (SHORT + ROW.replace("500.0", "-inf"), "row 2: 'return' is '-inf', not a finite number"),
        (SHORT + ROW.replace("500.0", ""), "row 2: 'return' is empty"),
        (SHORT + ROW.replace(",0,0,", ",0,1.5,"), "row 2: 'episode' is '1.5', not a whole number"),
        (SHORT + ROW.replace(",0,0,", ",1e300,0,"), "'train_seed' is '1e300', not a whole number"),
        (SHORT + ROW.replace("500.0", "1e308"), "row 2: 'return' is '1e308', not a finite number"),
        (SHORT + ROW.replace(",0,0,", ",0,-1,"), "'episode' is '-1', not a whole number from 0"),
        (SHORT + ROW.replace(",0,0,", ",zero,0,"), "'train_seed' is 'zero', not a whole number"),
        (SHORT + "\n" + ROW + "mine,cartpole_ba", "row 4: 2 fields, the heading has 7"),
        (SHORT + ROW.replace("\n", ",1\n"), "row 2: 8 fields, the heading has 7"),
        (SHORT.replace("task", "agent,task"), "more than one column 'agent'"),
        (SHORT + ROW.replace("none,none", "none,severe"), "row 2: family 'none' with level 'sev"),
        (SHORT + ROW.replace("none,none", "texture,hard"), "row 2: no severity for level 'hard'"),
        (SHORT + ROW.replace("cartpole_balance", "chess"), "row 2: no score.*anchors of 'chess'"),
        (SHORT.encode() + b"m\xe9,x,none,none,0,0,1\n", "not a readable CSV file"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a readable CSV file"),
        (SHORT + '"mine,cartpole', "not a readable CSV file"),
    ],
)
def test_bad_files_are_refused_by_name_and_row(tmp_path, content, message):
    path = text(tmp_path, content)
    with pytest.raises(ShiftBenchError, match=message) as error:
        results.read_rows([path])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_newer_schema_is_refused_and_older_read(tmp_path):
    newer = write(tmp_path, row(schema=results.SCHEMA + 1))
    with pytest.raises(ShiftBenchError, match="schema 2 is newer than this shiftbench's 1"):
        results.read_rows([newer])
    assert len(results.read_rows([write(tmp_path, row(schema=0))])) == 1


def test_scores_need_anchors_of_the_same_version(tmp_path):
    path = write(tmp_path, row(score="", task_version=99))
    with pytest.raises(ShiftBenchError, match="'cartpole_balance' version 99"):
        results.read_rows([path])


def test_duplicate_keys_name_both_files_and_the_difference(tmp_path):
    one = write(tmp_path, row(), row(episode=1), name="one.csv")
    two = write(tmp_path, row(episode=2), row(episode=1, checkpoint="ef"), name="two.csv")
    with pytest.raises(ShiftBenchError, match="the same key twice") as error:
        results.read_rows([one, two])
    message = str(error.value)
    assert f"{one}, row 3 and {two}, row 3" in message
    assert "episode 1" in message
    assert "differ in checkpoint)" in message


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "core"},
        {"suite_version": 2},
        {"task_version": 2},
        {"image_size": 84},
        {"render": "dm_control"},
        {"severity": 0.8},
    ],
)
def test_rows_of_different_versions_are_not_comparable(tmp_path, change):
    one = write(tmp_path, row(), name="one.csv")
    two = write(tmp_path, row(agent="other", **change), name="two.csv")
    with pytest.raises(ShiftBenchError, match="not comparable, report them apart") as error:
        results.read_rows([one, two])
    assert str(one) in str(error.value)
    assert str(two) in str(error.value)
    assert next(iter(change)) in str(error.value)


def test_rows_without_versions_go_with_any(tmp_path):
    ours = write(tmp_path, row(score=31.67))  # as the anchors have it
    theirs = text(tmp_path, SHORT + ROW, "theirs.csv")
    assert len(results.read_rows([ours, theirs])) == 2
    # but not as a way around the check for duplicates
    same = ROW.replace("mine", "scratch").replace("none,none", "texture,severe")
    with pytest.raises(ShiftBenchError, match="the same key twice"):
        results.read_rows([ours, text(tmp_path, SHORT + same, "theirs.csv")])


# -- folders and globs --------------------------------------------------------------------------


def test_a_folder_is_searched_for_rows_only(tmp_path):
    write(tmp_path / "cells" / "a", row())
    write(tmp_path / "cells" / "b", row(episode=1))
    text(tmp_path, "agent,level,score\nx,none,1\n", "leaderboard.csv")
    text(tmp_path, "agent,task,family,level,return,score,seeds,episodes\n", "families.csv")
    text(tmp_path, "env_steps,eval_return\n1,2\n", "curve.csv")
    text(tmp_path, "", "empty.csv")
    (tmp_path / "folder.csv").mkdir()
    assert results.read_rows([tmp_path])["episode"].tolist() == [0, 1]


def test_a_broken_row_file_in_a_folder_is_not_passed_over(tmp_path):
    write(tmp_path, row())
    broken = text(tmp_path, "agent,task,level,train_seed,episode,return\n", "broken.csv")
    with pytest.raises(ShiftBenchError, match=f"{broken}: missing columns family"):
        results.read_rows([tmp_path])


@pytest.mark.parametrize("name", ["nothing", "*.json", "no/such/file.csv"])
def test_no_such_file(tmp_path, name):
    with pytest.raises(ShiftBenchError, match="no such file or folder"):
        results.read_rows([tmp_path / name])


def test_a_folder_without_rows(tmp_path):
    text(tmp_path, "agent,level,score\nx,none,1\n", "leaderboard.csv")
    with pytest.raises(ShiftBenchError, match=f"{tmp_path}: holds no CSV file with rows"):
        results.read_rows([tmp_path])
    with pytest.raises(ShiftBenchError, match="no row files"):
        results.read_rows([])


def test_globs_and_a_file_named_twice(tmp_path, monkeypatch):
    write(tmp_path / "mini-v1", row())
    write(tmp_path / "mini-v1", row(episode=1), name="more.csv")
    assert len(results.read_rows([tmp_path / "*" / "*.csv"])) == 2
    assert len(results.read_rows([tmp_path / "mini-*"])) == 2
    monkeypatch.chdir(tmp_path)
    relative = Path("mini-v1/rows.csv")
    assert len(results.read_rows([relative, tmp_path / relative, Path("**/r*.csv")])) == 1


# -- cells --------------------------------------------------------------------------------------

CELL = results.Cell(
    suite="mini", suite_version=1, task="cartpole_balance", task_version=1, agent="scratch",
    train_seed=0, checkpoint="ab", family="texture", level="severe", severity=0.75,
    shift_hash="cd", image_size=64, render="fast", episodes=10,
)  # fmt: skip


@pytest.mark.parametrize("field", results.Cell.__struct_fields__)
def test_every_field_changes_the_address(field):
    value = getattr(CELL, field)
    other = value + "x" if isinstance(value, str) else value + 1
    assert msgspec.structs.replace(CELL, **{field: other}).path(Path()) != CELL.path(Path())


def test_addresses_stay_what_they_were():
    """A change of this name makes every finished cell on every disk unfinished."""
    assert CELL.path(Path("runs")).as_posix() == (
        "runs/mini-v1/cells/cartpole_balance-v1/scratch/texture-severe-seed0-5c3826449a.csv"
    )


def test_agents_whose_names_look_alike_as_files_have_cells_apart():
    names = ["a+encoder=timm:x", "a+encoder=timm_x", "b" * 300 + "1", "b" * 300 + "2"]
    paths = {msgspec.structs.replace(CELL, agent=name).path(Path()) for name in names}
    assert len(paths) == 4
    assert all(len(part) < 200 for path in paths for part in path.parts)


# -- whole or not at all ------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write(tmp_path, row())
    before = path.read_bytes()

    class Full(dict):
        def get(self, *_):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ShiftBenchError, match="cannot be written.*No space left"):
        results.write_rows(path, [row(episode=1), Full(row(episode=2))])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def test_an_unknown_column_is_a_mistake_in_the_program(tmp_path):
    with pytest.raises(ValueError, match="reward"):
        results.write_rows(tmp_path / "rows.csv", [row(reward=1.0)])
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder(tmp_path):
    text(tmp_path, "", "file")
    with pytest.raises(ShiftBenchError, match=r"file/rows\.csv: cannot be written"):
        results.write_rows(tmp_path / "file" / "rows.csv", [row()])


# -- provenance ---------------------------------------------------------------------------------


def test_versions_are_columns_and_import_nothing_heavy():
    code = (
        "import sys; from shiftbench import provenance; print(provenance.versions());"
        "sys.exit(bool({'torch', 'mujoco', 'dm_control', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(provenance.versions()) <= set(results.KINDS)
    assert re.fullmatch(r"([0-9a-f]{40}\+?)?", provenance.versions()["commit"])
    assert all(provenance.versions()[name] for name in ("shiftbench", "mujoco", "torch", "python"))


def test_shift_hash_tells_sources_and_severities(tmp_path, monkeypatch):
    (tmp_path / "lonely_shift.py").write_text("class Family:\n    strength = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    from lonely_shift import Family

    from shiftbench.shifts.texture import Texture

    assert provenance.shift_hash(None, 0.0) == ""
    mild, severe, other = (
        provenance.shift_hash(*pair) for pair in [(Texture, 0.25), (Texture, 0.75), (Family, 0.75)]
    )
    assert len({mild, severe, other}) == 3
    assert re.fullmatch("[0-9a-f]{12}", severe)
    assert severe == provenance.shift_hash(Texture, 0.75)
    (tmp_path / "stranger.py").write_text("")  # beside a lone module: not its source
    assert provenance.shift_hash(Family, 0.75) == other
    (tmp_path / "lonely_shift.py").write_text("class Family:\n    strength = 2\n")
    assert provenance.shift_hash(Family, 0.75) != other


def test_an_agent_of_nearly_the_same_name_replaces_nothing(tmp_path):
    def cell(agent: str) -> tuple[results.Cell, Path]:
        made = msgspec.convert(
            {**row(agent=agent), "episodes": 1}, results.Cell, strict=False, from_attributes=False
        )
        return made, made.path(tmp_path)

    cells = [cell("my:agent"), cell("my_agent"), cell("my/agent")]
    for made, path in cells:
        results.write_rows(path, [row(agent=made.agent)])
        assert results.put_in_force({made: path}) == 1
    assert all(path.exists() for _, path in cells)
    assert len({path.parent for _, path in cells}) == 2
    assert results.file_name("pvm-full+encoder=timm:vit_tiny") == "pvm-full+encoder=timm_vit_tiny"
