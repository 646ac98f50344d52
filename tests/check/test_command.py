"""`shiftbench check` as it is called: exit codes, what is written, and what stops it."""

from __future__ import annotations

import json
from pathlib import Path

import junitparser
import pytest

SHORT = "agent,task,family,level,train_seed,episode,return,score,suite\n"


def write(path: Path, score: float, *, agent="mine", level="none", count=6, suite="mini") -> Path:
    family = "none" if level == "none" else "texture"
    lines = [
        f"{agent},cartpole_balance,{family},{level},0,{i},1,{score + i % 3},{suite}\n"
        for i in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SHORT + "".join(lines))
    return path


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "base.csv", 50.0)


@pytest.fixture
def gate(call, base):
    def gate(candidate, *flags):
        return call("check", "--baseline", base, "--candidate", candidate, *flags)

    return gate


@pytest.fixture
def refused(gate, tmp_path):
    """Call it with what must be refused: one line, exit code 2, nothing written."""

    def refused(*arguments):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        done = gate(*arguments, "--junit", tmp_path / "j.xml", "--markdown", tmp_path / "m.md")
        assert (done.code, done.out) == (2, ""), done
        assert done.err.startswith("Error: ")
        assert done.err.count("\n") == 1
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return done.err

    return refused


def test_a_file_against_itself_passes(gate, base):
    done = gate(base)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("pass: no drop of more than 5 points")


def test_exit_codes_and_files(gate, base, tmp_path):
    worse, less = write(tmp_path / "worse.csv", 30.0), write(tmp_path / "less.csv", 50.0, count=3)
    for candidate, code, word in ((base, 0, "pass"), (worse, 1, "regression"),
                                  (less, 3, "incomplete")):  # fmt: skip
        junit, page = tmp_path / "new" / f"{code}.xml", tmp_path / f"{code}.md"
        done = gate(candidate, "--json", "--junit", junit, "--markdown", page)
        assert done.code == code
        document = json.loads(done.out)
        assert (document["verdict"], document["exit_code"]) == (word, code)
        assert done.err.splitlines() == [f"written: {junit}", f"written: {page}"]
        assert word in page.read_text()
        (suite,) = junitparser.JUnitXml.fromfile(str(junit))
        assert (suite.failures, suite.errors) == (int(code == 1), int(code == 3))


def test_options_reach_the_judgement(gate, tmp_path):
    worse = write(tmp_path / "worse.csv", 40.0)
    assert gate(worse, "--max-drop", "20").code == 0
    assert gate(worse, "--min-seeds", "2").code == 3
    assert gate(worse, "--confidence", "0.99", "--json").out.count('"confidence": 0.99') == 1
    assert gate(worse, "--episodes", "5", "--seed", "0", "--level", "none").code == 1
    assert gate(worse, "--episodes", "4", "--seed", "0", "--level", "none").code == 3
    other = write(tmp_path / "other.csv", 40.0, agent="new")
    assert gate(other).code == 3
    assert gate(other, "--baseline-agent", "mine", "--candidate-agent", "new").code == 1


def test_folders_and_several_files_are_read(gate, base, tmp_path):
    write(tmp_path / "rows" / "one.csv", 50.0)
    write(tmp_path / "rows" / "two.csv", 50.0, level="severe")
    done = gate(tmp_path / "rows")
    assert done.code == 0
    assert "not compared, since the baseline has none: shifts texture:severe" in done.out
    done = gate(tmp_path / "rows" / "*.csv", "--baseline", tmp_path / "rows" / "two.csv")
    assert [line.split()[1] for line in done.out.splitlines()[1:3]] == ["none", "texture:severe"]


def test_anchors_of_ones_own_give_the_scores(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heading = "agent,task,family,level,train_seed,episode,return\n"
    for name, value in {"old": 8, "new": 6}.items():
        lines = [f"mine,chess,none,none,0,{i},{value + i % 2}\n" for i in range(6)]
        (tmp_path / f"{name}.csv").write_text(heading + "".join(lines))
    (tmp_path / "anchors.toml").write_text("[chess]\nrandom = 0\nreference = 10\n")
    gate = ("check", "--baseline", "old.csv", "--candidate", "new.csv")
    assert "anchors of 'chess'" in call(*gate).err
    done = call(*gate, "--anchors", "anchors.toml", "--json")
    assert (done.code, json.loads(done.out)["comparisons"][0]["drop"]) == (1, 20.0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--level", "nnoe"), ["unknown level 'nnoe' for --level", "mean 'none'"]),
        (("--family", "colour"), ["unknown family 'colour' for --family", "Valid: none"]),
        (("--agent", "mien"), ["unknown agent 'mien' for --agent", "mean 'mine'"]),
        (("--task", "cartpole"), ["unknown task 'cartpole' for --task", "cartpole_balance"]),
        (("--seed", "3"), ["unknown seed '3'"]),
        (("--max-drop", "-1"), ["'--max-drop'"]),
        (("--max-drop", "nan"), ["'--max-drop'", "not a finite number"]),
        (("--max-drop", "inf"), ["'--max-drop'", "not a finite number"]),
        (("--confidence", "95"), ["'--confidence'"]),
        (("--confidence", "nan"), ["'--confidence'"]),
        (("--confidence", "0.5"), ["'--confidence'"]),
        (("--min-seeds", "0"), ["'--min-seeds'"]),
        (("--baseline-agent", "mine"), ["go together"]),
        (("--baseline-agent", "mine", "--candidate-agent", "x"), ["'x' for --candidate-agent"]),
        (
            ("--agent", "mine", "--baseline-agent", "mine", "--candidate-agent", "mine"),
            ["--agent does not go with"],
        ),
        (("--baseline", "nowhere"), ["nowhere: no such file"]),
        (("--baseline", ""), ["the path is empty"]),
    ],
)
def test_bad_options_are_refused(refused, base, flags, expected):
    line = refused(base, *flags)
    for part in expected:
        assert part in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (SHORT + "mine,cartpole_balance,none,none,0,0,nan,1,\n", "row 2: 'return' is 'nan'"),
        ("agent,task,episode\nmine,x,0\n", "missing columns family, level, train_seed, return"),
        ("", "missing columns"),
        (SHORT, "no rows"),
        (SHORT + 2 * "mine,cartpole_balance,none,none,0,0,1,1,\n", "the same key twice"),
        (SHORT + "mine,cartpole_balance,none,none,0,0,1,1,core\n", "suite 'mini', the candidate"),
    ],
)
def test_bad_rows_are_refused(refused, tmp_path, content, expected):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert expected in refused(path)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is(gate, base, tmp_path):
    done = gate(base, "--junit", tmp_path / "j.xml", "--markdown", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "--markdown" in done.err
    assert not (tmp_path / "j.xml").exists()
    done = gate(base, "--junit", tmp_path / "j.xml", "--markdown", base / "m.md")
    assert (done.code, (tmp_path / "j.xml").exists()) == (2, False)


def test_what_is_read_or_written_already_is_not_written_over(call, base, tmp_path):
    before = base.read_bytes()
    other = write(tmp_path / "other.csv", 50.0)
    both = ("check", "--baseline", base, "--candidate", other)
    for flags in (("--markdown", base), ("--junit", other), ("--junit", "x", "--markdown", "x")):
        done = call(*both, *flags)
        assert (done.code, done.out) == (2, "")
        assert done.err.endswith(f"{flags[-1]}: read or written by this command already\n")
    assert base.read_bytes() == before
    assert not (tmp_path / "x").exists()


def test_anchors_and_tasks_are_not_written_over(gate, base, tmp_path):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for flag, given, path in (
        ("--anchors", tmp_path / "anchors.toml", tmp_path / "anchors.toml"),
        ("--tasks-dir", tasks, tasks / "mine.toml"),
    ):
        path.write_text("own = 1\n")
        done = gate(base, flag, given, "--junit", path)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"Error: --junit {path}: read or written by this command already\n"
        assert path.read_text() == "own = 1\n"
