"""The environment: what a shift may and may not change."""

from __future__ import annotations

import msgspec
import mujoco
import numpy as np
import pytest

from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import Shift

EVERYTHING = Shift("everything", "severe", 0.75)


def rollout(env, seed, shift=None, shift_seed=0, steps=6):
    """Return the frames, states and rewards of the first steps of an episode."""
    rng = np.random.default_rng(0)
    frames = [env.reset(seed, shift, shift_seed)]
    states, rewards = [env.state()], []
    for _ in range(steps):
        frame, reward, _, _ = env.step(rng.uniform(-1, 1, env.action_dim))
        frames.append(frame)
        states.append(env.state())
        rewards.append(reward)
    return np.array(frames), np.array(states), np.array(rewards)


def test_frames_are_images_of_something(envs):
    for env in envs.values():
        frames, _, _ = rollout(env, 1)
        assert frames.dtype == np.uint8
        assert frames.shape == (7, 64, 64, 3)
        assert all(frame.flags.c_contiguous for frame in frames)
        assert frames.std(axis=(1, 2)).min() > 5
        assert (frames[0] != frames[-1]).any()


def test_frames_are_upright(env):
    frame = env.reset(0).astype(float)
    floor, sky = frame[-16:].mean(), frame[:16].mean()
    assert sky > floor + 10  # dm_control's floor is darker than its sky
    warm = frame[..., 0] > frame[..., 2]  # the pole and the cart are the only orange things
    assert 10 < np.argwhere(warm)[:, 0].min() < 32 < np.argwhere(warm)[:, 0].max() < 44


def test_a_frame_stays_as_it_was(env):
    first = env.reset(0)
    copy = first.copy()
    env.step(np.ones(1))
    assert (first == copy).all()
    shown = env.render()
    shown[:] = 0
    assert env.render().any()


@pytest.mark.parametrize("shift", [None, EVERYTHING, Shift("background", "extreme", 1.0)], ids=str)
def test_frames_filled_late_are_the_same(env, shift):
    drawn, *_ = rollout(env, 5, shift, 9)
    late = PixelEnv(env.task)
    late.late = True
    rng = np.random.default_rng(0)
    for i in range(len(drawn)):
        action = rng.uniform(-1, 1, 1) if i else None
        frame = late.step(action)[0] if i else late.reset(5, shift, 9)
        assert late.behind
        assert not frame.any()
        late.compose()
        env.draw()  # another's frame in between does no harm
        assert late.capture() is frame
        assert not late.behind
        assert (frame == drawn[i]).all()
        assert (frame == late.render()).all()
    while late.steps < late.task.episode_steps - late.task.action_repeat:
        assert not late.step(np.zeros(1))[0].any()
    assert late.step(np.zeros(1))[0].any()  # an episode's last frame is drawn at once
    assert not late.behind
    late.close()


def test_interleaved_environments_draw_what_they_draw_alone(envs, tasks):
    alone = {}
    for name, env in envs.items():
        alone[name] = rollout(env, 3)[0]
    for name, env in envs.items():
        assert (env.reset(3) == alone[name][0]).all()
    rngs = {name: np.random.default_rng(0) for name in envs}
    for t in range(1, 7):
        for name, env in envs.items():
            frame = env.step(rngs[name].uniform(-1, 1, env.action_dim))[0]
            assert (frame == alone[name][t]).all(), (name, t)


def test_closing_one_environment_leaves_the_others_alone(env, cartpole):
    before = env.reset(0)
    other = PixelEnv(cartpole, image_size=100)
    assert other.reset(0).shape == (100, 100, 3)
    other.close()
    other.close()  # twice does no harm
    assert (env.reset(0) == before).all()


def test_a_seed_gives_one_initial_state_whatever_came_before(envs):
    for env in envs.values():
        first = rollout(env, 5)
        rollout(env, 6, EVERYTHING, 1, steps=9)
        again = rollout(env, 5)
        for a, b in zip(first, again, strict=True):
            assert (a == b).all()
        assert (first[1][0] != rollout(env, 6)[1][0]).any()


def test_seeds_use_all_their_bits(env):
    states = [env.reset(seed) is not None and env.state() for seed in (7, 7 + 2**32, 7 + 2**62)]
    assert len({state.tobytes() for state in states}) == 3


def test_a_shift_changes_frames_and_nothing_else(envs):
    for env in envs.values():
        frames, states, rewards = rollout(env, 2)
        shifted_frames, shifted_states, shifted_rewards = rollout(env, 2, EVERYTHING, 9)
        assert (shifted_states == states).all()
        assert (shifted_rewards == rewards).all()
        for clean, shifted in zip(frames, shifted_frames, strict=True):
            assert (clean != shifted).any(axis=-1).mean() > 0.5


def test_clean_is_bit_identical_before_and_after_shifts(envs):
    for env in envs.values():
        clean = rollout(env, 2)[0]
        rollout(env, 2, EVERYTHING, 9)
        assert (rollout(env, 2, Shift.clean(), 5)[0] == clean).all()
        assert (rollout(env, 2, Shift("nothing", "mild", 0.25), 5)[0] == clean).all()
        assert (rollout(env, 2, Shift("everything", "calm", 0.0), 5)[0] == clean).all()


def test_what_decorates_a_frame_is_gone_from_the_next(env):
    clean = rollout(env, 2)[0]
    counts = {name: getattr(env.scene.model, name) for name in ("ngeom", "nlight")}
    drawn = {name: getattr(env.scene.mjv, name) for name in counts}
    frames = rollout(env, 2, Shift("decorated", "mild", 0.25))[0]
    red = (frames[..., 0] > 100) & (frames[..., 1:].max(-1) < 40)
    assert (red.sum((1, 2)) > 10).all()
    assert np.median((frames != clean)[:, -16:].any(-1)) == 1  # the lamp reaches the floor
    # Once in every frame: nothing piles up.
    assert {name: getattr(env.scene.mjv, name) - 1 for name in counts} == drawn
    assert {name: getattr(env.scene.model, name) for name in counts} == counts
    assert (rollout(env, 2)[0] == clean).all()
    assert {name: getattr(env.scene.mjv, name) for name in counts} == drawn


def test_a_frame_that_is_full_takes_no_more(env):
    scene = env.scene

    def fill(add, *arguments):
        env.reset(0)
        for _ in range(scene.mjv.maxgeom + 1):
            add(*arguments)

    ball = (np.ones(3), np.zeros(3), np.eye(3).ravel(), np.ones(4, np.float32))
    with pytest.raises(ValueError, match=r"geoms at most"):
        fill(scene.add_geom, mujoco.mjtGeom.mjGEOM_SPHERE, *ball)
    with pytest.raises(ValueError, match=r"lamps at most"):
        fill(scene.add_lamp, np.array([0.0, 0.0, -1.0]), 0.5)


def test_appearance_depends_on_its_seed_alone(env):
    first = rollout(env, 2, EVERYTHING, 9)[0]
    other = rollout(env, 2, EVERYTHING, 10)[0]
    assert (first != other).any()
    assert (rollout(env, 2, EVERYTHING, 9)[0] == first).all()


def test_depth_marks_the_sky_and_leaves_the_rest(envs):
    for env in envs.values():
        clean = rollout(env, 4)[0]
        masked = rollout(env, 4, Shift("sky", "mild", 0.25))[0]
        sky = (masked == (255, 0, 255)).all(axis=-1)
        if env.task.domain == "reacher":  # its camera looks straight down
            assert not sky.any()
            continue
        assert 0.05 < sky.mean() < 0.9
        assert (masked[~sky] == clean[~sky]).all()
        looked_up = rollout(env, 4, Shift("deep", "mild", 0.25))[0]
        assert (looked_up[~sky] == clean[~sky]).all()
        assert np.abs(looked_up[sky].astype(int) - clean[sky]).mean() < 3
        if env.task.domain == "cartpole":  # its camera looks at the horizon
            assert sky[:, :8].all()
            assert not sky[:, -8:].any()


@pytest.mark.parametrize(("steps", "repeat"), [(20, 8), (24, 8), (9, 2), (5, 5)])
def test_an_episode_has_exactly_its_length(cartpole, steps, repeat):
    task = msgspec.structs.replace(cartpole, episode_steps=steps, action_repeat=repeat)
    env = PixelEnv(task)
    env.reset(0)
    rewards, done = [], False
    while not done:
        _, reward, done, discount = env.step(np.zeros(1))
        rewards.append(reward)
        assert discount == 1.0
    assert env.steps == steps
    assert env.agent_steps == len(rewards) == task.agent_steps
    assert 0.9 * steps < sum(rewards) <= steps  # at most 1 a control step, nearly upright
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(1))
    env.close()


def test_a_terminal_state_ends_the_episode_with_discount_zero(cartpole, monkeypatch):
    env = PixelEnv(cartpole)
    env.reset(0)
    monkeypatch.setattr(
        env._env.task,
        "get_termination",
        lambda physics: 0.0 if physics.time() > 0.105 else None,
        raising=False,
    )
    assert env.step(np.zeros(1))[2:] == (False, 1.0)
    assert env.step(np.zeros(1))[2:] == (True, 0.0)
    assert env.steps == 11  # control steps of 10 ms
    env.close()


def test_actions_are_clipped_and_scaled(env):
    env.reset(0)
    env.step(np.array([3.0]))
    ends = env.state()
    env.reset(0)
    env.step(np.array([1.0]))
    assert (env.state() == ends).all()
    env.reset(0)
    env.step(np.array([0.5], np.float32))
    assert env.physics.data.ctrl[0] == 0.5
    assert env.state().dtype == np.float64


@pytest.mark.parametrize("action", [np.zeros(2), np.array([np.nan]), 0.0])
def test_a_bad_action_is_an_error(env, action):
    env.reset(0)
    with pytest.raises(ShiftBenchError, match=r"cartpole_balance.*1 finite"):
        env.step(action)


def test_what_a_family_returns_is_checked(env):
    with pytest.raises(
        ShiftBenchError, match=r"'floats' of module '.*conftest' returned float64.*uint8"
    ):
        env.reset(0, Shift("floats", "mild", 0.25))
    with pytest.raises(ShiftBenchError, match=r"unknown family 'textur'.*texture"):
        env.reset(0, Shift("textur", "mild", 0.25))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": "cartpol"}, r"no cartpol/balance.*domains:.*cartpole"),
        ({"task": "juggle"}, r"no cartpole/juggle.*tasks of 'cartpole': balance"),
        ({"camera": 7}, r"camera 7.*-1 to 1.*fixed"),
        ({"camera": "up"}, r"camera 'up'.*fixed"),
        ({"domain": "lqr", "task": "lqr_2_1"}, r"lqr/lqr_2_1.*bounded"),
    ],
)
def test_a_task_that_does_not_exist_is_an_error(cartpole, change, message):
    with pytest.raises(ShiftBenchError, match=message):
        PixelEnv(msgspec.structs.replace(cartpole, **change))


def test_size_and_profile_are_checked(cartpole):
    with pytest.raises(ShiftBenchError, match="16 to 1024"):
        PixelEnv(cartpole, image_size=8)
    with pytest.raises(ShiftBenchError, match=r"'quick'.*fast"):
        PixelEnv(cartpole, render="quick")
    with pytest.raises(ShiftBenchError, match="at most 480"):
        PixelEnv(cartpole, image_size=512, render="dm_control")
