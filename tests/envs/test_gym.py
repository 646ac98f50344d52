"""The gymnasium face."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import shiftbench.envs.gym
from shiftbench import seeding
from shiftbench.errors import ShiftBenchError


@pytest.fixture
def make(monkeypatch):
    """Return `gymnasium.make` whose environments are closed afterwards."""
    made = []

    def build(name, **kwargs):
        made.append(gymnasium.make(name, **kwargs))
        return made[-1]

    yield build
    for env in made:
        env.close()


@pytest.mark.parametrize("shift", ["none", "everything:severe"])
def test_every_task_passes_the_checker_without_a_warning(make, tasks, shift):
    for name, task in tasks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            env = make(f"shiftbench/{name}-v{task.version}", shift=shift, render_mode="rgb_array")
            check_env(env.unwrapped)
            env.reset(seed=0)
            assert env.render().shape == (64, 64, 3)
        assert env.metadata["render_fps"] > 1


def test_an_episode_is_truncated_at_its_length(make):
    env = make("shiftbench/cartpole_balance-v1", image_size=32)
    frame, info = env.reset(seed=1)
    assert frame.shape == (32, 32, 3)
    assert info == {"steps": 0, "discount": 1.0}
    count, terminated, truncated = 0, False, False
    while not (terminated or truncated):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        count += 1
    assert (count, terminated, truncated) == (125, False, True)
    assert info == {"steps": 1000, "discount": 1.0}


def test_seeds_and_episodes(make):
    env = make("shiftbench/finger_spin-v1", shift="everything:severe")
    first, _ = env.reset(seed=3)
    second, _ = env.reset()
    assert (first != second).any()
    assert (env.reset(seed=3)[0] == first).all()
    assert (env.reset()[0] == second).all()
    frame, _ = env.reset(options={"episode": 4})
    inner = env.unwrapped
    expected = inner.pixels.reset(
        seeding.episode_seed("finger_spin", 1, 4),
        inner.shift,
        seeding.shift_seed("finger_spin", "everything", "severe", 4),
    )
    assert (frame == expected).all()


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        ("severe", "FAMILY:LEVEL.*Families: .*texture.*levels: none, mild"),
        ("textures:mild", "unknown shift family 'textures'.*Did you mean 'texture'"),
        ("texture:wild", "unknown level 'wild'.*Did you mean 'mild'"),
    ],
)
def test_a_bad_shift_is_an_error(make, shift, message):
    with pytest.raises(ShiftBenchError, match=message):
        make("shiftbench/finger_spin-v1", shift=shift)


def test_a_users_own_task(tmp_path, good_task):
    (tmp_path / "my_task.toml").write_text(good_task)
    env = shiftbench.envs.gym.ShiftEnv("my_task", tasks_dir=tmp_path)
    env.reset(seed=0)
    assert env.step(np.zeros(1))[4]["steps"] == 4
    env.close()
    with pytest.raises(ShiftBenchError, match="unknown task 'my_tusk'"):
        shiftbench.envs.gym.ShiftEnv("my_tusk", tasks_dir=tmp_path)


def test_several_environments_in_one_process():
    env = gymnasium.make_vec(
        "shiftbench/cartpole_balance-v1", num_envs=2, vectorization_mode="sync"
    )
    frames, _ = env.reset(seed=[1, 1])
    assert (frames[0] == frames[1]).all()
    frames, *_ = env.step(np.array([[1.0], [-1.0]], np.float32))
    assert (frames[0] != frames[1]).any()
    env.close()


def test_importing_registers_and_stays_light():
    code = (
        "import sys, gymnasium, shiftbench.envs.gym\n"
        "assert 'shiftbench/finger_spin-v1' in gymnasium.registry\n"
        "print([m for m in ('torch', 'dm_control', 'mujoco') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
