import csv
import resource

import numpy as np
import pytest
import torch
from msgspec import structs
from support import TINY
from torch._inductor import config as inductor

from shiftbench import checkpoints, saving, train
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.agents.world_model import DreamerModel
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.evaluate import rollout
from shiftbench.halt import Halt
from shiftbench.replay import Replay
from shiftbench.specs import AgentSpec


@pytest.fixture(scope="module")
def env(short):
    env = PixelEnv(short)
    yield env
    env.close()


def fresh(task, env, seed=0, **options):
    spec = AgentSpec("tiny", "dreamer", "cnn", "scratch", options={**TINY, **options})
    return DreamerAgent(spec, task, env.action_dim, 64, seed=seed, device="cpu")


@pytest.fixture
def go(short, env, tmp_path, monkeypatch):
    # The environment is shared by the module: training must not close it.
    monkeypatch.setattr(env, "close", lambda: None)

    def go(
        name, steps, seed=0, halt=None, on_episode=None, compiled=False, eval_every=160, **options
    ):
        agent = fresh(short, env, seed, **options)
        train.fit(
            agent, lambda: env, steps, seed, tmp_path / name,
            eval_every=eval_every, eval_episodes=1, progress=False, halt=halt,
            on_episode=on_episode, compiled=compiled,
        )  # fmt: skip
        return agent

    return go


def rows(path):
    with path.open() as file:
        return [{k: v for k, v in r.items() if k != "minutes"} for r in csv.DictReader(file)]


@pytest.mark.parametrize("repeat", [2, 8, 16])
def test_updates_go_by_environment_steps_whatever_the_action_repeat(short, tmp_path, repeat):
    task = structs.replace(short, action_repeat=repeat)
    env = PixelEnv(task)
    agent = fresh(task, env, prefill_env_steps=0, update_env_steps=16)
    train.fit(
        agent, lambda: env, 160, 0, tmp_path, eval_every=1000, eval_episodes=1, progress=False
    )
    assert int(rows(tmp_path / "curve.csv")[-1]["updates"]) == 160 // 16


def test_updates_that_the_prefill_put_off_are_made_up_for(short, tmp_path):
    env = PixelEnv(short)
    agent = fresh(short, env, prefill_env_steps=160, update_env_steps=16)
    train.fit(
        agent, lambda: env, 400, 0, tmp_path, eval_every=1000, eval_episodes=1, progress=False
    )
    # Of 5 an episode: at the prefill's end, twice as often, and as without one.
    assert [int(row["updates"]) for row in rows(tmp_path / "curve.csv")] == [0, 2, 12, 20, 25]


def test_what_is_done_before_learning_begins_is_noise_that_follows_the_seed(short, env):
    def actions(seed):
        agent = fresh(short, env, seed)
        agent.begin(seed)
        agent.new_episodes(50)
        frames = np.zeros((50, 64, 64, 3), np.uint8)
        return np.stack([agent.explore(frames, random=True)["action"] for _ in range(10)])

    found = actions(0)
    assert (found == actions(0)).all()
    assert not (found == actions(1)).all()
    assert 0.5 < (np.abs(found) == 1).mean() < 0.75  # of a deviation of 2: 0.62
    # Pink: what pushes one way goes on to.
    assert np.corrcoef(found[1:].ravel(), found[:-1].ravel())[0, 1] > 0.2


def test_frames_of_84_pixels(short, tmp_path):
    env = PixelEnv(short, image_size=84)
    spec = AgentSpec("tiny", "dreamer", "cnn", "scratch", options=TINY)
    agent = DreamerAgent(spec, short, env.action_dim, 84)
    train.fit(agent, lambda: env, 160, 0, tmp_path, eval_episodes=1, progress=False)
    curve = rows(tmp_path / "curve.csv")
    assert int(curve[-1]["updates"]) == 4
    assert 0.0 < float(curve[-1]["image_loss"]) < 84 * 84 * 3
    assert agent.model.decoder(torch.zeros(1, agent.model.acting.features)).shape == (1, 3, 84, 84)
    with pytest.raises(ShiftBenchError, match="image_size 50: .* take multiples of 4"):
        DreamerAgent(spec, short, env.action_dim, 50).begin(0)


def test_training_writes_a_policy_that_acts_alike_after_loading(go, short, env, tmp_path):
    agent = go("run", 240)
    path = tmp_path / "run" / checkpoints.POLICY
    assert checkpoints.read_meta(path)["train_steps"] == 240
    assert all(t.dtype != torch.float32 for t in checkpoints.read(path)[0].values())
    loaded = fresh(short, env)
    loaded.load(path)
    frames = [env.reset(3)]
    before, after = agent.policy(), loaded.policy()
    for policy in (before, after):
        policy.reset(np.ones(1, bool))
    for _ in range(5):
        wanted, got = before.act(frames[-1][None]), after.act(frames[-1][None])
        assert np.abs(wanted - got).max() < 0.02  # float16 in the file
        frames.append(env.step(got[0])[0])
    curve = rows(tmp_path / "run" / saving.CURVE)
    assert [int(r["env_steps"]) for r in curve] == [80, 160, 240]
    assert curve[1]["eval_return"]


def equal(whole, parts, tmp_path):
    assert rows(tmp_path / "whole" / saving.CURVE) == rows(tmp_path / "parts" / saving.CURVE)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name


@pytest.mark.parametrize("count", [1, 2])
def test_resumed_run_equals_an_uninterrupted_one(go, threads, tmp_path, count):
    threads(count)
    whole = go("whole", 320)
    go("parts", 160)
    equal(whole, go("parts", 320), tmp_path)


def after(looks):
    """Ask to stop at a look at the clock, of which each agent step has one."""
    left = iter(range(looks))
    return Halt(asked=lambda: next(left, None) is None)


# An episode has 11 frames: with room for 20 the ring is overwritten from the second on.
@pytest.mark.parametrize("capacity", [500, 20])
@pytest.mark.parametrize("copied", [False, True], ids=["files", "device"])
def test_stopped_in_the_middle_of_an_episode_and_resumed(
    go, tmp_path, monkeypatch, capacity, copied
):
    whole = go("whole", 320, replay_capacity=capacity)
    if copied:  # as on a GPU
        monkeypatch.setattr(DreamerAgent, "replay_device", "cpu")
    go("parts", 320, halt=after(32), replay_capacity=capacity)
    done = rows(tmp_path / "parts" / saving.CURVE)
    assert [int(row["env_steps"]) for row in done] == [80, 160]
    go("parts", 320, halt=after(18), replay_capacity=capacity)
    parts = go("parts", 320, replay_capacity=capacity)
    equal(whole, parts, tmp_path)


def test_ctrl_c_and_resumed(go, tmp_path, monkeypatch):
    whole = go("whole", 320)
    learn, calls = DreamerAgent.learn, []

    def interrupted(self, *arguments):
        calls.append(learn(self, *arguments))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(DreamerAgent, "learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go("parts", 320)
    assert len(rows(tmp_path / "parts" / saving.CURVE)) == 2
    first = (tmp_path / "parts" / saving.CURVE).read_text().splitlines()[0].split(",")
    assert first[:4] == ["env_steps", "updates", "minutes", "train_return"]
    equal(whole, go("parts", 320), tmp_path)


def test_no_episode_is_begun_that_would_take_too_long(go, tmp_path):
    class Short(Halt):
        """Has no time but for what takes none."""

        def allows(self, seconds):
            return seconds == 0.0

    go("run", 320, halt=Short())
    assert len(rows(tmp_path / "run" / saving.CURVE)) == 1
    assert checkpoints.read_meta(tmp_path / "run" / checkpoints.TRAINING)["budget"] == 320


def test_every_row_of_the_curve_is_told(go, tmp_path):
    told = []
    go("run", 240, on_episode=told.append)
    written = rows(tmp_path / "run" / saving.CURVE)
    assert [row["env_steps"] for row in told] == [80, 160, 240]
    for row, other in zip(told, written, strict=True):
        row.pop("minutes")
        assert row == {name: float(value) for name, value in other.items() if value}


def test_finished_run_is_left_alone(go, tmp_path):
    go("run", 160)
    before = (tmp_path / "run" / checkpoints.TRAINING).stat().st_mtime_ns
    go("run", 160)
    assert (tmp_path / "run" / checkpoints.TRAINING).stat().st_mtime_ns == before


def test_seed_matters_for_each_thing_that_is_drawn(go, short, env, monkeypatch, tmp_path):
    """For the first networks, an update's draws, what is replayed; noise has a test of its own."""

    def drawn(seed: int) -> list[torch.Tensor]:
        sampled, plain = [], Replay.sample

        def sample(*arguments):
            batch, index = plain(*arguments)
            sampled.append(torch.from_numpy(index))
            return batch, index

        with monkeypatch.context() as patch:
            patch.setattr(Replay, "sample", sample)
            go(f"run {len(list(tmp_path.iterdir()))}", 160, seed=seed)
        agent = fresh(short, env, seed)
        agent.begin(seed)
        first = agent.model.state_dict()["acting.prior.rnn.belief_projection.0.weight"]
        return [first, *agent.model.draw(2, 4, agent.generator), torch.stack(sampled)]

    for one, same, other in zip(drawn(0), drawn(0), drawn(1), strict=True):
        assert torch.equal(one, same)
        assert one.shape == other.shape
        assert not torch.equal(one, other)


def test_other_settings_are_refused_by_name(go):
    go("run", 80)
    with pytest.raises(ShiftBenchError, match=r"batch.* 2, not 3"):
        go("run", 160, batch=3)


def test_another_precision_is_another_training(go):
    go("run", 80)
    with pytest.raises(ShiftBenchError, match=r"precision None, not 'bfloat16'"):
        go("run", 160, precision="bfloat16")


def test_where_nothing_can_be_compiled_it_says_so(go, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    # Not `monkeypatch`, which would leave no setting behind for the tests that compile.
    no_compiler = inductor.patch({"cpp.cxx": (str(tmp_path / "none"),)})
    with no_compiler, pytest.raises(ShiftBenchError, match="^--compile: .*without the"):
        go("run", 160, compiled=True)
    go("run", 160)
    assert float(rows(tmp_path / "run" / saving.CURVE)[-1]["model_loss"]) > 0


def test_nan_stops_and_names_the_step(go, monkeypatch, tmp_path):
    monkeypatch.setattr(
        DreamerAgent, "learn", lambda *_: {"model_loss": float("nan"), "actor_loss": 0.0}
    )
    what = "model_loss is nan in update 1, at environment step 40; there is no checkpoint yet"
    with pytest.raises(ShiftBenchError, match=what):
        go("run", 160)


def test_gradients_that_break_stop_it_before_their_checkpoint(go, monkeypatch, tmp_path):
    """Losses are of the parameters before the step: of an episode's last, none would show it."""
    whole = go("whole", 240)
    go("parts", 80)
    losses = DreamerModel.behaviour_losses
    with monkeypatch.context() as patch:

        def steep(model, *args):  # 0 as a number, of an infinite slope
            actor, critic, parts = losses(model, *args)
            return actor, critic + (0.0 * model.critic.mlp.model[0].weight.sum()).sqrt(), parts

        patch.setattr(DreamerModel, "behaviour_losses", steep)
        with pytest.raises(ShiftBenchError, match="gradient_norm is nan .*is the one of step 80$"):
            go("parts", 240)
    equal(whole, go("parts", 240), tmp_path)


def test_moments_have_the_layout_of_their_parameters_after_resuming(go, tmp_path):
    whole, _ = go("whole", 160), go("parts", 80)
    parts = go("parts", 160)
    for agent in (whole, parts):
        state = agent.optimizer.state
        assert state
        for parameter, moments in state.items():
            assert {m.stride() for m in moments.values()} == {parameter.stride()}
    of_convolutions = [p for p in whole.optimizer.state if p.dim() == 4 and p.stride()[1] == 1]
    assert of_convolutions


def test_nan_after_a_good_checkpoint_leaves_that_one(go, monkeypatch, tmp_path):
    whole = go("whole", 240)
    go("parts", 80)
    learn = DreamerAgent.learn
    with monkeypatch.context() as patch:
        patch.setattr(
            DreamerAgent,
            "learn",
            lambda self, *a: {**learn(self, *a), "critic_loss": float("inf")},
        )
        with pytest.raises(ShiftBenchError, match="critic_loss is inf .* of step 80"):
            go("parts", 240)
    equal(whole, go("parts", 240), tmp_path)


def test_a_disk_that_is_really_full(go, tmp_path):
    """No file may grow beyond what the checkpoint takes, which the system really refuses."""
    whole = go("whole", 160)
    go("parts", 80)
    path = tmp_path / "parts" / checkpoints.TRAINING
    good, before = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, before[1]))
    try:
        with pytest.raises(ShiftBenchError, match=r"training.safetensors: cannot be written"):
            go("parts", 160)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == good
    assert not list(path.parent.glob(".*"))
    equal(whole, go("parts", 160), tmp_path)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, torch.AcceleratorError, MemoryError])
def test_out_of_memory_names_what_to_lower(go, short, env, monkeypatch, kind):
    def full(*_):
        raise kind("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    def at(step):
        what = rf"step {step} \(CUDA out of memory\); lower --jobs, or .*batch \(2\).*--device cpu"
        return pytest.raises(ShiftBenchError, match=what)

    with monkeypatch.context() as patch:
        patch.setattr(DreamerAgent, "learn", full)
        with at(40) as nothing_saved:
            go("run", 160)
    assert "checkpoint" not in str(nothing_saved.value)
    go("run", 80)
    with monkeypatch.context() as patch:
        patch.setattr(DreamerAgent, "learn", full)
        with at("[0-9]+") as saved:
            go("run", 160)
        assert str(saved.value).endswith("the last good checkpoint is the one of step 80")
        with at(0):  # where the time of a step is measured, before a training
            fresh(short, env).seconds_per_step(env)
        patch.setattr(DreamerAgent, "begin", full)
        with at(0):
            go("run", 160)
    with monkeypatch.context() as patch:  # an episode is over, and its checkpoint not written
        patch.setattr(train, "validation_return", full)
        with at(80) as unsaved:
            go("new", 160, eval_every=80)
    assert "checkpoint" not in str(unsaved.value)


def test_what_a_checkpoint_counts_is_on_disk_before_it(go, monkeypatch):
    done, flush, write = [], Replay.flush, checkpoints.write
    monkeypatch.setattr(Replay, "flush", lambda self: done.append("replay") or flush(self))
    monkeypatch.setattr(
        checkpoints, "write", lambda path, *rest: done.append(path.name) or write(path, *rest)
    )
    go("run", 80)
    assert done == ["replay", checkpoints.TRAINING, checkpoints.POLICY]


def test_stopped_between_the_files_of_a_checkpoint(go, tmp_path, monkeypatch):
    whole, save, saved = go("whole", 320), DreamerAgent.save, []

    def interrupted(self, path):
        saved.append(path)
        if len(saved) == 2:
            raise KeyboardInterrupt
        save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(DreamerAgent, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go("parts", 160)
    policy, training = (tmp_path / "parts" / name for name in (saving.POLICY, saving.TRAINING))
    assert [checkpoints.read_meta(p)["train_steps"] for p in (policy, training)] == [80, 160]
    go("parts", 160)  # nothing is left to train: the policy alone
    assert checkpoints.read_meta(policy)["train_steps"] == 160
    equal(whole, go("parts", 320), tmp_path)


def test_a_training_goes_on_on_another_kind_of_device(go, tmp_path):
    go("run", 80)
    path = tmp_path / "run" / saving.TRAINING
    tensors, meta = checkpoints.read(path)
    meta.pop("schema")
    tensors["generator"] = tensors["generator"][:16]  # as large as that of CUDA
    checkpoints.write(path, tensors, meta)
    go("run", 160)
    drawn = checkpoints.read(path)[0]["generator"]
    checkpoints.write(path, tensors, meta)
    go("run", 160)
    assert checkpoints.read_meta(path)["train_steps"] == 160
    # Its noise has a seed there as well.
    assert torch.equal(checkpoints.read(path)[0]["generator"], drawn)


def test_another_render_profile_is_refused(go, env, monkeypatch, tmp_path):
    go("run", 80)
    before = (tmp_path / "run" / saving.TRAINING).read_bytes()
    monkeypatch.setattr(env, "render_profile", "dm_control")
    with pytest.raises(ShiftBenchError, match="started with render 'fast', not 'dm_control'; "):
        go("run", 160)
    assert (tmp_path / "run" / saving.TRAINING).read_bytes() == before


def test_full_disk_keeps_the_earlier_checkpoint(go, tmp_path, monkeypatch):
    go("run", 80)
    good = (tmp_path / "run" / checkpoints.TRAINING).read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(ShiftBenchError, match="No space left"):
        go("run", 160)
    assert (tmp_path / "run" / checkpoints.TRAINING).read_bytes() == good
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(
        [saving.CURVE, checkpoints.POLICY, checkpoints.TRAINING, "replay"]
    )


def test_expected_time_is_measured(short, env):
    assert 0.0 < fresh(short, env).seconds_per_step(env) < 5.0
    assert short.agent_steps == 10
    # Of episodes that are shorter than what an update replays, too.
    agent = DreamerAgent(
        AgentSpec("tiny", "dreamer", options={**TINY, "length": 16}), short, env.action_dim, 64
    )
    assert 0.0 < agent.seconds_per_step(env) < 5.0


def test_evaluations_keep_their_steps_when_they_are_asked_for_at_others(go, tmp_path):
    go("run", 160, eval_every=80)
    go("run", 480, eval_every=160)
    curve = rows(tmp_path / "run" / saving.CURVE)
    assert [row["env_steps"] for row in curve if row["eval_return"]] == ["80", "160", "320", "480"]


def test_evaluation_is_deterministic_and_paired(short, env):
    agent = fresh(short, env)
    agent.begin(0)
    first = rollout(agent.policy(), env, [1, 2])
    assert first == rollout(agent.policy(), env, [1, 2])
    assert first[1:] == rollout(agent.policy(), env, [2])
    assert {result.length for result in first} == {80}
    assert first[0].episode_return != first[1].episode_return
