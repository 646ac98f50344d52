import numpy as np
import pytest
import torch

from shiftbench.errors import ShiftBenchError
from shiftbench.replay import Replay


def make(folder, capacity=50, count=0):
    return Replay(folder, capacity, 16, 2, belief=4, categoricals=3, classes=5, count=count)


def fill(replay, steps, start=0):
    for i in range(start, start + steps):
        replay.add(
            pixels=np.full((16, 16, 3), i % 256, np.uint8),
            action=np.full(2, i, np.float32),
            reward=float(i),
            first=i % 10 == 0,
            terminal=i % 10 == 9,
            state=np.full(3, i % 5, np.uint8),
            belief=np.full(4, i, np.float16),
        )


def test_sequences_are_consecutive_and_begin_with_the_latent_before(tmp_path):
    replay = make(tmp_path)
    fill(replay, 120)  # wraps twice
    batch, index = replay.sample(64, 7, np.random.default_rng(0))
    assert batch["pixels"].shape == (64, 7, 16, 16, 3)
    batch = {name: tensor.numpy() for name, tensor in batch.items()}
    rewards = batch["reward"]
    assert np.array_equal(np.diff(rewards, axis=1), np.ones((64, 6)))
    assert rewards.min() >= 71  # the oldest held is 70; nothing before it is held
    assert rewards.max() == 119
    assert np.array_equal(batch["first"], rewards % 10 == 0)
    assert np.array_equal(batch["belief"][:, 0], rewards[:, 0] - 1)
    assert np.array_equal(
        batch["state"].reshape(64, 3, 5).argmax(-1)[:, 0], (rewards[:, 0] - 1) % 5
    )
    assert np.array_equal(index, rewards.astype(int) % 50)


def test_seed_decides_the_sample(tmp_path):
    replay = make(tmp_path)
    fill(replay, 40)
    first, again, other = (
        replay.sample(8, 4, np.random.default_rng(seed))[1] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_refresh_and_reopen(tmp_path):
    replay = make(tmp_path)
    fill(replay, 30)
    index = np.array([[3, 4]])
    replay.refresh(index, torch.full((1, 2, 3), 2), torch.full((1, 2, 4), 7.0))
    replay.flush()
    again = make(tmp_path, count=30)
    assert len(again) == 30
    assert np.array_equal(again.arrays["belief"][4], np.full(4, 7.0))
    assert np.array_equal(again.arrays["reward"][:30], np.arange(30))


def test_files_of_nobody_are_made_anew(tmp_path):
    (tmp_path / "pixels.bin").write_bytes(b"x" * 100_000)  # as of larger frames
    fill(make(tmp_path), 20)
    again = make(tmp_path, count=20)
    assert (tmp_path / "pixels.bin").stat().st_size == 38400
    assert len(again) == 20


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_lost_steps_are_no_black_frames(tmp_path, how):
    fill(make(tmp_path), 20)
    path = tmp_path / "pixels.bin"
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ShiftBenchError, match=r"pixels\.bin: (0|1000) of 38400 bytes are there"):
        make(tmp_path, count=20)
    assert path.exists() == (how == "truncated")


def test_too_short_and_unwritable(tmp_path):
    replay = make(tmp_path / "a")
    fill(replay, 5)
    with pytest.raises(ValueError, match="needed"):
        replay.sample(1, 5, np.random.default_rng(0))
    (tmp_path / "file").write_text("")
    with pytest.raises(ShiftBenchError, match="cannot be stored"):
        make(tmp_path / "file")
