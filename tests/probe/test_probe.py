"""The command `probe`, on the shipped agents and few states."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support import MINE
from torch import nn

from shiftbench import checkpoints, encoders, jobs, plan, results
from shiftbench.agents import resolve
from shiftbench.encoders import Encoder
from shiftbench.envs.pixels import PixelEnv
from shiftbench.probe import encoding, measures, scenes, states, tables
from shiftbench.probe.run import NO_MAP
from shiftbench.specs import Shift

REPOSITORY = Path(__file__).resolve().parents[2]
CARTPOLE = ("probe", "--task", "cartpole_balance", "--states", "8")
BOTH = (*CARTPOLE, "--agent", "scratch", "--agent", "pvm-partial", "--shift", "texture:severe")


def silent(count: int) -> None:
    """Hear nothing."""


@pytest.fixture(scope="module")
def synth() -> Encoder:
    encoder = encoders.build("synth")
    encoder.module.eval()
    return encoder


@pytest.fixture
def env(cartpole):
    env = PixelEnv(cartpole)
    yield env
    env.close()


def policy(path: Path, name: str, task, suite) -> Path:
    """Write the policy of an agent that has learned nothing."""
    run = plan.runs(suite, [task], [resolve(name)], [0], path.parent)[0]
    agent = jobs.make_agent(run, 1, "cpu")
    agent.begin(0)
    agent.save(path)
    return path


# -- what is looked at ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "agent"),
    [
        ("cartpole_balance", {"cart", "pole_1"}),
        ("ball_in_cup_catch", {f"cup_part_{i}" for i in range(5)}),
        ("finger_spin", {"proximal_decoration", "proximal", "distal", "fingertip"}),
        ("reacher_easy", {"arm", "hand", "finger"}),
    ],
)
def test_the_agent_is_what_its_actuators_move(tasks, task, agent):
    env = PixelEnv(tasks[task])
    clean = env.reset(3)
    seen = np.unique(env.geoms()[states.agent_geoms(env.physics)[env.geoms()]])
    names = {env.physics.model.geom(int(i)).name for i in seen}
    assert np.array_equal(env.draw(), clean)  # looking leaves no trace
    env.close()
    assert names == agent


def test_states_are_paired_over_shifts_and_follow_their_seed(env):
    clean, again, shifted, other = (
        states.draw(env, "test", seed, 6, Shift.one(shift), silent)
        for seed, shift in ((0, "none"), (0, "none"), (0, "texture:severe"), (1, "none"))
    )
    assert clean.frames.shape == (6, 64, 64, 3)
    assert np.array_equal(clean.frames, again.frames)
    assert np.array_equal(clean.positions, shifted.positions)
    assert np.array_equal(clean.agent, shifted.agent)
    assert clean.agent.any((1, 2)).all()
    assert not np.array_equal(clean.frames, shifted.frames)
    assert not np.array_equal(clean.positions, other.positions)


def test_a_mask_moves_with_the_camera(env):
    clean, moved = (
        states.draw(env, "test", 0, 4, Shift.one(shift), silent).agent
        for shift in ("none", "camera:extreme")
    )
    assert not np.array_equal(clean, moved)


def test_labels_are_balanced_and_right():
    drawn = scenes.draw(0, 10, silent)
    assert np.bincount(drawn.labels).tolist() == [3, 3, 2, 2]
    assert np.array_equal(drawn.frames, scenes.draw(0, 10, silent).frames)
    assert not np.array_equal(drawn.frames, scenes.draw(1, 10, silent).frames)
    mask = np.zeros((64, 64), bool)
    mask[40:44, 4:8] = True
    assert scenes.quarter(mask) == 2
    assert scenes.quarter(mask.T) == 1
    assert scenes.quarter(np.ones((64, 64), bool)) is None


# -- what encoders make of it ---------------------------------------------------------------------


def test_synth_tells_positions_and_labels_and_a_constant_does_not(env, synth):
    fit = states.draw(env, "fit", 0, 240, Shift.clean(), silent, every=1)
    test = states.draw(env, "test", 0, 60, Shift.clean(), silent)
    features, _ = encoding.encode(synth, fit.frames, silent)
    readout = measures.Readout(features, fit.positions)
    read = readout.read(encoding.encode(synth, test.frames, silent)[0])
    constant = measures.Readout(np.ones_like(features), fit.positions)
    nothing = constant.read(np.ones((60, features.shape[1]), np.float32))
    assert measures.explained(nothing, test.positions) < 0.05
    assert measures.explained(read, test.positions) > 0.5

    drawn = scenes.draw(0, 400, silent)
    known, asked = np.split(encoding.encode(synth, drawn.frames, silent)[0], [320])
    labels, answers = np.split(drawn.labels, [320])
    assert measures.knn_accuracy(known, labels, asked, answers) > 0.5
    shuffled = np.random.default_rng(0).permutation(labels)
    assert measures.knn_accuracy(known, shuffled, asked, answers) < 0.4


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("cnn", {}, (4, 4)),
        ("synth", {}, (8, 8)),
        ("timm:mobilenetv4_conv_small_035", {"input_size": 64}, (2, 2)),
        ("timm:vit_tiny_patch16_224", {"input_size": 48, "features": "pooled"}, (3, 3)),
        ("timm:convnext_atto", {"input_size": 64, "features": "pooled"}, (2, 2)),
    ],
)
def test_every_kind_of_encoder_has_a_map(name, options, shape):
    encoder = encoders.build(name, pretrained=False, **options)
    encoder.module.eval()
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    features, activity = encoding.encode(encoder, frames, silent)
    assert features.shape == (3, encoder.features)
    assert activity.shape == (3, *shape)
    assert (activity > 0).all()


def test_an_encoder_without_a_map_has_none():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    encoder = Encoder("flat", linear, 5, nn.Identity())
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    assert encoding.encode(encoder, frames, silent)[1] is None
    encoder.blocks.append(("all", linear))
    assert encoding.encode(encoder, frames, silent)[1] is None


def test_activity_is_where_the_encoder_answers():
    pick = nn.Conv2d(3, 2, 1, bias=False)
    nn.init.ones_(pick.weight)
    encoder = Encoder("pick", pick, 32, nn.Identity(), [("pick", pick)])
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    frames[0, 1, 2] = 255
    activity = encoding.encode(encoder, frames, silent)[1]
    assert np.argwhere(activity[0] > 0).tolist() == [[1, 2]]


# -- the command ----------------------------------------------------------------------------------


def test_two_runs_are_equal_and_another_seed_is_not(call, tmp_path):
    first, again, other = (
        call(*BOTH, "--out", tmp_path / out, "--json", "--probe-seed", seed)
        for out, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.code == again.code == other.code == 0, first.err
    rows = json.loads(first.out)
    assert first.out == again.out
    assert [row["before"] for row in rows] != [row["before"] for row in json.loads(other.out)]
    assert {(row["agent"], row["probe"]) for row in rows} == {
        (agent, probe) for agent in ("scratch", "pvm-partial") for probe in tables.PROBES
    }
    by_key = {
        (row["agent"], row["family"], row["probe"]): (row["before"], row["after"]) for row in rows
    }
    assert by_key["scratch", "none", "invariance"] == (0, 0)
    assert min(by_key["scratch", "texture", "invariance"]) > 0
    for name in ("invariance", "decodability"):
        before, after = by_key["pvm-partial", "texture", name]
        assert before != after

    folder = tmp_path / "a" / "mini-v1" / "probes"
    assert {path.name for path in folder.iterdir()} == {"probes.csv", "probes.png", "probes.svg"}
    with (folder / "probes.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == [column.name for column in tables.COLUMNS]
    for row, line in zip(rows, written, strict=True):
        for column in tables.COLUMNS:
            value = row[column.name]
            assert line[column.name] == ("" if value is None else str(value)), column.name
            if column.kind != "str" and value is not None:
                float(line[column.name])


def test_what_did_not_train_is_as_it_was(call, tmp_path, mini, cartpole):
    file = policy(tmp_path / "frozen.safetensors", "pvm-frozen", cartpole, mini)
    done = call(*CARTPOLE, "--agent", "pvm-frozen", "--checkpoint", file, "--json",
                "--shift", "color:mild", "--out", tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    assert len(rows) == 7
    assert all(row["before"] == row["after"] for row in rows)


def test_the_first_encoder_is_the_one_that_training_begins_with(cartpole, mini, tmp_path):
    run = plan.runs(mini, [cartpole], [resolve("scratch")], [3], tmp_path)[0]
    agent, other = (jobs.make_agent(run, 1, "cpu") for _ in range(2))
    agent.begin(3)
    begun, first = agent.encoder(), other.encoder(trained=False)
    for one, two in zip(begun.module.parameters(), first.module.parameters(), strict=True):
        assert torch.equal(one, two)


def test_scores_are_those_of_the_same_cells(call, tmp_path):
    rows = [
        {"agent": agent, "task": "cartpole_balance", "family": family, "level": level,
         "train_seed": 0, "episode": 0, "return": score, "score": score}
        for agent in ("scratch", "pvm-partial")
        for family, level, score in (("none", "none", 50.0), ("texture", "severe", 20.0))
    ]  # fmt: skip
    results.write_rows(tmp_path / "rows.csv", rows)
    done = call(*BOTH, "--out", tmp_path, "--rows", tmp_path / "rows.csv")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == [
        *("agent", "task", "seed", "probe", "family", "none", "severe", "chance")
    ]
    # What probes wrote is no file of rows: a report on the folder passes it over.
    assert call("report", tmp_path, "--out", tmp_path / "report").code == 0


def test_the_page_documents_the_columns():
    page = (REPOSITORY / "docs" / "probes.md").read_text(encoding="utf-8")
    for column in tables.COLUMNS:
        assert f"| `{column.name}` | {column.kind} | {column.doc} |" in page


def test_a_row_without_a_map_says_why(monkeypatch, call, tmp_path):
    monkeypatch.setattr(encoding, "_norms", lambda out, module: None)
    done = call(*BOTH, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    lacking = [row for row in json.loads(done.out) if row["probe"] == "attention"]
    assert {(row["before"], row["chance"], row["note"]) for row in lacking} == {
        (None, None, NO_MAP)
    }


# -- bad input ------------------------------------------------------------------------------------


def test_bad_input_is_one_line(call, tmp_path, mine, mini, cartpole):
    other = policy(tmp_path / "full.safetensors", "pvm-full", cartpole, mini)
    mine_only = tmp_path / "mine.safetensors"
    checkpoints.write(mine_only, {"x": torch.zeros(1)}, {"task": "my_task"})
    (tmp_path / "rows.csv").write_text(
        "agent,task,family,level,train_seed,episode,return,score\nx,y,none,none,0,0,1,1\n"
    )
    scratch = ("--agent", "scratch")
    for arguments, expected in (
        ((*CARTPOLE, "--agent", "random"), "--agent random: this agent has no encoder"),
        ((*CARTPOLE, *scratch, "--states", "0"), "'--states'"),
        ((*CARTPOLE, *scratch, "--checkpoint", other), "encoder 'synth-2'"),
        ((*CARTPOLE, *scratch, "--checkpoint", "no"), "--checkpoint no: no such file"),
        ((*CARTPOLE, *scratch, "--rows", "rows.csv"), "--rows rows.csv: holds no rows"),
        (("probe", *scratch, *MINE, "--checkpoint", mine_only), "'my_task' lists no positions"),
    ):
        done = call(*arguments)
        assert (done.code, done.out) == (2, ""), done.err
        assert expected in done.err
        assert done.err.count("\n") == 1
    done = call(*CARTPOLE, *scratch, "--seed", "7")
    assert done.code == 2
    assert "left out: scratch on cartpole_balance, seed 7 has no checkpoint" in done.err
    assert not list(tmp_path.rglob("probes*"))


def test_an_agent_without_this_method_is_named(cartpole):
    agent = jobs.ALGORITHMS.get("random")(resolve("random"), cartpole, 1, 64)
    with pytest.raises(jobs.ShiftBenchError, match="'random' has no encoder"):
        agent.encoder()
