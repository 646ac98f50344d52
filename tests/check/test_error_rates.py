"""The gate's error rates, by a small seeded version of ``benchmarks/gate.py``."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from shiftbench import stats

TRIALS = 300


@pytest.fixture(scope="module")
def gate():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
        yield importlib.import_module("gate")


@pytest.fixture(scope="module")
def noise(gate):
    return gate.episode_noise(gate.ROWS)


def test_the_noise_is_that_of_the_rows(noise):
    assert noise.mean() == pytest.approx(0.0, abs=1e-9)
    assert 5.0 < noise.std() < 20.0


def test_one_question_about_the_same_checkpoints(gate, noise):
    found = gate.measure(gate.Design(1), noise, TRIALS, seed=1)
    assert found["unchanged"] <= 0.05
    assert found["at_tolerance"] <= 0.05
    assert found["caught"] >= 0.9
    assert found["caught_there"] == pytest.approx(0.8, abs=0.1)


def test_agents_trained_anew_and_several_questions(gate, noise):
    found = gate.measure(gate.Design(3, spread=5.0), noise, 100, seed=2)
    assert found["unchanged"] <= 0.05
    assert found["at_tolerance"] <= 0.05 + 2 * 0.022
    assert found["detectable"] > 10.0  # why a drop of 10 is missed
    assert found["caught"] < 0.8
    assert found["caught_there"] == pytest.approx(0.8, abs=0.15)


def test_the_simulation_finds_a_gate_that_errs(gate, noise, monkeypatch):
    """Without the spread of seeds, agents trained anew set off false alarms."""
    monkeypatch.setattr(stats, "_one_seed", lambda sides: True)
    found = gate.measure(gate.Design(1, spread=5.0), noise, TRIALS, seed=3)
    assert found["at_tolerance"] > 0.1
    assert gate.failures([found], TRIALS)


def test_missed_goals_are_named(gate):
    good = {**gate.Design(1)._asdict(), "unchanged": 0.0, "at_tolerance": 0.05, "caught": 0.95,
            "detectable": 8.0}  # fmt: skip
    assert gate.failures([good], 1000) == []
    assert "without a change" in gate.failures([{**good, "unchanged": 0.06}], 1000)[0]
    assert "at the tolerance" in gate.failures([{**good, "at_tolerance": 0.08}], 1000)[0]
    assert "promised more" in gate.failures([{**good, "caught": 0.8}], 1000)[0]
    assert gate.failures([{**good, "caught": 0.8, "detectable": 11.0}], 1000) == []


def test_the_page_says_what_the_benchmark_prints(gate, noise):
    row = {**gate.Design(1)._asdict(), "unchanged": 0.0, "at_tolerance": 0.05, "caught": 0.95,
           "detectable": 8.0, "caught_there": 0.8}  # fmt: skip
    printed = gate.report([row], noise, 1000, "benchmarks/half_trained.csv")
    page = (Path(__file__).resolve().parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
    assert printed.splitlines()[0] in page  # the heading
    assert printed.splitlines()[-1] in page  # trials, tolerance and noise
    assert np.isfinite(noise).all()
