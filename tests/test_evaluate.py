"""The evaluation loop: paired, deterministic, blind to the shift but for the pixels."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch

from shiftbench import seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.evaluate import evaluation_seeds, rollout
from shiftbench.specs import Shift

SEVERE = Shift("texture", "severe", 0.75)


class Brightness:
    """Acts by the mean of the frame."""

    def __init__(self, action_dim: int) -> None:
        self.action_dim, self.resets = action_dim, 0

    def reset(self, mask):
        assert mask.tolist() == [True]
        self.resets += 1

    def act(self, pixels):
        return np.full((1, self.action_dim), pixels.mean() / 127.5 - 1.0, np.float32)


class Recorded:
    """A policy's environment that keeps the states in which episodes begin."""

    def __init__(self, env: PixelEnv) -> None:
        self._env, self.states = env, []

    def reset(self, *arguments):
        frame = self._env.reset(*arguments)
        self.states.append(self._env.state().tobytes())
        return frame

    def __getattr__(self, name):
        return getattr(self._env, name)


@pytest.fixture(scope="module", params=["cartpole_balance", "ball_in_cup_catch", "finger_spin"])
def env(request, tasks):
    task = tasks[request.param]
    env = PixelEnv(msgspec.structs.replace(task, episode_steps=12 * task.action_repeat))
    yield env
    env.close()


def test_seeds_depend_on_names_alone():
    physics, looks = evaluation_seeds("t", 1, SEVERE, 5)
    assert len(set(physics)) == len(set(looks)) == 5
    assert not set(physics) & set(looks)
    # The first episodes are the same however many there are, and under whichever shift.
    assert evaluation_seeds("t", 1, SEVERE, 3) == (physics[:3], looks[:3])
    assert evaluation_seeds("t", 1, Shift.clean(), 5)[0] == physics
    mild = Shift("texture", "mild", 0.25)
    assert not set(evaluation_seeds("t", 1, mild, 5)[1]) & set(looks)
    assert not set(evaluation_seeds("t", 2, SEVERE, 5)[0]) & set(physics)
    assert not set(evaluation_seeds("u", 1, SEVERE, 5)[0]) & set(physics)


def test_unlike_agents_and_shifts_start_in_the_same_states(env, mini):
    from shiftbench.agents.random import RandomPolicy

    starts = []
    for policy in (Brightness(env.action_dim), RandomPolicy("t", env.action_dim, 3)):
        for shift in (Shift.clean(), SEVERE):
            recorded = Recorded(env)
            seeds, looks = evaluation_seeds(env.task.name, env.task.version, shift, 3)
            rollout(policy, recorded, seeds, shift, looks)
            starts.append(recorded.states)
    assert len(set(starts[0])) == 3
    assert all(states == starts[0] for states in starts)


def test_the_same_actions_give_the_same_physics_under_every_shift(env, mini):
    actions = seeding.rng(1).uniform(-1, 1, (env.task.agent_steps, env.action_dim))

    def play(shift: Shift) -> tuple[list[bytes], list[tuple]]:
        frames = [env.reset(11, shift, 5).tobytes()]
        physics = [(env.state().tobytes(), 0.0, False, 1.0, 0)]
        for action in actions:
            frame, reward, done, discount = env.step(action)
            frames.append(frame.tobytes())
            physics.append((env.state().tobytes(), reward, done, discount, env.steps))
        return frames, physics

    clean_frames, clean = play(Shift.clean())
    assert clean[-1][2]
    for shift in mini.shifts()[1:]:
        frames, physics = play(shift)
        assert physics == clean, shift
        assert frames != clean_frames, shift
    assert play(Shift.clean()) == (clean_frames, clean)


def test_lengths_returns_and_progress(env):
    policy, calls = Brightness(env.action_dim), []
    seeds, looks = evaluation_seeds(env.task.name, env.task.version, SEVERE, 2)
    found = rollout(policy, env, seeds, SEVERE, looks, on_episode=lambda: calls.append(1))
    assert [episode.length for episode in found] == [env.task.episode_steps] * 2
    assert policy.resets == len(calls) == 2
    # An episode is the same alone, after others, and again.
    assert rollout(policy, env, seeds[1:], SEVERE, looks[1:]) == found[1:]
    assert rollout(policy, env, seeds, SEVERE, looks) == found


@pytest.mark.parametrize(("variable", "threads"), [(None, 1), ("3", 3)])
def test_acting_takes_one_thread_unless_told_otherwise(env, monkeypatch, variable, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    before, seen = torch.get_num_threads(), set()
    policy = Brightness(env.action_dim)
    act = policy.act
    monkeypatch.setattr(policy, "act", lambda x: (seen.add(torch.get_num_threads()), act(x))[1])
    try:
        torch.set_num_threads(3)
        rollout(policy, env, [1])
        assert seen == {threads}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_returns_are_byte_identical_in_another_process(tmp_path):
    script = tmp_path / "evaluate.py"
    script.write_text("""
import sys
import msgspec
from test_evaluate import Brightness
from shiftbench.envs.pixels import PixelEnv
from shiftbench.evaluate import evaluation_seeds, rollout
from shiftbench.specs import get_suite, load_tasks
shifts = get_suite("mini").shifts()
task = msgspec.structs.replace(load_tasks()["cartpole_balance"], episode_steps=80)
env = PixelEnv(task)
found = {}
for shift in shifts if sys.argv[1] == "forwards" else shifts[::-1]:
    seeds, looks = evaluation_seeds(task.name, task.version, shift, 2)
    found[str(shift)] = rollout(Brightness(env.action_dim), env, seeds, shift, looks)
for name in sorted(found):
    print(name, *(episode.episode_return.hex() for episode in found[name]))
""")
    outputs = [
        subprocess.run(
            [sys.executable, script, order],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.path.dirname(__file__)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for order, seed in (("forwards", "1"), ("backwards", "2"))
    ]
    assert outputs[0] == outputs[1]
    assert len(set(line.split()[1] for line in outputs[0].splitlines())) > 5
