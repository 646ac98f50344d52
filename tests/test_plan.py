"""From names to runs, and which checkpoint belongs to each."""

from __future__ import annotations

import shlex

import pytest
import torch
from support import still

from shiftbench import checkpoints, cli, plan, specs
from shiftbench.agents import resolve
from shiftbench.errors import ShiftBenchError
from shiftbench.shifts import pictures


@pytest.fixture
def run(mini, cartpole, tmp_path) -> plan.Run:
    return plan.runs(mini, [cartpole], [resolve("scratch")], [0], tmp_path / "runs")[0]


def policy(path, steps=100, **meta):
    """Write a policy that holds nothing."""
    meta = {"task": "cartpole_balance", "train_steps": steps, **meta}
    checkpoints.write(path, {"x": torch.zeros(1)}, meta)
    return path


def test_tasks_are_those_of_the_suite_or_those_named_once(mini):
    chosen, tasks = plan.select_tasks("mini", None, (), ())
    assert chosen == mini
    assert [task.name for task in tasks] == list(mini.tasks)
    _, tasks = plan.select_tasks("mini", None, (), ("finger_spin", "finger_spin"))
    assert [task.name for task in tasks] == ["finger_spin"]


def test_the_clean_arm_comes_first_and_once(mini):
    chosen = plan.select_shifts(("texture:mild", "none", "mild"), mini)
    names = [str(shift) for shift in chosen]
    assert names[:2] == ["none:none", "texture:mild"]
    assert sorted(names[2:]) == sorted(f"{f}:mild" for f in mini.families if f != "texture")


def test_pictures_go_to_the_shifts_that_show_them(mini, tmp_path):
    still(tmp_path / "a.png", (9, 9, 9))
    names = ("background:mild", "texture:mild", "preset:dcs-easy", "preset:rlvigen-light-easy")
    chosen = plan.select_shifts(names, mini, tmp_path)
    assert [bool(shift.backgrounds) for shift in chosen] == [False, True, False, True, False]
    assert not any(shift.backgrounds for shift in plan.select_shifts(names, mini))
    (tmp_path / "b.png").write_bytes(b"broken")
    pictures.load.cache_clear()
    with pytest.raises(ShiftBenchError, match=r"b\.png: cannot be decoded"):
        plan.select_shifts(("texture:mild",), mini, tmp_path)


def test_overrides_reach_every_agent():
    keys = {"encoder": "cnn", "encoder_weights": None, "finetune_blocks": 2, "device": "cpu"}
    (spec,) = plan.select_agents(("pvm-partial", "pvm-partial"), keys)
    assert spec.id == "pvm-partial+encoder=cnn+finetune_blocks=2"


def test_runs_are_every_combination_in_folders_of_their_own(mini, tasks, tmp_path):
    agents = [resolve("scratch"), resolve("scratch", encoder="timm:resnet18")]
    found = plan.runs(mini, tasks.values(), agents, [1, 0, 1], tmp_path)
    assert len(found) == len(tasks) * 2 * 2
    folders = {run.folder for run in found}
    assert len(folders) == len(found)
    assert tmp_path / "train/cartpole_balance-v1/scratch/seed-0" in folders
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_the_one_given_then_ones_own_then_the_shipped(
    run, tmp_path, monkeypatch, mini
):
    shipped = tmp_path / "results"
    monkeypatch.setattr(plan, "data_dir", lambda name: tmp_path / name)
    shipped.mkdir()
    assert plan.find_checkpoint(run, None) is None
    name = "checkpoints/cartpole_balance-v1/scratch/seed-0.safetensors"
    policy(shipped / "a-pilot" / name)  # of no suite: kept for its rows
    assert plan.find_checkpoint(run, None) is None
    other = policy(shipped / "a-suite-v1" / name)
    assert plan.find_checkpoint(run, None) == other
    published = policy(shipped / mini.id / name)
    assert plan.find_checkpoint(run, None) == published
    own = policy(run.folder / plan.POLICY)
    assert plan.find_checkpoint(run, None) == own
    assert plan.find_checkpoint(run, other) == other


@pytest.mark.parametrize(
    "path",
    [
        "cartpole_balance-v2/scratch/seed-0",
        "cartpole_balance-v1/scratch/seed-1",
        "cartpole_balance-v1/scratch+encoder=synth/seed-0",
        "finger_spin-v1/scratch/seed-0",
    ],
)
def test_checkpoints_of_others_do_not_fit(run, tmp_path, monkeypatch, path):
    monkeypatch.setattr(plan, "data_dir", lambda name: tmp_path / name)
    policy(tmp_path / "results" / "mini-v1" / "checkpoints" / f"{path}.safetensors")
    assert plan.find_checkpoint(run, None) is None


def test_an_unfinished_training_lacks_training_a_shipped_policy_does_not(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(plan, "data_dir", lambda name: tmp_path / name)
    (tmp_path / "results").mkdir()
    assert plan.lacks_training(run, None)
    assert plan.trained_steps(run) == 0
    name = "checkpoints/cartpole_balance-v1/scratch/seed-0.safetensors"
    policy(tmp_path / "results" / "mini-v1" / name, steps=50)
    assert not plan.lacks_training(run, 100)
    policy(run.folder / plan.POLICY, steps=50)
    assert plan.trained_steps(run) == 50
    assert plan.lacks_training(run, 100)
    assert not plan.lacks_training(run, 50)
    assert not plan.lacks_training(run, None)


def test_a_given_checkpoint_chooses_its_task(mini, tasks, tmp_path):
    path = policy(tmp_path / "given.safetensors")
    runs = plan.runs(mini, tasks.values(), [resolve("scratch")], [0], tmp_path)
    assert [run.task.name for run in plan.made_for(path, runs)] == ["cartpole_balance"]
    other = [run for run in runs if run.task.name == "finger_spin"]
    with pytest.raises(ShiftBenchError, match=r"task 'cartpole_balance'.*among finger_spin"):
        plan.made_for(path, other)
    for agents, seeds in ((["scratch", "pvm-full"], [0]), (["scratch"], [0, 1])):
        runs = plan.runs(mini, tasks.values(), [resolve(a) for a in agents], seeds, tmp_path)
        with pytest.raises(ShiftBenchError, match="one --agent and one --seed"):
            plan.made_for(path, runs)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"encoder": "timm:resnet18", "encoder_size": 96, "encoder_features": "pooled"},
        {"finetune_blocks": 3},
        {"encoder_weights": True},
        {"augment": "shift"},
        {"size": "m"},
    ],
    ids=str,
)
def test_the_command_that_trains_a_run_plans_that_run(
    mini, cartpole, tmp_path, monkeypatch, overrides
):
    weights = tmp_path / "some weights.safetensors"
    weights.write_bytes(b"any")
    if "encoder_weights" in overrides:
        overrides = {"encoder_weights": weights}
    out = tmp_path / "my runs"
    (run,) = plan.runs(mini, [cartpole], [resolve("pvm-partial", **overrides)], [7], out)
    words = shlex.split(plan.training_command(run, out, ["--suite", "mini"]))
    assert words[:2] == ["shiftbench", "train"]
    planned = []
    monkeypatch.setattr("shiftbench.jobs.train", lambda runs, *_, **__: planned.extend(runs) or [])
    with pytest.raises(SystemExit):
        cli.main(words[1:])
    assert planned == [run]


def test_the_command_that_goes_on_has_as_many_environments(mini, cartpole, tmp_path):
    (run,) = plan.runs(mini, [cartpole], [resolve("scratch")], [0], tmp_path)
    assert "--envs" not in plan.training_command(run, tmp_path)
    checkpoints.write(run.folder / checkpoints.TRAINING, {"any": torch.zeros(1)}, {"envs": 4})
    assert " --envs 4 " in plan.training_command(run, tmp_path)


def test_an_agent_of_a_table_that_is_no_spec(monkeypatch):
    from shiftbench.agents import AGENTS

    monkeypatch.setattr(AGENTS, "_targets", {**AGENTS._load(), "odd": "pathlib:Path"})
    with pytest.raises(ShiftBenchError, match=r"'odd' from shiftbench \(pathlib:Path\) is not an"):
        resolve("odd")
    lost = specs.AgentSpec("lost", "no-such-algorithm")
    monkeypatch.setattr(AGENTS, "_targets", {**AGENTS._load(), "lost": lost})
    with pytest.raises(ShiftBenchError, match="unknown algorithm 'no-such-algorithm'"):
        resolve("lost")
