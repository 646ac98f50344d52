"""Training and evaluating a plan: cells, what is left out, what is trained."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from shiftbench import agents, jobs, plan, results, specs
from shiftbench.agents import base
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import ALGORITHMS
from shiftbench.specs import Shift

CLEAN = [Shift.clean()]
SHIFTS = [*CLEAN, Shift("texture", "mild", 0.25)]


class Echo:
    """Acts by what it sees, so that a shift shows in the returns."""

    def __init__(self, action_dim: int) -> None:
        self.action_dim = action_dim

    def reset(self, mask):
        pass

    def act(self, pixels):
        level = pixels.mean((1, 2, 3))[:, None] / 127.5 - 1.0
        return np.repeat(level, self.action_dim, 1).astype(np.float32)


class Sighted(base.Agent):
    """Needs a file, which training writes; it says in `said` what was done with it."""

    said: list[str]

    def train(self, make_env, budget, seed, run_dir, **options):
        import torch

        from shiftbench import checkpoints

        self.said.append(f"trained to {budget}")
        meta = {"task": self.task.name, "train_steps": budget}
        checkpoints.write(run_dir / plan.POLICY, {"x": torch.zeros(1)}, meta)

    def load(self, path):
        self.said.append(f"loaded {path.name}")

    def policy(self):
        return Echo(self.action_dim)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    said: list[str] = []
    spec = specs.AgentSpec("sighted", "sighted")
    monkeypatch.setattr(Sighted, "said", said, raising=False)
    monkeypatch.setattr(ALGORITHMS, "_targets", {**ALGORITHMS._load(), "sighted": Sighted})
    monkeypatch.setattr(agents.AGENTS, "_targets", {**agents.AGENTS._load(), "sighted": spec})
    return said


@pytest.fixture
def evaluate(mini, cartpole, tmp_path, said):
    """Evaluate agents on a short task; returns the rows."""
    short = msgspec.structs.replace(cartpole, episode_steps=40)

    def evaluate(*names, shifts=CLEAN, seeds=(0,), out="runs", **options):
        chosen = [agents.resolve(name) for name in names]
        settings = {"episodes": 2, "steps": None, "checkpoint": None, "device": "cpu", **options}
        runs = plan.runs(mini, [short], chosen, seeds, tmp_path / out)
        return jobs.run(runs, shifts, out=tmp_path / out, **settings)

    return evaluate


def test_rows_of_every_cell_in_order(evaluate, mini):
    shifts = [*CLEAN, Shift("texture", "mild", 0.25)]
    rows = evaluate("random", shifts=shifts, seeds=(0, 1))
    assert list(zip(rows["train_seed"], rows["family"], rows["episode"], strict=True)) == [
        (seed, family, episode)
        for seed in (0, 1)
        for family in ("none", "texture")
        for episode in (0, 1)
    ]
    assert set(rows["suite"]) == {"mini"}
    assert set(rows["device"]) == {"cpu"}
    assert rows["shift_hash"].map(len).tolist() == [0, 0, 12, 12] * 2
    # The random agent does not look: the same actions give the same returns under every shift.
    returns = rows["return"].to_numpy().reshape(2, 2, 2)
    assert (returns[:, 0] == returns[:, 1]).all()
    assert (returns[0] != returns[1]).all()


def test_a_policy_that_looks_is_changed_by_a_shift(evaluate, said):
    rows = evaluate("sighted", shifts=[*CLEAN, Shift("lighting", "severe", 0.75)], steps=10)
    assert said == ["trained to 10", "loaded policy.safetensors"]
    returns = rows["return"].to_numpy().reshape(2, 2)
    assert (returns[0] != returns[1]).any()


def test_what_has_no_checkpoint_is_left_out_with_its_command(evaluate, said, capsys):
    rows = evaluate("sighted", "random", seeds=(0, 1), flags=["--suite-file", "my suites.toml"])
    assert set(rows["agent"]) == {"random"}
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("left out: ")]
    assert len(lines) == 2
    for seed, line in enumerate(lines):
        assert f"sighted on cartpole_balance, seed {seed} has no checkpoint" in line
        assert f"shiftbench train --agent sighted --task cartpole_balance --seed {seed} " in line
        assert "--suite-file 'my suites.toml'" in line
    assert said == []


def test_nothing_left_is_an_error(evaluate, tmp_path):
    with pytest.raises(ShiftBenchError, match="nothing is left to evaluate"):
        evaluate("sighted")
    assert not (tmp_path / "runs").exists()


def test_finished_cells_need_no_agent(evaluate, said, tmp_path):
    first = evaluate("sighted", steps=10)
    said.clear()
    second = evaluate("sighted", steps=10)
    assert said == []
    assert second.equals(first)
    longer = evaluate("sighted", steps=10, episodes=3)
    assert said == ["loaded policy.safetensors"]
    assert longer["return"][:2].equals(first["return"])


def test_another_checkpoint_is_another_cell(evaluate, said, tmp_path):
    evaluate("sighted", steps=10)
    evaluate("sighted", steps=20)
    assert said.count("loaded policy.safetensors") == 2
    assert len(list((tmp_path / "runs").glob("mini-v1/cells/**/*.csv"))) == 1
    assert len(list((tmp_path / "runs").glob("mini-v1/cells/**/*.csv.old"))) == 1


def test_what_a_run_replaces_is_set_aside_and_comes_back(evaluate, said, tmp_path, capsys):
    mild, severe = Shift("texture", "mild", 0.25), Shift("texture", "severe", 0.75)
    first = evaluate("sighted", "random", steps=10, shifts=[*CLEAN, mild])
    more = evaluate("sighted", steps=10, episodes=3)
    line = "1 cells in "
    assert line in capsys.readouterr().err
    folder = results.read_rows([tmp_path / "runs"])  # no key twice
    assert len(folder) == 3 + 2 + 4
    said.clear()
    # As they were, and not played again.
    assert evaluate("sighted", "random", steps=10, shifts=[*CLEAN, mild]).equals(first)
    assert said == []
    # Another policy's rows of other shifts would else stand beside this one's.
    evaluate("sighted", steps=20, shifts=[*CLEAN, severe])
    folder = results.read_rows([tmp_path / "runs"])
    trained = folder[folder["agent"] == "sighted"]
    assert trained["checkpoint"].nunique() == 1
    assert set(trained["level"]) == {"none", "severe"}
    assert more["episode"].tolist() == [0, 1, 2]


def test_what_cannot_be_evaluated_replaces_nothing(evaluate, said, tmp_path, monkeypatch):
    evaluate("sighted", steps=10)
    before = sorted((tmp_path / "runs/mini-v1/cells").rglob("*"))

    def refuse(self, path):
        raise ShiftBenchError("does not fit")

    monkeypatch.setattr(Sighted, "load", refuse)
    with pytest.raises(ShiftBenchError, match="does not fit"):
        evaluate("sighted", steps=20)
    assert sorted((tmp_path / "runs/mini-v1/cells").rglob("*")) == before


def test_two_evaluations_in_one_folder(evaluate, said, monkeypatch):
    """Another process is at the same cells, and changes its mind about their episodes."""
    play, others = jobs._play, []

    def meanwhile(run, cell, *arguments):
        if not others:
            others.append(None)
            others[0] = evaluate("sighted", "random", steps=10, shifts=SHIFTS, **other)
        return play(run, cell, *arguments)

    monkeypatch.setattr(jobs, "_play", meanwhile)
    other = {}
    rows = evaluate("sighted", "random", steps=10, shifts=SHIFTS)
    assert rows.equals(others.pop())
    assert said.count("loaded policy.safetensors") == 2
    other = {"episodes": 3}
    with pytest.raises(ShiftBenchError, match="another process wrote .*: run it again"):
        evaluate("sighted", "random", steps=20, shifts=SHIFTS)


def test_a_published_policy_is_named(evaluate, said, tmp_path, monkeypatch, capsys):
    evaluate("sighted", steps=10, out="lab")
    (own,) = tmp_path.glob("lab/train/*/sighted/seed-0/policy.safetensors")
    assert "ships" not in capsys.readouterr().err
    monkeypatch.setattr(plan, "data_dir", lambda name: tmp_path / name)
    shipped = tmp_path / "results/mini-v1/checkpoints/cartpole_balance-v1/sighted"
    shipped.mkdir(parents=True)
    own.rename(shipped / "seed-0.safetensors")
    evaluate("sighted", steps=99, out="here")
    line = "sighted on cartpole_balance, seed 0: the policy that ships, of 10 environment steps: "
    assert f"{line}{shipped}/seed-0.safetensors" in capsys.readouterr().err
    assert said.count("trained to 99") == 0


def test_a_checkpoint_that_changes_while_it_is_read_is_refused(evaluate, said, monkeypatch):
    def load(self, path):
        path.write_bytes(path.read_bytes() + b" ")

    monkeypatch.setattr(Sighted, "load", load)
    with pytest.raises(ShiftBenchError, match="a training wrote to it"):
        evaluate("sighted", steps=10)


def test_a_policy_with_wrong_actions_is_refused_and_leaves_no_cell(evaluate, tmp_path, monkeypatch):
    for wrong in (np.zeros((1, 9)), np.array([[np.nan]]), np.zeros(1)):
        monkeypatch.setattr(Echo, "act", lambda self, pixels, wrong=wrong: wrong)
        with pytest.raises(ShiftBenchError, match=r"shape \(1, 1\)"):
            evaluate("sighted", steps=10)
    assert not list(tmp_path.glob("runs/mini-v1/**/*"))


def test_training_leaves_finished_runs_alone(mini, cartpole, tmp_path, said, capsys):
    runs = plan.runs(mini, [cartpole], [agents.resolve("sighted")], [0, 1], tmp_path)
    (first, second) = jobs.train(runs[:1], 10, "cpu") + jobs.train(runs, 10, "cpu")[1:]
    assert said == ["trained to 10", "trained to 10"]
    assert first.is_file()
    assert second.is_file()
    assert first != second
    assert "1 of 2 runs, up to 10 environment steps each" in capsys.readouterr().err
    jobs.train(runs, 20, "cpu")
    assert said[2:] == ["trained to 20"] * 2
    # This agent cannot say what a step costs.
    assert "time unknown" in capsys.readouterr().err


def test_agents_that_cannot_be_trained(mini, cartpole, tmp_path, said, monkeypatch):
    runs = plan.runs(mini, [cartpole], [agents.resolve("random")], [0], tmp_path)
    with pytest.raises(ShiftBenchError, match="--agent random: this agent needs no training"):
        jobs.train(runs, 10, "cpu")
    monkeypatch.delattr(Sighted, "train")
    runs = plan.runs(mini, [cartpole], [agents.resolve("sighted")], [0], tmp_path)
    with pytest.raises(ShiftBenchError, match="agent 'sighted' cannot be trained"):
        jobs.train(runs, 10, "cpu")
