"""The family ``combined``: several families at once, in one order, with streams of their own."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench.registry import FAMILIES
from shiftbench.shifts.base import SEVERITY
from shiftbench.shifts.combined import SCENE, Combined
from shiftbench.specs import LEVELS, Shift

SHIFTED = [level for level in LEVELS if level != "none"]
TASKS = pytest.mark.parametrize("task", ["cartpole_balance", "ball_in_cup_catch", "finger_spin"])


def shift(level: str = "severe", family: str = "combined") -> Shift:
    return Shift(family, level, LEVELS[level])


def test_it_is_every_family_but_those_of_the_sensor(mini):
    everyone = set(FAMILIES) - {"combined", "preset", "sensor"}
    assert set(SCENE) == everyone
    assert list(Combined.for_shift(shift()).members) == list(SCENE)


@pytest.mark.parametrize("missing", SCENE)
def test_without_any_one_member_the_frame_is_another(shift_envs, monkeypatch, missing):

    class Fewer(Combined):
        @classmethod
        def for_shift(cls, shift):
            return cls([name for name in SCENE if name != missing], shift)

    monkeypatch.setattr(FAMILIES, "_targets", dict(FAMILIES._load()))
    FAMILIES.register(f"without-{missing}", Fewer)
    env = shift_envs["cartpole_balance"]
    for look in range(3):
        whole = env.reset(1, shift("extreme"), look).astype(int)
        fewer = env.reset(1, shift("extreme", f"without-{missing}"), look)
        if np.abs(whole - fewer).mean() > 0.5:
            return
    raise AssertionError(f"{missing} is not to be seen")


def test_a_member_gets_its_own_stream_and_other_numbers_than_alone(shift_envs):
    env = shift_envs["cartpole_balance"]
    family = Combined.for_shift(shift())
    got = {}

    def recorded(name):
        def use(scene, numbers, rng):
            got[name] = vars(numbers), rng.uniform()

        return use

    for name, member in family.members.items():
        member.use = recorded(name)
    seen = {name: [vars(member.numbers(0))] for name, member in family.members.items()}
    for severity in SEVERITY[1:]:
        family.apply(env.scene, severity, np.random.default_rng(0))
        for name, member in family.members.items():
            numbers, _ = got[name]
            assert numbers not in seen[name]  # every level has its own
            assert numbers != vars(member.numbers(severity))
            seen[name].append(numbers)
        assert len({number for _, number in got.values()}) == len(SCENE)
    # A stream depends on the name alone, not on who stands beside.
    whole = dict(got)
    family.members = {"weather": family.members["weather"]}
    got.clear()
    family.apply(env.scene, 1.0, np.random.default_rng(0))
    assert got == {"weather": whole["weather"]}


@TASKS
def test_only_pixels_change_and_the_seed_decides(shift_envs, task):
    env = shift_envs[task]

    def play(shift, look=5):
        frames, rewards = [env.reset(5, shift, look)], []
        for action in np.random.default_rng(0).uniform(-1, 1, (4, env.action_dim)):
            frame, reward, _, _ = env.step(action)
            frames.append(frame)
            rewards.append(reward)
        return np.array(frames), rewards, env.state()

    clean = play(None)
    for level in SHIFTED:
        frames, rewards, state = play(shift(level))
        assert frames.dtype == np.uint8
        assert (frames != clean[0]).any(axis=(1, 2, 3)).all()
        assert rewards == clean[1]
        assert (state == clean[2]).all()
        assert (play(shift(level))[0] == frames).all()
        assert (play(shift(level), 6)[0] != frames).any()
    assert (play(None)[0] == clean[0]).all()


def test_it_moves_at_the_extreme(shift_envs):
    env = shift_envs["cartpole_balance"]
    env.reset(0, shift("extreme"), 2)
    places = []
    for t in range(8):
        env.agent_steps = t
        env.draw()
        places.append(np.array(env.scene.mjv.camera[0].pos))
    assert (np.abs(np.diff(places, axis=0)).max(1) > 1e-4).all()
