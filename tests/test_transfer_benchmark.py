"""The benchmark of transfer runs, reads positions and judges; how well is not judged here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shiftbench import encoders
from shiftbench.encoders import synth
from shiftbench.probe import measures, states

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "transfer.py"
PAGE = "before\n<!-- transfer -->\nold\n<!-- /transfer -->\nafter\n"


@pytest.fixture
def module(monkeypatch):
    """Import a module of the benchmarks by name, for one test."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module


@pytest.fixture
def transfer(module):
    return module("transfer")


@pytest.fixture(scope="module")
def squares() -> states.States:
    """States in which a white square is the only thing that moves."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 52, (192, 2))
    frames = np.full((192, 64, 64, 3), 60, np.uint8)
    for frame, (row, column) in zip(frames, corners, strict=True):
        frame[row : row + 12, column : column + 12] = 250
    return states.States(frames, corners.astype(np.float32), frames[..., 0] > 100)


@pytest.mark.slow
def test_it_compares_files_of_weights_on_paired_frames(tmp_path):
    page, path = tmp_path / "page.md", tmp_path / "numbers.json"
    page.write_text(PAGE)
    options = ["--task", "cartpole_balance", "--shift", "combined:severe", "--frames", 64]
    options += ["--epochs", 1, "--states", 8, "--seeds", 2, "--json", path, "--out", page]
    options += [f"--weights={name}={synth.WEIGHTS['synth-2']}" for name in ("one", "two")]
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, options)],
        capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    record = json.loads(path.read_text())
    assert done.returncode == int(any(g["judged"] and not g["met"] for g in record["goals"]))
    assert len(done.stderr.splitlines()) == sum(
        goal["judged"] and not goal["met"] for goal in record["goals"]
    )
    rows = {(row["shift"], row["arm"]): row for row in record["rows"]}
    assert len(rows) == 2 * 9
    for row in rows.values():
        assert row["r2"] == pytest.approx(np.mean(row["seeds"]))
        assert row["low"] <= row["r2"] <= row["high"]
    # Equal weights and seeds give equal numbers.
    for shift in ("clean", "combined:severe"):
        ones, twos = (rows[shift, f"synth-2 partial, {name}"]["seeds"] for name in ("one", "two"))
        assert ones == twos
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "\nold\n" not in text
    assert done.stdout.strip() in text


@pytest.mark.parametrize(
    "name", ["synth-2 frozen", "synth-2 partial", "synth frozen", "cnn", "synth scratch-aug"]
)
def test_every_arm_learns_where_a_square_is(name, squares, module):
    transfer = module("transfer")
    arm = {**transfer.PRETRAINED, **transfer.BASELINES, **transfer.OTHERS}[name]
    reader = module("readers").Reader(arm, squares, epochs=12, seed=1)
    read = reader.read(squares.frames)
    assert measures.explained(read, squares.positions) > 0.5
    assert (read >= squares.positions.min(0)).all()
    assert (read <= squares.positions.max(0)).all()


def test_only_what_the_mode_says_is_trained(squares, module):
    transfer, readers = module("transfer"), module("readers")
    before = encoders.build("synth-2").module.state_dict()
    few = states.States(*(part[:64] for part in (squares.frames, squares.positions, squares.agent)))
    changed = {}
    for name, arm in transfer.PRETRAINED.items():
        after = readers.Reader(arm, few, epochs=1, seed=0).encoder.module.state_dict()
        changed[name] = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed["synth-2 frozen"] == []
    blocks = {key.split(".")[1] for key in changed["synth-2 partial"]}
    assert blocks == {"stage3_4", "stage3_5", "stage3_6", "neck"}
    assert not any("running" in key for key in changed["synth-2 partial"])


def test_the_scores_of_episodes_average_to_r2(transfer):
    rng = np.random.default_rng(0)
    true = np.concatenate([rng.normal(size=(40, 2)), np.ones((40, 1))], 1)
    read = true + rng.normal(size=true.shape)
    own = transfer.scores(read, true)
    assert own.shape == (40 // transfer.LOOKS,)
    assert own.mean() == pytest.approx(measures.explained(read, true))


def test_goals_are_missed_where_the_interval_holds_zero(transfer):
    rng = np.random.default_rng(0)
    levels = {"good": 0.8, "bad": 0.3, "cnn": 0.3, "synth scratch": 0.3}
    levels |= dict.fromkeys(transfer.OTHERS, 0.9)
    own = {arm: level + rng.normal(0, 0.1, (3, 20)) for arm, level in levels.items()}
    goals = transfer.compare({"task": {"clean": own, "texture:severe": own}}, ["good", "bad"])
    assert {goal.shift for goal in goals} == {"texture:severe"}
    assert {(goal.arm, goal.other) for goal in goals if goal.judged and not goal.met} == {
        ("bad", "cnn"), ("bad", "synth scratch"),
    }  # fmt: skip
    assert [line.split(" is ")[0] for line in transfer.missed(goals)] == ["texture:severe: bad"] * 2


@pytest.mark.parametrize(
    "options",
    [
        ["--states", "6"],
        ["--seeds", "0"],
        ["--shift", "texture"],
        ["--weights", "nowhere.safetensors"],
        ["--out", "nowhere.md"],
    ],
)
def test_wrong_options_are_refused(transfer, monkeypatch, options):
    monkeypatch.setattr(sys, "argv", ["transfer.py", *options])
    with pytest.raises(SystemExit) as end:
        transfer.main()
    assert end.value.code == 2
