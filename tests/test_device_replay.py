"""The replay on a device draws what the one in files draws; the files have it at a checkpoint."""

import numpy as np
import pytest
import torch
from test_replay import fill

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
    for replay in replays:
        replay.refresh(index, torch.full((8, 4, 3), 2), torch.full((8, 4, 4), 7.0))
    same(*replays, seed=1)
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
