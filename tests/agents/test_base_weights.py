"""Checkpoints hold the encoder's tensors that changed, and the hash of the others' weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from learner import filled, learn, learner
from safetensors.torch import save_file

from shiftbench import checkpoints, encoders, plan
from shiftbench.agents import resolve
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.data import data_dir
from shiftbench.encoders.timm_models import timm
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import AgentSpec


def encoder_names(path: Path) -> set[str]:
    names = checkpoints.read(path)[0]
    return {name.removeprefix("encoder.") for name in names if name.startswith("encoder.")}


def of_vit(mode: str, weights: str, **options: object) -> AgentSpec:
    return AgentSpec("any", "dreamer", "timm:test_vit", mode, weights=weights, options=options)


def act(agent: DreamerAgent) -> np.ndarray:
    """Return the actions on the same two frames."""
    policy = agent.policy()
    policy.reset(np.ones(1, dtype=bool))
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64, 3), dtype=np.uint8)
    return np.concatenate([policy.act(frame) for frame in frames])


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> dict[int, str]:
    """Two weight files of one architecture."""
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_file(timm.create_model("test_vit").state_dict(), folder / f"{seed}.safetensors")
    return {seed: str(folder / f"{seed}.safetensors") for seed in (0, 1)}


@pytest.mark.parametrize("mode", ["frozen", "partial", "lora", "lowlr", "scratch"])
@pytest.mark.parametrize("name", ["synth", "synth-2", "timm:test_vit"])
def test_a_policy_holds_what_changed_and_acts_alike(name, mode, cartpole, tmp_path, vit):
    weights = vit[0] if name.startswith("timm:") and mode != "scratch" else ""
    spec = AgentSpec("any", "dreamer", name, mode, weights=weights)
    agent = learner(spec, cartpole, warmup=1)
    learn(agent, filled(agent, tmp_path / "replay"), 3)
    path = tmp_path / "policy.safetensors"
    agent.save(path)
    trainable = set(agent.model.plan.trainable)
    meta = checkpoints.read_meta(path)
    whole = set(agent.model.acting.encoder.state_dict())
    if mode in ("scratch", "lowlr"):
        assert (encoder_names(path), meta["base_sha256"]) == (whole, "")
    else:
        assert encoder_names(path) == trainable
        base = encoders.build(name, weights=Path(weights) if weights else None)
        assert meta["base_sha256"] == base.sha256
    loaded = learner(spec, cartpole, seed=1)
    loaded.load(path)
    np.testing.assert_allclose(act(loaded), act(agent), atol=0.02)  # float16 in the file
    # What was loaded can be written again, and holds the same.
    loaded.save(tmp_path / "again.safetensors")
    before, after = (checkpoints.read(p)[0] for p in (path, tmp_path / "again.safetensors"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_state_of_a_training_leaves_the_same_out(cartpole, tmp_path, vit):
    spec = of_vit("partial", vit[0])
    agent = learner(spec, cartpole)
    replay = filled(agent, tmp_path)
    learn(agent, replay, 2)
    state, meta = agent.training_state(), agent.training_meta()
    prefix = "model.acting.encoder."
    held = {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    assert held == set(agent.model.plan.trainable)
    again = learner(spec, cartpole, seed=1)
    again.restore(state, meta)
    for name, tensor in agent.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    other = learner(
        AgentSpec("any", "dreamer", "timm:test_vit", "partial", weights=vit[1]), cartpole
    )
    with pytest.raises(ShiftBenchError, match=r"trained on other weights of 'timm:test_vit'"):
        other.restore(state, meta)


def test_other_weights_are_refused_in_one_line(cartpole, tmp_path, vit):
    agent = learner(of_vit("frozen", vit[0]), cartpole)
    path = tmp_path / "policy.safetensors"
    agent.save(path)
    other = learner(
        AgentSpec("any", "dreamer", "timm:test_vit", "frozen", weights=vit[1]), cartpole
    )
    with pytest.raises(ShiftBenchError) as caught:
        other.load(path)
    message = str(caught.value)
    assert message.startswith(f"--checkpoint {path}: trained on other weights of 'timm:test_vit'")
    assert "--encoder-weights FILE" in message
    assert "\n" not in message


def test_a_buffer_that_moved_is_stored(cartpole, tmp_path):
    agent = learner(AgentSpec("any", "dreamer", "synth", "frozen"), cartpole)
    agent.model.acting.encoder.mean.add_(1.0)
    path = tmp_path / "policy.safetensors"
    agent.save(path)
    assert encoder_names(path) == {"mean"}
    loaded = learner(AgentSpec("any", "dreamer", "synth", "frozen"), cartpole)
    loaded.load(path)
    assert torch.equal(loaded._acting.encoder.mean, agent.model.acting.encoder.mean.half().float())


@pytest.mark.parametrize(
    "path",
    sorted(data_dir("results").glob("mini-v1/checkpoints/**/*.safetensors")),
    ids=lambda path: "/".join(path.parts[-3:]),
)
def test_shipped_checkpoints_load(path, mini, tasks, tmp_path):
    meta = checkpoints.read_meta(path)
    task, spec, seed = meta["task"], resolve(meta["agent"]["name"]), meta["seed"]
    (run,) = plan.runs(mini, [tasks[task]], [spec], [seed], tmp_path)
    assert plan.find_checkpoint(run, None) == path
    assert (meta["schema"], meta["train_steps"]) == (2, 100_000)
    agent = DreamerAgent(run.agent, tasks[task], meta["action_dim"], 64, device="cpu")
    agent.load(path)
    assert np.isfinite(act(agent)).all()
    agent.save(tmp_path / "again.safetensors")
    again, before = (checkpoints.read(p)[0] for p in (tmp_path / "again.safetensors", path))
    assert again.keys() == before.keys()


def test_policies_of_the_first_schema_go_on_loading(mini, cartpole, tmp_path):
    """They held the whole encoder and named no weights that it began with."""
    (run,) = plan.runs(mini, [cartpole], [resolve("pvm-partial")], [0], tmp_path)
    path = plan.find_checkpoint(run, None)
    now, old = (DreamerAgent(run.agent, cartpole, 1, 64, device="cpu") for _ in range(2))
    now.load(path)
    meta = {**checkpoints.read_meta(path), "schema": 1}
    del meta["base_sha256"]
    whole = {name: tensor.half() for name, tensor in now._acting.state_dict().items()}
    checkpoints.write(tmp_path / "old.safetensors", whole, meta)
    old.load(tmp_path / "old.safetensors")
    assert checkpoints.read_meta(tmp_path / "old.safetensors")["schema"] == 1
    np.testing.assert_array_equal(act(old), act(now))


def test_policies_from_before_frames_were_standardised_see_them_as_they_are(
    mini, cartpole, tmp_path
):
    (run,) = plan.runs(mini, [cartpole], [resolve("scratch")], [0], tmp_path)
    tensors, meta = checkpoints.read(plan.find_checkpoint(run, None))
    new = {"transform.mean", "transform.std"}
    assert new < tensors.keys()
    old = {key: tensor for key, tensor in tensors.items() if key not in new}
    checkpoints.write(tmp_path / "old.safetensors", old, meta)
    agent = DreamerAgent(run.agent, cartpole, 1, 64, device="cpu")
    agent.load(tmp_path / "old.safetensors")
    assert (agent._acting.transform.std == 1).all()
    assert (agent._acting.transform.mean == 0).all()


def test_options_of_the_encoder_must_be_those_of_the_checkpoint(cartpole, tmp_path, vit):
    spec = of_vit("frozen", vit[0])
    sized = of_vit("frozen", vit[0], encoder_size=96)
    agent = learner(sized, cartpole)
    assert agent._acting.transform.size == 96
    agent.save(tmp_path / "policy.safetensors")
    loaded = learner(sized, cartpole)
    loaded.load(tmp_path / "policy.safetensors")
    assert loaded._acting.transform.size == 96
    with pytest.raises(ShiftBenchError, match="its agent has encoder_size 96, .* has None"):
        learner(spec, cartpole).load(tmp_path / "policy.safetensors")
