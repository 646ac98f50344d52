"""The agents that learn nothing."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench import seeding
from shiftbench.agents import resolve
from shiftbench.envs.pixels import PixelEnv
from shiftbench.evaluate import rollout
from shiftbench.registry import ALGORITHMS
from shiftbench.specs import Shift, load_tasks


def agent(name, task, action_dim, seed=0):
    return ALGORITHMS.get(resolve(name).algorithm)(resolve(name), task, action_dim, 64, seed=seed)


@pytest.mark.parametrize("name", ["random", "zero"])
def test_actions_are_of_the_contract(name):
    policy = agent(name, load_tasks()["finger_spin"], 2).policy()
    policy.reset(np.ones(3, bool))
    actions = policy.act(np.zeros((3, 64, 64, 3), np.uint8))
    assert (actions.shape, actions.dtype) == ((3, 2), np.float32)
    assert (np.abs(actions) <= 1).all()
    assert (actions == 0).all() == (name == "zero")


def test_standing_still_beats_chance_on_cartpole_balance_under_any_shift():
    task = load_tasks()["cartpole_balance"]
    env = PixelEnv(task)
    seeds = [seeding.episode_seed(task.name, task.version, i) for i in range(2)]
    returns = {
        name: np.mean(
            [e.episode_return for e in rollout(agent(name, task, 1).policy(), env, seeds)]
        )
        for name in ("random", "zero")
    }
    shifted = rollout(
        agent("zero", task, 1).policy(), env, seeds, Shift("texture", "severe", 0.75), [0, 1]
    )
    env.close()
    assert task.score(returns["zero"]) > 50 > task.score(returns["random"])
    assert np.mean([e.episode_return for e in shifted]) == returns["zero"]
