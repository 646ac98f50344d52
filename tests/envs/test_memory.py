"""Frames under every family cost no lasting memory, and the benchmark that says so sees a leak."""

from __future__ import annotations

import importlib.util
import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from shiftbench.registry import FAMILIES
from shiftbench.shifts.base import ShiftFamily

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "memory.py"


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("memory", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_memory_of_a_process_stays_what_it_was(tmp_path, memory):
    path = tmp_path / "memory.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--frames", "1500", "--per-reset", "20", "--json", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(path.read_text())
    assert (found["frames"], found["resets"]) == (1500, 75)
    assert 0 <= found["growth"] < memory.MAX_GROWTH
    # More than those where a plugin adds some.
    assert set(found["families"]) >= set(FAMILIES._builtin)


class Leak(ShiftFamily):
    """Keeps four megabytes of every episode, of memory that nothing else has used."""

    def __init__(self):
        self.kept = []

    def apply(self, scene, severity, rng):
        self.kept.append(mmap.mmap(-1, 4_000_000))
        self.kept[-1].write(bytes(4_000_000))


def test_a_leak_is_found_and_named(memory, cartpole, monkeypatch):
    tame = ShiftFamily
    monkeypatch.setattr(FAMILIES, "_targets", {"tame": tame, "leak": Leak})
    monkeypatch.setattr(memory, "WARM_UP", 40)
    found = memory.measure(cartpole, frames=120, per_reset=2)
    assert found["resets"] == 60
    assert found["growth"] > 60
    assert found["families"]["leak"] > 60
    assert found["families"]["tame"] < 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "1000"], "--frames must be above 1000"),
        (["--per-reset", "500"], "--per-reset"),
        (["--task", "finger"], "unknown task 'finger'"),
    ],
)
def test_bad_input_is_an_error(options, message):
    done = subprocess.run(
        [sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
