"""Several environments that collect while the agent learns."""

import csv

import numpy as np
import pytest
import torch
from support import TINY

from shiftbench import checkpoints, saving, seeding, train
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.envs.pixels import PixelEnv
from shiftbench.envs.vector import Collector
from shiftbench.errors import ShiftBenchError
from shiftbench.halt import Halt
from shiftbench.replay import LATENT
from shiftbench.specs import AgentSpec

COUNT = 2


@pytest.fixture(scope="module")
def env(short):
    env = PixelEnv(short)
    yield env
    env.close()


@pytest.fixture(scope="module")
def envs(short):
    envs = Collector(short, COUNT)
    yield envs
    envs.close()


@pytest.fixture
def go(short, env, envs, tmp_path, monkeypatch):
    monkeypatch.setattr(env, "close", lambda: None)  # shared by the module

    def go(name, steps, seed=0, halt=None, envs=envs):
        spec = AgentSpec("tiny", "dreamer", "cnn", "scratch", options=TINY)
        agent = DreamerAgent(spec, short, env.action_dim, 64, seed=seed, device="cpu")
        train.fit(
            agent, lambda: env, steps, seed, tmp_path / name, eval_every=320, eval_episodes=1,
            progress=False, halt=halt, envs=envs,
        )  # fmt: skip
        return agent

    return go


def rows(path):
    with path.open() as file:
        return [{k: v for k, v in r.items() if k != "minutes"} for r in csv.DictReader(file)]


def held(folder, name, shape, dtype, count):
    return np.fromfile(folder / f"{name}.bin", dtype).reshape(-1, *shape)[:count]


def test_what_enters_replay_is_what_happened(go, short, env, tmp_path):
    go("run", 320)
    frames = short.agent_steps + 1
    replay, count = tmp_path / "run" / "replay", 2 * COUNT * frames
    pixels = held(replay, "pixels", (64, 64, 3), np.uint8, count)
    actions = held(replay, "action", (1,), np.float32, count)
    rewards = held(replay, "reward", (), np.float32, count)
    first = held(replay, "first", (), np.bool_, count)
    assert np.flatnonzero(first).tolist() == [frames * k for k in range(2 * COUNT)]
    # Many are at a bound, and none leads to a first frame; no two others are alike.
    inside = actions[(actions != 0.0) & (np.abs(actions) < 1.0)]
    assert len(np.unique(inside)) == len(inside) > count // 4
    for episode in range(2 * COUNT):
        own = slice(frames * episode, frames * (episode + 1))
        seed = seeding.train_seed(short.name, short.version, 0, episode)
        assert (pixels[own][0] == env.reset(seed)).all()
        for frame, action, reward in zip(
            pixels[own][1:], actions[own][1:], rewards[own][1:], strict=True
        ):
            shown, got, _, _ = env.step(action)
            assert (frame == shown).all()
            assert reward == np.float32(got)


def test_the_curve_has_a_row_a_round(go, tmp_path):
    agent = go("run", 320)
    curve = rows(tmp_path / "run" / saving.CURVE)
    assert [int(row["env_steps"]) for row in curve] == [160, 320]
    # The first round fills replay at random; the second does what that one put off as well.
    assert [int(row["updates"]) for row in curve] == [0, 320 // TINY["update_env_steps"]]
    assert curve[1]["eval_return"]
    assert agent.train_steps == 320


def test_it_learns_while_they_step(go, envs, monkeypatch):
    events = []
    for owner, name in ((envs, "begin"), (envs, "finish"), (DreamerAgent, "learn")):
        plain = getattr(owner, name)

        def told(*arguments, name=name, plain=plain):
            events.append(name)
            return plain(*arguments)

        monkeypatch.setattr(owner, name, told)
    go("run", 320)
    places = [place for place, name in enumerate(events) if name == "learn"]
    assert places
    for place in places:
        before, after = events[:place], events[place:]
        assert before.count("begin") == before.count("finish") + 1, "no step was under way"
        assert after.count("finish") == after.count("begin") + 1


def test_a_seed_and_a_number_of_environments_give_one_run(go, tmp_path):
    one, other = go("one", 320), go("other", 320)
    assert rows(tmp_path / "one" / saving.CURVE) == rows(tmp_path / "other" / saving.CURVE)
    different = go("different", 320, seed=1)
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    assert any(
        not torch.equal(tensor, different.model.state_dict()[name])
        for name, tensor in one.model.state_dict().items()
    )


@pytest.mark.parametrize("looks", range(36, 40))  # between steps, and between updates
def test_stopped_in_the_middle_of_a_round_and_resumed(go, tmp_path, looks):
    whole = go("whole", 480)
    left = iter(range(looks))
    go("parts", 480, halt=Halt(asked=lambda: next(left, None) is None))
    assert len(rows(tmp_path / "parts" / saving.CURVE)) == 2
    parts = go("parts", 480)
    assert rows(tmp_path / "whole" / saving.CURVE) == rows(tmp_path / "parts" / saving.CURVE)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name


def test_what_a_stopped_round_learned_is_undone(go, tmp_path):
    def latents():
        folder = tmp_path / "run" / "replay"
        return {name: (folder / f"{name}.bin").read_bytes() for name in LATENT}

    go("run", 320)
    before = latents()
    left = iter(range(8))
    go("run", 640, halt=Halt(asked=lambda: next(left, None) is None))
    assert len(rows(tmp_path / "run" / saving.CURVE)) == 2
    assert latents() == before


def test_a_run_keeps_its_number_of_environments(go, tmp_path):
    go("run", 160)
    assert checkpoints.read_meta(tmp_path / "run" / checkpoints.TRAINING)["envs"] == COUNT
    with pytest.raises(ShiftBenchError, match="envs 2, not 1"):
        go("run", 320, envs=None)


def test_the_command_line_collects_with_several(call, mine, tiny, tmp_path):
    done = call("train", "--agent", tiny, "--steps", "300", "--envs", "2", *mine)
    assert done.code == 0
    assert "on this machine, measured without --envs. " in done.err
    (curve,) = (tmp_path / "runs").rglob(saving.CURVE)
    assert [int(row["env_steps"]) for row in rows(curve)] == [200, 400]
    again = call("train", "--agent", tiny, "--steps", "600", *mine)
    assert (again.code, again.out) == (2, "")
    assert "envs 2, not 1" in again.err.splitlines()[-1]
