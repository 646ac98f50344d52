"""The curve in other programs' formats, read back with those programs."""

from __future__ import annotations

import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shiftbench import trackers
from shiftbench.agents import AGENTS
from shiftbench.errors import ShiftBenchError
from shiftbench.results import file_name


def test_tensorboard_holds_each_row_once_after_going_on(call, mine, tiny, tmp_path):
    train = ("train", "--agent", tiny, "--tensorboard", *mine, "--steps")
    assert call(*train, "200").code == 0
    assert call(*train, "300").code == 0
    folder = tmp_path / "runs/train/my_task-v1" / file_name(AGENTS.get(tiny).id) / "seed-0"
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert {"train_return", "minutes", "updates", "model_loss"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train_return")] == [100, 200, 300]


def test_wandb_works_without_a_network(call, mine, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = call("train", "--agent", tiny, "--wandb", "mine", "--steps", "100", *mine)
    assert done.code == 0, done.err
    assert list(tmp_path.glob("runs/train/**/wandb/offline-run-*/*.wandb"))


def test_wandb_without_an_account_is_one_line(call, mine, tiny, monkeypatch):
    import wandb

    def init(**options):
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr(wandb, "init", init)
    done = call("train", "--agent", tiny, "--wandb", "mine", "--steps", "100", *mine)
    assert (done.code, done.out) == (2, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("Error: --wandb mine: No API key configured; WANDB_MODE=offline")


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_what_is_missing_is_named_with_its_command(monkeypatch, name):
    monkeypatch.setitem(sys.modules, trackers.MODULES[name], None)
    with pytest.raises(ShiftBenchError, match=rf"--{name}: .*pip install 'shiftbench\[{name}\]'"):
        trackers.load(name)
