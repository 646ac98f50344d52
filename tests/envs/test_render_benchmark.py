"""The benchmark of the renderer runs, compares frames and judges; its timings are not judged here.

Also the pages that the benchmarks fill.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "render.py"
PAGE = "before\n<!-- render -->\nold\n<!-- /render -->\nafter\n"


@pytest.fixture
def module(monkeypatch):
    """Import a module of the benchmarks by name, for one test."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    for name in ("goals", "pages", "peers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module


def run(*options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_it_measures_every_family_and_finds_no_bad_frame(tmp_path, mini, module):
    peers: ModuleType = module("peers")
    page, path = tmp_path / "page.md", tmp_path / "r.json"
    page.write_text(PAGE)
    tasks = ["cartpole_balance", "manipulation_reach_site"]
    options = ["--suite", "mini", "--blocks", 1, "--frames", 2, "--size", 64, "--size", 84]
    options += [part for task in tasks for part in ("--task", task)]
    done = run(*options, "--level", "severe", "--json", path, "--out", page)
    assert path.exists(), done.stderr
    record = json.loads(path.read_text())
    rows = record["rows"]
    assert [(row["size"], row["task"]) for row in rows] == [(s, t) for s in (64, 84) for t in tasks]
    shifts = [f"{family}:severe" for family in mini.families]
    for row in rows:
        assert list(row["ms"]) == ["dm_control", "clean", *shifts]
        assert set(row["reset_ms"]) == {"clean", *shifts}
        assert list(row["change_ms"]) == list(row["ratios"]) == shifts
        assert list(row["peers"]["ms"]) == [*peers.BACKGROUNDS, *peers.RESETS]
        assert min(row["ms"].values()) > 0
        assert min(row["peers"]["ms"].values()) > 0
        assert row["faults"] == []
    assert len(record["goals"]) == 2 * (1 + 2 * len(shifts))
    assert page.read_text() == PAGE.replace("old", f"\n{done.stdout.strip()}\n")
    assert done.returncode == int(not all(goal["met"] for goal in record["goals"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level", "none"], "not none"),
        (["--level", "wild"], "unknown level 'wild'"),
        (["--blocks", "0"], "at least 1"),
        (["--out", ROOT / "README.md"], "<!-- render -->"),
    ],
)
def test_bad_input_is_an_error(options, message):
    done = run(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_goals_are_judged_by_means_and_name_the_tasks_that_miss_them(module):
    goals = module("goals")

    def row(task: str, speedup: float, ratio: float, change: float) -> dict:
        ms = {"dm_control": speedup, "clean": 1.0, "texture:severe": ratio}
        return {
            "task": task,
            "size": 64,
            "ms": ms,
            "reset_ms": {},
            "speedup": speedup,
            "ratios": {"texture:severe": ratio},
            "change_ms": {"texture:severe": change},
            "peers": {},
        }

    rows = [row("quick", 40.0, 1.0, 1.0), row("slow", 5.0, 1.44, 11.0)]
    faster, frame, change = judged = goals.judge(rows)
    assert (faster.value, faster.met) == (pytest.approx(200**0.5), True)
    assert (frame.value, frame.met, frame.limit) == (pytest.approx(1.2), True, 1.25)
    assert (change.value, change.met) == (pytest.approx(6.0), False)
    assert [list(goal.missing) for goal in judged] == [["slow"]] * 3
    text = goals.report(rows, judged)
    assert "**6.00**" in text
    assert "**1.20**" not in text
    assert "texture, ms a reset, 64 px severe: slow 11.00" in text


def test_both_ways_of_keying_replace_the_key_alone(module):
    peers = module("peers")
    image = np.full((4, 4, 3), 7, np.uint8)
    image[1, 2] = image[3, 0] = peers.KEY
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    expected = image.copy()
    expected[1, 2], expected[3, 0] = picture[1, 2], picture[3, 0]
    for replace in (peers._loop, peers._mask):
        made = image.copy()
        replace(made, picture)
        assert (made == expected).all()


def test_recompiled_models_have_other_colours_and_the_same_transparency(module):
    peers = module("peers")
    xml = '<a rgba="1 0 0 .3"/><a rgb1="0 .1 .2" rgb2="0 0 0"/><a pos="1 2 3"/>'
    made, assets = peers._recoloured(xml, {"b.xml": b'<a rgba="1 1 1 1"/>', "c": b"\xff"}, _rng())
    assert made.endswith('<a pos="1 2 3"/>')
    assert ' .3"/>' in made
    assert 'rgb1="0 .1 .2"' not in made
    assert assets["b.xml"] != b'<a rgba="1 1 1 1"/>'
    assert assets["c"] == b"\xff"


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_page_of_the_documentation_has_a_place_for_each_benchmark(module):
    for name in ("render", "vector", "memory"):
        module("pages").check(ROOT / "docs" / "performance.md", name)


def test_a_page_without_the_marks_is_an_error(tmp_path, module):
    pages = module("pages")
    for name, text in {"none.md": "text", "turned.md": "<!-- /x --><!-- x -->"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="it needs the lines <!-- x --> and <!-- /x -->"):
            pages.fill(tmp_path / name, "x", "new")
        assert (tmp_path / name).read_text() == text
    with pytest.raises(ValueError, match="No such file"):
        pages.check(tmp_path / "missing.md", "x")
