"""Which environment of dm_control a task is, and the MJCF that its visual model is made from."""

from __future__ import annotations

import time
import timeit
import warnings

import msgspec
import numpy as np
import pytest

from shiftbench import seeding
from shiftbench.envs.loading import load
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import Shift


@pytest.fixture(scope="module")
def reach(cartpole):
    """A task of dm_control.manipulation."""
    return msgspec.structs.replace(
        cartpole,
        name="reach",
        domain="manipulation",
        positions=(),
        task="reach_site_vision",
        camera="front_close",
        episode_steps=250,
        action_repeat=1,
    )


def test_the_model_of_a_manipulation_task_outlives_its_resets(reach):
    env, _, _ = load(reach, seeding.random_state(0))
    model = env.physics.model.ptr
    env.reset()
    assert env.physics.model.ptr is model
    assert env.step(np.zeros(9)).observation == {}  # its own cameras draw nothing
    assert min(timeit.repeat(env.reset, timer=time.process_time, number=1, repeat=5)) < 0.1
    env.close()


def test_the_frames_of_a_manipulation_task_follow_its_physics(reach):
    env = PixelEnv(reach)
    target = env.scene.model.site("target_site").id
    places = set()
    for seed in range(3):
        first = env.reset(seed)
        # The task moves the target in the model at every reset.
        assert (env.scene.data.site_xpos == env.physics.data.site_xpos).all()
        places.add(tuple(env.scene.data.site_xpos[target]))
        warm = first[..., 0].astype(int) - first[..., 2] > 40
        assert warm.sum() > 10, "the red target is not to be seen"
        for _ in range(10):
            last, reward, done, discount = env.step(np.ones(env.action_dim))
        assert (first != last).any()
        assert 0 <= reward <= 1
        assert (done, discount) == (False, 1.0)
        assert (env.scene.data.geom_xpos == env.physics.data.geom_xpos).all()
    assert len(places) == 3
    env.close()


def test_the_target_of_a_manipulation_task_has_depth(reach):
    env = PixelEnv(reach)
    for seed in range(5):
        clean, shifted = env.reset(seed), env.reset(seed, Shift("background", "extreme", 1.0), 1)
        target = (clean[..., 0].astype(int) - clean[..., 2]) > 40
        # The severest background takes the floor away, not what stands on it.
        assert (clean == shifted).all(axis=-1)[target].mean() > 0.9
    env.close()


@pytest.mark.parametrize("name", ["cheetah", "reach"])
def test_what_a_user_cannot_mend_is_not_said(cartpole, reach, capfd, name):
    """Placing the arm by trial and error, and attributes in dm_control's files."""
    cheetah = msgspec.structs.replace(cartpole, domain="cheetah", task="run", positions=())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        env = PixelEnv({"cheetah": cheetah, "reach": reach}[name], blind=True)
    for seed in range(20):
        env.reset(seed)
    assert capfd.readouterr() == ("", "")
    env.close()


@pytest.mark.parametrize(
    ("task", "valid"), [("reach", "reach_site_vision"), ("lift_site", "lift_brick_features")]
)
def test_a_manipulation_task_that_does_not_exist_is_an_error(reach, task, valid):
    with pytest.raises(ShiftBenchError, match=f"no manipulation/{task}.*'manipulation'.*{valid}"):
        load(msgspec.structs.replace(reach, task=task), seeding.random_state(0))


def test_a_blind_environment_draws_nothing_and_plays_the_same(cartpole):
    seeing, blind = PixelEnv(cartpole), PixelEnv(cartpole, blind=True)
    assert seeing.reset(3).any()
    assert not blind.reset(3).any()
    for _ in range(3):
        frame, *result = blind.step(np.array([0.5]))
        assert frame.shape == (64, 64, 3)
        assert not frame.any()
        assert result == list(seeing.step(np.array([0.5]))[1:])
        assert (blind.state() == seeing.state()).all()
    for env in (seeing, blind):
        env.close()
