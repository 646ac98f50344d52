"""The replay on a device draws what the one in files draws; the files have it at a checkpoint."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_replay import fill

from shiftbench import device_replay
from shiftbench.agents.config import Config
from shiftbench.device_replay import DeviceReplay
from shiftbench.replay import Replay

SHAPE = (50, 16, 2, 4, 3, 5)


def pair(folder, count=0, capacity=50):
    shape = (capacity, *SHAPE[1:])
    plain = Replay(folder / "plain", *shape, count=count)
    device = DeviceReplay(folder / "device", *shape, count=count, device="cpu", rows=capacity)
    return plain, device


def same(one, other, seed=0):
    """Compare what both draw, and return the rows' indices."""
    (batch, index), (wanted, _) = (
        replay.sample(8, 4, np.random.default_rng(seed)) for replay in (one, other)
    )
    assert batch.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert batch[name].dtype == tensor.dtype
        assert torch.equal(batch[name], tensor), name
    return index


@pytest.mark.parametrize("steps", [30, 120])
def test_it_draws_what_the_files_hold(tmp_path, steps):
    replays = pair(tmp_path)
    for replay in replays:
        fill(replay, steps)
    index = same(*replays)
    # Sequences overlap, and each brings latents of its own.
    assert len(np.unique(index)) < index.size
    state = torch.arange(8 * 4 * 3).reshape(8, 4, 3) % 5
    belief = torch.arange(8 * 4 * 4).reshape(8, 4, 4).float()
    for replay in replays:
        replay.refresh(index, state, belief)
    for seed in range(1, 9):
        same(*replays, seed=seed)
    for replay in replays:
        fill(replay, 5, start=steps)
    same(*replays, seed=2)


def test_newer_latents_are_in_the_files_from_a_checkpoint_on(tmp_path):
    plain, device = pair(tmp_path)
    for replay in (plain, device):
        fill(replay, 30)
        replay.journal.commit(30)
    index = np.array([[3, 4]])
    before = device.arrays["belief"][4].copy()
    device.refresh(index, torch.full((1, 2, 3), 2), torch.full((1, 2, 4), 7.0))
    assert np.array_equal(device.arrays["belief"][4], before)
    device.settle()
    assert np.array_equal(device.arrays["belief"][4], np.full(4, 7.0))
    assert np.array_equal(device.arrays["state"][3], np.full(3, 2))
    # Until the checkpoint is whole they can be undone.
    device.journal.undo()
    assert np.array_equal(device.arrays["belief"][4], before)
    device.refresh(index, torch.full((1, 2, 3), 2), torch.full((1, 2, 4), 7.0))
    device.settle()
    device.flush()
    again = pair(tmp_path, count=30)[1]
    assert len(again) == 30
    same(again, device)


def test_a_row_that_was_overwritten_keeps_what_came_last(tmp_path):
    plain, device = pair(tmp_path, capacity=20)
    for replay in (plain, device):
        fill(replay, 20)
        replay.refresh(np.array([[0, 1]]), torch.zeros(1, 2, 3), torch.full((1, 2, 4), 9.0))
        fill(replay, 1, start=20)
        replay.settle()
    for name, array in plain.arrays.items():
        assert np.array_equal(array, device.arrays[name]), name


def test_there_is_room_for_more_than_was_expected(tmp_path):
    plain = Replay(tmp_path / "plain", *SHAPE)
    device = DeviceReplay(tmp_path / "device", *SHAPE, device="cpu", rows=4)
    for steps in (3, 20, 40):
        for replay in (plain, device):
            fill(replay, steps, start=replay.count)
        if steps > 3:
            same(device, plain)
    again = DeviceReplay(tmp_path / "device", *SHAPE, count=63, device="cpu", rows=4)
    same(again, plain)


def test_where_the_device_is_full_replay_stays_in_main_memory(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. More.")

    agent = SimpleNamespace(config=Config(), image_size=16, action_dim=2, replay_device="cpu")
    assert type(device_replay.make(agent, tmp_path / "a", 50, 50)) is DeviceReplay
    monkeypatch.setattr(device_replay, "DeviceReplay", full)
    assert type(device_replay.make(agent, tmp_path / "b", 50, 50)) is Replay
    assert "Replay stays in main memory: CUDA out of memory" in capsys.readouterr().err


def test_a_learner_need_not_know_of_devices(tmp_path):
    agent = SimpleNamespace(config=Config(), image_size=16, action_dim=2, device="auto")
    assert type(device_replay.make(agent, tmp_path, 50, 50)) is Replay
