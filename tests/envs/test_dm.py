"""The dm_env face."""

from __future__ import annotations

import dm_env
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from shiftbench.envs.dm import Environment
from shiftbench.envs.gym import ShiftEnv
from shiftbench.errors import ShiftBenchError


class TestInterface(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own tests of an environment, under a shift."""

    def make_object_under_test(self) -> dm_env.Environment:
        return Environment("ball_in_cup_catch", shift="texture:severe", image_size=32)


@pytest.fixture
def env():
    made = Environment("cartpole_balance", shift="texture:severe", seed=3)
    yield made
    made.close()


def test_an_episode_ends_at_its_length_and_the_next_step_starts_anew(env):
    assert env.reset().first()
    for _ in range(124):
        step = env.step(np.zeros(1, np.float32))
        assert step.mid()
        assert 0 < step.reward <= 8
    last = env.step(np.zeros(1, np.float32))
    assert last.last()
    assert last.discount == 1.0
    assert env.physics.time() == pytest.approx(10.0)
    assert env.step(np.zeros(1, np.float32)).first()


def test_a_terminal_state_has_discount_zero(env, monkeypatch):
    env.reset()
    monkeypatch.setattr(env._env._env.task, "get_termination", lambda physics: 0.0, raising=False)
    step = env.step(np.zeros(1, np.float32))
    assert step.last()
    assert step.discount == 0.0


def test_equal_seeds_play_what_the_gymnasium_face_plays(env):
    other = ShiftEnv("cartpole_balance", shift="texture:severe")
    for seed in (3, None):
        frame, _ = other.reset(seed=seed)
        assert (env.reset().observation["pixels"] == frame).all()
        action = np.array([0.3], np.float32)
        assert (env.step(action).observation["pixels"] == other.step(action)[0]).all()
    other.close()


def test_it_takes_a_shift(env):
    clean = Environment("cartpole_balance", seed=3)
    assert (clean.reset().observation["pixels"] != env.reset().observation["pixels"]).any()
    clean.close()
    with pytest.raises(ShiftBenchError, match="FAMILY:LEVEL"):
        Environment("cartpole_balance", shift="severe")


def test_a_users_own_task(tmp_path, good_task):
    (tmp_path / "my_task.toml").write_text(good_task)
    env = Environment("my_task", tasks_dir=tmp_path)
    assert env.reset().observation["pixels"].shape == (64, 64, 3)
    env.close()
