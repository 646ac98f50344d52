"""The benchmark of the cache runs and judges; its timings are not judged here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "cache.py"


def run(*options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_it_times_whole_updates_and_the_encoders_part(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- cache -->\n<!-- /cache -->\n")
    numbers = tmp_path / "numbers.json"
    done = run(
        "--case", "synth partial", "--blocks", 1, "--no-memory", "--json", numbers, "--out", page
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = json.loads(numbers.read_text())["speed"][0]
    assert row["seconds"]["encoder"] < row["seconds"]["with"]
    assert row["kilobytes_per_frame"] == pytest.approx(5.632)
    assert "synth partial" in page.read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of a process")
def test_it_counts_the_pages_that_are_in_memory():
    done = run("--memory-of", "frozen", "--frames", 2000, "--budget", 1, "--updates", 1)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["stored"] == pytest.approx(8.192)
    assert 0.0 < row["activations"] <= 1.0
    assert row["frames"] > 10.0


@pytest.fixture
def cache(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("cache")


def test_missed_goals_are_named(cache):
    speed = [
        {"case": "a", "speedup": 2.0, "goal": 3.0},
        {"case": "b", "speedup": 1.0, "goal": 0.0, "of_scratch": 0.5},
        {"case": "c", "speedup": 11.0, "goal": 10.0, "of_scratch": 1.5},
    ]
    memory = [{"mode": "frozen", "activations": 300.0}, {"mode": "full", "activations": 0.0}]
    lines = list(cache.missed(speed, memory, 256))
    assert [line.split(":")[0] for line in lines] == ["a", "b", "frozen"]


@pytest.mark.parametrize(
    "options", [["--frames", "10"], ["--case", "nothing"], ["--out", "nowhere.md"]]
)
def test_wrong_options_are_refused(cache, monkeypatch, options):
    monkeypatch.setattr(sys, "argv", ["cache.py", *options])
    with pytest.raises(SystemExit) as end:
        cache.main()
    assert end.value.code == 2
