"""Other people's training code runs on the gymnasium face, shifts and all."""

from __future__ import annotations

import warnings

import gymnasium
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from torchrl.envs import GymEnv
from torchrl.envs.utils import check_env_specs

import shiftbench.envs.gym  # noqa: F401, registers the tasks

NAME = "shiftbench/cartpole_balance-v1"


@pytest.fixture
def env():
    made = gymnasium.make(NAME, shift="texture:severe")
    yield made
    made.close()


def test_stable_baselines_checker_has_nothing_to_say(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_a_stable_baselines_agent_trains_under_a_shift(env, tasks):
    agent = PPO(
        "CnnPolicy",
        env,
        n_steps=250,
        batch_size=125,
        n_epochs=1,
        seed=0,
        device="cpu",
        policy_kwargs={"features_extractor_kwargs": {"features_dim": 16}},
    )
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    agent.learn(1000)
    assert agent.num_timesteps == 1000
    episodes = [episode["l"] for episode in agent.ep_info_buffer]
    assert episodes == [tasks["cartpole_balance"].agent_steps] * 8
    after = agent.policy.state_dict()
    assert any((value != before[name]).any() for name, value in after.items())
    action, _ = agent.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action)


def test_torchrl_rolls_out_under_a_shift():
    env = GymEnv(NAME, shift="texture:severe", device="cpu")
    try:
        check_env_specs(env)
        env.set_seed(0)
        rollout = env.rollout(3)
    finally:
        env.close()
    pixels = rollout["next", "pixels"]
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 64, 64, 3)
    assert pixels.float().std(dim=(1, 2)).min() > 5
    assert (rollout["next", "reward"] > 0).all()
