"""The benchmark of settings learns from real trainings' frames; what it finds is not judged."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import COMMAND

from shiftbench.errors import ShiftBenchError

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "settings.py"


def run(*options: object, code: int = 0) -> subprocess.CompletedProcess:
    """Run a command and check its exit code."""
    done = subprocess.run(
        [*map(str, options)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("settings")


@pytest.mark.slow
def test_each_case_learns_from_one_training_and_is_judged_by_another(tmp_path):
    page, numbers = tmp_path / "page.md", tmp_path / "numbers.json"
    page.write_text("<!-- settings -->\n<!-- /settings -->\n")
    run(
        COMMAND, "train", "--agent", "scratch", "--task", "cartpole_balance", "--steps", 2000,
        "--seed", 0, "--seed", 1, "--out", tmp_path,
    )  # fmt: skip
    trainings = sorted((tmp_path / "train").rglob("seed-?"))
    before = (trainings[0] / "replay" / "state.bin").read_bytes()
    options = "--frames", 200, "--judged", 126, "--replayed", 16, "--jobs", 2
    run(
        sys.executable, SCRIPT, *trainings, *options, "--set", "batch=1 length=8 size=s",
        "--json", numbers, "--out", page,
    )  # fmt: skip
    plain, other = sorted(json.loads(numbers.read_text()), key=lambda row: row["settings"])
    assert (plain["settings"], other["settings"]) == ("", "batch=1 length=8 size=s")
    assert plain["image_error"] != other["image_error"]
    assert 0.0 <= plain["return"] <= 1000.0
    assert 0.0 < plain["least_alive"] < 1.0
    assert all(plain[f"reward_{ahead}"] <= 1.0 for ahead in (0, 1, 4))
    assert "| `batch=1 length=8 size=s` | 1 |" in page.read_text()
    assert (trainings[0] / "replay" / "state.bin").read_bytes() == before

    # The same command computes nothing anew; half of it goes on.
    numbers.write_text(json.dumps([other]))
    again = run(sys.executable, SCRIPT, *trainings, *options, "--json", numbers)
    assert "`batch=1" not in again.stdout
    _, plain_again = json.loads(numbers.read_text())
    assert plain_again["image_error"] == plain["image_error"]

    failed = run(sys.executable, SCRIPT, *trainings, "--frames", 9999, code=2)
    assert "9999 frames are asked for, the first of 252 collected" in failed.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("batsh=4", "unknown setting 'batsh' for --set. Did you mean 'batch'?"),
        ("batch", "'batch' is not NAME=VALUE"),
        ("batch=four", "'four' is no value"),
    ],
)
def test_a_case_that_is_none_is_named(settings, text, says):
    with pytest.raises((ShiftBenchError, ValueError), match=re.escape(says)):
        settings.parsed(text)


def test_what_is_explained(settings):
    true = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert settings.explained(true, true) == 1.0
    assert settings.explained(true.mean().expand(4), true) == 0.0
    assert settings.explained(true + 1.0, true) == pytest.approx(0.2)
