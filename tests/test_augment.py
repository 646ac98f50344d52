"""Augmentation: what it does to frames, and that training with it follows its seed."""

import numpy as np
import pytest
import torch
from learner import filled, learn, learner

from shiftbench import augment, plan
from shiftbench.agents import resolve
from shiftbench.errors import ShiftBenchError


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def still() -> torch.Tensor:
    """Six sequences whose five frames are all alike: uint8 (6, 5, 32, 32, 3)."""
    frames = torch.randint(0, 256, (6, 1, 32, 32, 3), dtype=torch.uint8, generator=source(9))
    return frames.expand(6, 5, 32, 32, 3)


@pytest.mark.parametrize("name", list(augment.AUGMENTATIONS))
def test_a_sequence_stays_consistent_in_time_and_follows_the_seed(name, still):
    chosen = augment.get(name)
    out = augment.apply(still, chosen, source())
    assert (out.shape, out.dtype) == (still.shape, torch.uint8)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert torch.equal(out, augment.apply(still, chosen, source()))
    changed = [not torch.equal(a, b) for a, b in zip(out, still, strict=True)]
    if name == "none":
        assert out is still
    else:
        assert sum(changed) >= 5
        assert not torch.equal(out, augment.apply(still, chosen, source(1)))


def test_a_shift_moves_by_at_most_four_pixels_and_repeats_the_edge(still):
    same = still[:1].expand(400, -1, -1, -1, -1)[:, :1]
    out = augment.apply(same, augment.get("shift"), source())[:, 0].numpy()
    padded = np.pad(still[0, 0].numpy(), ((4, 4), (4, 4), (0, 0)), mode="edge")
    crops = {
        padded[y : y + 32, x : x + 32].tobytes(): (y - 4, x - 4) for y in range(9) for x in range(9)
    }
    seen = {crops[frame.tobytes()] for frame in out}  # a KeyError is none of the crops
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(-4, 5))


def test_colours_are_a_power_then_a_matrix():
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(200, 1, 16, 16, 3)
    chosen = augment.Augmentation(gamma=0.3)
    out = augment.apply(ramp, chosen, source())[:, 0].flatten(1, 2).float()
    assert torch.equal(out[:, 0], torch.zeros(200, 3))
    assert torch.equal(out[:, 255], torch.full((200, 3), 255.0))
    assert (out.diff(dim=1) >= 0).all()
    # γ = log(out) / log(in), here at mid-grey: its logarithm has the deviation given.
    gamma = (out[:, 128, 0] / 255).log() / torch.tensor(128 / 255).log()
    assert gamma.log().std().item() == pytest.approx(0.3, rel=0.2)

    grey = torch.full((500, 1, 2, 2, 3), 100, dtype=torch.uint8)
    mixed = augment.apply(grey, augment.Augmentation(matrix=0.15), source())[:, 0, 0, 0].float()
    assert mixed.mean().item() == pytest.approx(100, rel=0.03)
    # Three entries of the matrix add up for each channel of a grey.
    assert (mixed / 100).std().item() == pytest.approx(0.15 * 3**0.5, rel=0.1)
    assert (mixed[:, 0] != mixed[:, 1]).float().mean() > 0.9
    brighter = augment.apply(grey, augment.Augmentation(gain=0.2), source())[:, 0, 0, 0].float()
    assert (brighter / 100).std().item() == pytest.approx(0.2, rel=0.1)
    assert torch.equal(brighter[:, 0], brighter[:, 2])


def test_unknown_augmentations_say_what_there_is():
    with pytest.raises(ShiftBenchError, match=r"'photo' for --augment.*none, photometric, shift"):
        resolve("scratch", augment="photo")
    with pytest.raises(ShiftBenchError, match="'random' learns from no frames"):
        resolve("random", augment="shift")


def test_an_override_is_part_of_the_id_and_of_the_command(mini, cartpole, tmp_path):
    named, overridden = resolve("scratch-aug"), resolve("scratch", augment="photometric")
    assert (named.id, overridden.id) == ("scratch-aug", "scratch+augment=photometric")
    assert named.augment == overridden.augment == "photometric"
    assert resolve("scratch-aug", augment="photometric") == named
    assert resolve("scratch-aug", augment="none").id == "scratch-aug+augment=none"
    assert resolve("scratch").augment == "none"
    (run,) = plan.runs(mini, [cartpole], [overridden], [0], tmp_path)
    assert "--augment photometric" in plan.training_command(run, tmp_path)


def test_a_name_and_an_override_train_alike(cartpole, tmp_path):
    states = []
    for number, spec in enumerate(
        (resolve("scratch-aug"), resolve("scratch", augment="photometric"), resolve("scratch"))
    ):
        agent = learner(spec, cartpole)
        learn(agent, filled(agent, tmp_path / str(number)), 3)
        states.append(agent.training_state())
    named, overridden, plain = states
    for name, tensor in named.items():
        assert torch.equal(tensor, overridden[name]), name
    assert any(not torch.equal(tensor, plain[name]) for name, tensor in named.items())


def test_augmented_learning_goes_on_as_if_never_stopped(cartpole, tmp_path):
    spec = resolve("scratch-aug")
    whole = learner(spec, cartpole)
    replay = filled(whole, tmp_path / "whole")
    learn(whole, replay, 2)
    state, meta = whole.training_state(), whole.training_meta()
    state = {name: tensor.clone() for name, tensor in state.items()}
    latents = {name: array.copy() for name, array in replay.arrays.items()}
    wanted = learn(whole, replay, 2, seed=3)

    def go_on(generator_seed: int | None = None) -> dict[str, float]:
        agent = learner(spec, cartpole, seed=0)
        agent.restore(state, meta)
        if generator_seed is not None:
            agent.generator.manual_seed(generator_seed)
        for name, array in latents.items():
            replay.arrays[name][:] = array
        return learn(agent, replay, 2, seed=3)

    assert go_on() == wanted
    assert go_on(generator_seed=5) != wanted


def test_the_encoder_sees_augmented_frames_and_the_decoder_predicts_clean_ones(
    cartpole, tmp_path, monkeypatch
):
    agent = learner(resolve("scratch-aug"), cartpole)
    replay = filled(agent, tmp_path)
    batches, seen = [], []
    encode, loss = agent.model.acting.encode, agent.model.model_loss
    monkeypatch.setattr(
        agent.model.acting, "encode", lambda frames: seen.append(frames) or encode(frames)
    )
    monkeypatch.setattr(
        agent.model,
        "model_loss",
        lambda seen, batch, *rest: batches.append(batch) or loss(seen, batch, *rest),
    )
    learn(agent, replay, 1)
    held = {frame.tobytes() for frame in replay.arrays["pixels"]}
    assert all(frame.numpy().tobytes() in held for frame in batches[0]["pixels"].flatten(0, 1))
    assert not any(frame.numpy().tobytes() in held for frame in seen[0].flatten(0, 1))

    # Acting, in training and in evaluation, is given what the environment shows.
    seen.clear()
    frame = replay.arrays["pixels"][3]
    agent.new_episodes(1)
    agent.explore(np.array(frame)[None], random=False)
    policy = agent.policy()
    policy.reset(np.ones(1, dtype=bool))
    policy.act(np.array(frame)[None])
    assert [got[0].numpy().tobytes() for got in seen] == [frame.tobytes()] * 2


def test_a_checkpoint_of_another_augmentation_is_refused(cartpole, tmp_path):
    agent = learner(resolve("scratch-aug"), cartpole)
    agent.save(tmp_path / "a.safetensors")
    learner(resolve("scratch", augment="photometric"), cartpole).load(tmp_path / "a.safetensors")
    with pytest.raises(ShiftBenchError, match=r"--augment photometric, 'scratch.*' is with none"):
        learner(resolve("scratch"), cartpole).load(tmp_path / "a.safetensors")
