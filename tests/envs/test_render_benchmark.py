"""The benchmark of the renderer runs and compares frames; its timings are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "render.py"


def test_it_measures_every_family_and_finds_no_bad_frame(tmp_path, mini):
    options = ["--blocks", "1", "--frames", "3", "--json", tmp_path / "r.json"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *options, "--out", tmp_path / "r.md"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["task"] for row in rows] == list(mini.tasks)
    for row in rows:
        assert set(row["ms"]) == {"clean", "dm_control", *mini.families}
        assert min(row["ms"].values()) > 0
        assert not [fault for fault in row["faults"] if "blank" in fault or "correlate" in fault]
    assert (tmp_path / "r.md").read_text() == done.stdout
    assert done.stdout.count("\n| ") == 1 + len(mini.tasks)
    assert done.returncode == int(any(row["faults"] for row in rows))


def test_a_bad_level_is_an_error():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--level", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not none" in done.stderr
