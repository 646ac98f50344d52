import msgspec
import numpy as np
import pytest
import torch
from torchrl.trainers.algorithms.dreamer_v3 import DreamerV3Optimizer

from shiftbench import encoders, finetune
from shiftbench.agents.by_class import ByClass, flat_classes
from shiftbench.agents.config import Config
from shiftbench.agents.networks import (
    TwoHot,
    mode_one_hot,
    sample_classes,
    sample_one_hot,
    symexp,
    symlog,
)
from shiftbench.agents.returns import lambda_returns, log_slope, replayed_returns
from shiftbench.agents.world_model import Draws, DreamerModel

CONFIG = Config(
    belief=16, hidden=16, categoricals=4, classes=4, units=16, decoder_channels=(8, 8, 8),
    batch=2, length=4, imagination=3,
)  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    encoder = encoders.build("cnn", pretrained=False)
    plan = finetune.plan(encoder, "scratch")
    finetune.apply(encoder, plan)
    return DreamerModel(encoder, plan, 2, 64, CONFIG, action_repeat=8)


def batch():
    generator = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, 256, (2, 4, 4, 4, 3), dtype=torch.uint8, generator=generator)
    return {
        "pixels": blocks.repeat_interleave(16, 2).repeat_interleave(16, 3),
        "action": torch.rand(2, 4, 2, generator=generator) * 2 - 1,
        "reward": torch.rand(2, 4, generator=generator),
        "first": torch.tensor([[True, False, False, False], [False, False, True, False]]),
        "terminal": torch.zeros(2, 4, dtype=torch.bool),
        "state": torch.zeros(2, 16),
        "belief": torch.zeros(2, 16),
    }


def classes(states):
    """Return the class indices (..., 4) of one-hot states (..., 16)."""
    return states.detach().unflatten(-1, (4, 4)).argmax(-1)


def draws(model, count=2, length=4, seed=0):
    return model.draw(count, length, torch.Generator().manual_seed(seed))


def replayed(reward, over=False):
    """Return the part of a batch that behaviour is learned from: one piece of an episode each."""
    never = torch.zeros(reward.shape, dtype=torch.bool)
    return {"reward": reward, "first": never, "terminal": torch.tensor(over) | never}


def model_loss(model, data, updates=0, seed=0):
    weight = model.image_weight(updates)
    return model.model_loss(model.embed(data), data, draws(model, seed=seed), weight)


def test_symlog_and_two_hot_invert():
    values = torch.tensor([-900.0, -1.0, 0.0, 0.3, 8.0, 1500.0])
    assert torch.allclose(symexp(symlog(values)), values, rtol=1e-4)
    head = TwoHot(4, Config())
    # The logits that the loss is smallest for decode to the target.
    target = torch.tensor([5.0])
    logits = torch.zeros(1, 127, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(logits, target).sum().backward()
        optimizer.step()
    assert head.decode(logits).item() == pytest.approx(5.0, rel=0.02)


def test_lambda_returns_by_hand():
    reward = torch.tensor([[1.0], [2.0]])
    value = torch.tensor([[0.0], [10.0], [20.0]])
    discount = torch.full((3, 1), 0.5)
    # Last step: 2 + .5 · 20 = 12. First: 1 + .5 · (.2 · 10 + .8 · 12) = 6.8.
    result = lambda_returns(reward, value, discount, lmbda=0.8)
    assert torch.allclose(result, torch.tensor([[6.8], [12.0]]))


def test_replayed_returns_by_hand():
    reward, value = torch.tensor([[7.0, 1.0, 2.0, 3.0]]), torch.tensor([[5.0, 10.0, 20.0, 30.0]])
    never, discount = torch.zeros(1, 4, dtype=torch.bool), torch.full((1, 4), 0.5)
    # Third: 3 + .5 · 30 = 18. Second: 2 + .5 · (.2 · 20 + .8 · 18) = 11.2.
    # First: 1 + .5 · (.2 · 10 + .8 · 11.2) = 6.48.
    found = replayed_returns(reward, value, never, discount, lmbda=0.8)
    assert torch.allclose(found, torch.tensor([[6.48, 11.2, 18.0]]))
    # The third step is the first of another episode: the second has its own value alone, and the
    # first 1 + .5 · 10 = 6.
    first = torch.tensor([[False, False, True, False]])
    found = replayed_returns(reward, value, first, discount, lmbda=0.8)
    assert torch.allclose(found, torch.tensor([[6.0, 10.0, 18.0]]))
    # Nothing follows the end.
    discount = torch.tensor([[0.5, 0.5, 0.0, 0.5]])
    found = replayed_returns(reward, value, first, discount, lmbda=0.8)
    assert torch.allclose(found[0, :2], torch.tensor([6.0, 10.0]))
    found = replayed_returns(reward, value, never, discount, lmbda=0.8)
    assert torch.allclose(found, torch.tensor([[2.8, 2.0, 18.0]]))


def test_samples_follow_the_logits_and_carry_gradients():
    logits = torch.log(torch.tensor([[[0.7, 0.2, 0.1]]])).expand(4000, 1, 3).clone()
    logits.requires_grad_(True)
    uniform = torch.rand(4000, 1, generator=torch.Generator().manual_seed(0))
    sample = sample_one_hot(logits, 0.0, uniform)
    assert torch.allclose(sample.mean(0), torch.tensor([0.7, 0.2, 0.1]), atol=0.03)
    sample[:, 0].sum().backward()
    assert logits.grad.abs().sum() > 0
    assert torch.equal(mode_one_hot(logits)[0].detach(), torch.tensor([1.0, 0.0, 0.0]))


def test_loops_compute_what_the_modules_of_acting_do(model):
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(0, 4, (5, 3, 4), generator=generator)
    state = torch.nn.functional.one_hot(drawn, 4).float().flatten(-2)
    assert torch.equal(classes(state), drawn)
    belief = torch.randn(5, 3, 16, generator=generator)
    features, ones = torch.cat([state, belief], -1), flat_classes(drawn, 4)
    core, action = model.acting.prior.rnn, torch.rand(5, 3, 2, generator=generator)
    for layers, inputs in (
        (model.critic.mlp.model, (ones, belief)), (core.state_projection, (ones,)),
    ):  # fmt: skip
        wanted = layers(features if len(inputs) == 2 else state)
        slope = torch.autograd.grad(wanted.square().sum(), layers[0].weight)
        for summed in (None, True, False):
            found = ByClass(layers, 16, summed)(*inputs)
            torch.testing.assert_close(found, wanted)
            slope_here = torch.autograd.grad(found.square().sum(), layers[0].weight)
            torch.testing.assert_close(slope_here, slope)
    belief = belief[0].requires_grad_()
    found = model.acting.dynamics()(
        core.state_projection(state[0]), belief, core.action_projection(action[0])
    )
    wanted = model.acting.advance(state[0], belief, action[0])
    torch.testing.assert_close(found, wanted)
    sources = [belief, *core.parameters()]
    pairs = (torch.autograd.grad(value.square().sum(), sources) for value in (found, wanted))
    torch.testing.assert_close(*pairs)


def test_classes_are_drawn_as_one_hot_samples_are():
    generator = torch.Generator().manual_seed(2)
    logits, uniform = torch.randn(50, 4, 6, generator=generator), torch.rand(50, 4)
    sample = sample_one_hot(logits, 0.01, uniform)
    found = sample_classes(logits, 0.01, uniform)
    assert torch.equal(sample.unflatten(-1, (4, 6)).argmax(-1), found)
    assert sample_classes(logits, 0.01, torch.ones(50, 4)).max() < 6


def test_actor_loss_reaches_the_actor_alone(model):
    _, _, states, beliefs = model_loss(model, batch())
    model.zero_grad()
    starts = classes(states), beliefs.detach()
    actor, critic, _ = model.behaviour_losses(batch(), *starts, draws(model))
    actor.backward(retain_graph=True)
    touched = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched
    assert all(name.startswith("acting.actor.") for name in touched)
    model.zero_grad()
    critic.backward()
    touched = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched
    assert all(name.startswith("critic.") for name in touched)
    assert all(p.requires_grad for p in model.critic.parameters())


def test_the_actor_learns_what_is_rewarded(model):
    generator = torch.Generator().manual_seed(0)
    trained = [p for group in model.groups() for p in group["params"]]
    optimizer = torch.optim.Adam(trained, 1e-2)
    blind = torch.zeros(32, 2, model.acting.encode(batch()["pixels"]).shape[-1])
    first, latent = torch.zeros(32, 2, dtype=torch.bool), torch.zeros(32, 16)
    for _ in range(400):
        action = torch.rand(32, 2, 2, generator=generator) * 2 - 1
        reward = 10 * action[..., 0]  # the second dimension is worth nothing
        drawn = model.draw(32, 2, generator)
        _, *latents = model.observe(blind, action, first, latent, latent, drawn.states)
        loss = model.reward.loss(model.reward(torch.cat(latents, -1)), reward).mean()
        latents = [part.detach() for part in latents]
        starts = classes(latents[0]), latents[1]
        actor, critic, _ = model.behaviour_losses(replayed(reward), *starts, drawn)
        optimizer.zero_grad()
        (loss + actor + critic).backward()
        optimizer.step()
    mean, _ = model.acting.action_distribution(torch.cat(latents, -1))
    assert (mean[..., 0] > 0.5).all()


def test_features_are_dropped_for_whole_sequences(model):
    embedding = torch.ones(50, 4, model.embedding)
    found = model.drop(embedding, draws(model, 50).kept)
    share = CONFIG.feature_dropout
    assert found.unique().tolist() == pytest.approx([0.0, 1.0 / (1.0 - share)])
    assert found.mean() == pytest.approx(1.0, abs=0.03)
    assert (found == found[:, :1]).all()
    assert not (found[0] == found[1]).all()
    assert torch.equal(found, model.drop(embedding, draws(model, 50).kept))


def test_the_bonus_has_the_entropy_and_pulls_means_off_their_bounds(model):
    last = model.acting.actor.model[-1]
    latents = torch.eye(4)[[0, 0, 0, 0]].flatten().repeat(1, 3, 1), torch.zeros(1, 3, 16)
    starts, data = (classes(latents[0]), latents[1]), replayed(torch.zeros(1, 3))
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
    mean, std = model.acting.action_distribution(torch.cat(latents, -1))
    entropy = torch.distributions.Normal(mean, std).entropy().sum(-1).mean()
    _, _, parts = model.behaviour_losses(data, *starts, draws(model, 1, 3))
    assert parts["actor_bonus"].item() == pytest.approx(entropy.item())
    # Heads begin at zero, so nothing is better than anything, and nothing ends: all that is left
    # of the actor's loss is the bonus.
    weight = (model.discount ** torch.arange(model.horizon)).mean() * CONFIG.entropy
    for raw in (-20.0, 20.0):
        with torch.no_grad():
            model.continuation.model[-1].bias.fill_(100.0)
            last.bias[:2] = raw
        model.zero_grad()
        mean, _ = model.acting.action_distribution(torch.cat(latents, -1))
        assert (mean == np.sign(raw)).all()
        mean.sum().backward()
        assert not last.bias.grad[:2].any()
        actor, _, _ = model.behaviour_losses(data, *starts, draws(model, 1, 3))
        actor.backward()
        assert torch.allclose(last.bias.grad[:2], 2.0 * np.sign(raw) * weight.expand(2))


def test_nothing_is_learned_from_what_is_imagined_after_the_end(model):
    starts = torch.zeros(1, 3, 4, dtype=torch.int64), torch.randn(1, 3, 16)
    drawn, reward = draws(model, 1, 3), torch.zeros(1, 3)
    losses = []
    for over in ([False] * 3, [False, True, True], [True] * 3):
        actor, _, parts = model.behaviour_losses(replayed(reward, over), *starts, drawn)
        losses.append((actor, parts["critic_loss"]))
    for none, some, every in zip(*losses, strict=True):
        assert 0.0 < some.abs() < none.abs()
        assert every == 0.0


def test_the_critic_learns_rewards_that_the_model_does_not_know(model):
    """The heads begin at zero, so all that is imagined is worth nothing until the critic learns."""
    starts = torch.zeros(1, 3, 4, dtype=torch.int64), torch.randn(1, 3, 16)
    features = torch.cat([torch.eye(4)[starts[0]].flatten(-2), starts[1]], -1)
    drawn, reward = draws(model, 1, 3), torch.tensor([[9.0, 1.0, 2.0]])
    plain, begun = model.config, model.critic.state_dict()
    begun = {name: value.clone() for name, value in begun.items()}
    values = []
    for weight in (0.0, 100.0):
        model.config = msgspec.structs.replace(plain, replay_value_weight=weight)
        model.critic.load_state_dict(begun)
        optimizer = torch.optim.Adam(model.critic.parameters(), 1e-2)
        for _ in range(200):
            _, critic, parts = model.behaviour_losses(replayed(reward), *starts, drawn)
            optimizer.zero_grad()
            critic.backward()
            optimizer.step()
        values.append(model.critic.decode(model.critic(features))[0].tolist())
        assert critic > parts["critic_loss"] if weight else critic == parts["critic_loss"]
    assert values[0] == pytest.approx([0.0] * 3, abs=0.01)
    # The slow critic, which stays at zero here, draws towards its own half of the way in symlog.
    first, second, _ = values[1]
    assert 0.3 < second < first


def test_nothing_is_learned_from_the_rewards_of_the_next_episode(model):
    starts = torch.zeros(1, 3, 4, dtype=torch.int64), torch.randn(1, 3, 16)
    drawn = draws(model, 1, 3)
    found = []
    for reward in (0.0, 5.0):
        data = replayed(torch.tensor([[0.0, 0.0, reward]]))
        for first in ([False, False, True], [False, False, False]):
            data["first"] = torch.tensor([first])
            model.zero_grad()
            _, critic, _ = model.behaviour_losses(data, *starts, drawn)
            critic.backward()
            found.append(model.critic.mlp.model[-1].bias.grad.clone())
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[1], found[3])


def test_the_slope_is_that_of_the_tanh():
    raw = torch.linspace(-3, 3, 13, dtype=torch.float64)
    assert torch.allclose(log_slope(raw), (1 - raw.tanh() ** 2).log())
    assert log_slope(torch.tensor([-1e4, 1e4])).isfinite().all()


def test_small_returns_are_not_blown_up(model):
    floor = CONFIG.return_floor
    for _ in range(1_000):
        scale = model._return_scale(torch.linspace(0, floor / 2, 100))
    assert scale == floor
    for _ in range(1_000):
        scale = model._return_scale(torch.linspace(0, 10 * floor, 101))
    assert scale == pytest.approx(9 * floor, rel=1e-3)


def test_first_frames_forget_the_past(model):
    data = batch()
    embedding = model.acting.encode(data["pixels"])
    outputs = []
    for start in (0.0, 1.0):
        _, _, beliefs = model.observe(
            embedding,
            data["action"],
            data["first"],
            torch.full((2, 16), start),
            torch.full((2, 16), start),
            draws(model).states,
        )
        outputs.append(beliefs)
    assert torch.equal(outputs[0][0], outputs[1][0])  # begins with a first frame
    assert not torch.equal(outputs[0][1, 0], outputs[1][1, 0])
    assert torch.equal(outputs[0][1, 2], outputs[1][1, 2])


def test_model_loss_falls_on_one_batch(model):
    data = batch()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model_loss(model, data)[0]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_the_image_loss_is_that_of_the_decoded_frames(model):
    pixels, decoder = batch()["pixels"], model.decoder
    decoder.mean.copy_(torch.rand(decoder.mean.shape))
    features = torch.randn(2, 4, model.acting.features, requires_grad=True)
    errors = decoder(features) - pixels.movedim(-1, -3) / 255.0
    by_hand = errors.square().sum((-3, -2, -1)).mean()
    found = decoder.loss(features, pixels)
    torch.testing.assert_close(found, by_hand)
    gradients = (torch.autograd.grad(loss, features)[0] for loss in (found, by_hand))
    torch.testing.assert_close(*gradients)


def test_the_image_weight_falls_from_the_one_to_the_other(model):
    start, end = CONFIG.image_weight_updates
    weights = [model.image_weight(u) for u in (0, start, (start + end) // 2, end, 10 * end)]
    middle = (CONFIG.first_image_weight * CONFIG.image_weight) ** 0.5
    assert weights == pytest.approx(
        [CONFIG.first_image_weight] * 2 + [middle] + [CONFIG.image_weight] * 2
    )
    data = batch()
    parts = [model_loss(model, data, updates) for updates in (start, end)]
    images = parts[0][1]["image_loss"] + parts[0][1]["feature_image_loss"]
    difference = (weights[0] - weights[3]) * images
    torch.testing.assert_close(parts[0][0] - parts[1][0], difference)


def test_an_encoder_from_scratch_learns_from_frames_out_of_its_features(model, monkeypatch):
    losses, plain = [], model.feature_decoder.loss
    monkeypatch.setattr(
        model.feature_decoder, "loss", lambda *args: losses.append(plain(*args)) or losses[0]
    )
    parts = model_loss(model, batch())[1]
    assert parts["feature_image_loss"] == losses[0]
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(losses[0], list(parameters.values()), allow_unused=True)
    reached = {name for name, g in zip(parameters, found, strict=True) if g is not None}
    wanted = {n for n in parameters if n.startswith(("acting.encoder.", "feature_decoder."))}
    assert reached == wanted


def test_a_pre_trained_encoder_learns_as_the_paper_has_it():
    encoder = encoders.build("synth", pretrained=True)
    model = DreamerModel(encoder, finetune.plan(encoder, "full"), 2, 64, CONFIG, action_repeat=8)
    assert model.feature_decoder is None
    assert "feature_image_loss" not in model_loss(model, batch())[1]


def test_decoders_begin_with_the_mean_frame(model):
    frame = torch.rand(3, 64, 64)
    model.begin_with(frame)
    assert torch.equal(model.decoder.mean, frame)
    assert torch.equal(model.feature_decoder.mean, frame)


def test_groups_hold_every_trainable_parameter_once(model):
    held = [id(p) for group in model.groups() for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters() if p.requires_grad}


def test_posteriors_of_sequences_are_those_of_single_frames(model):
    acting, generator = model.acting, torch.Generator().manual_seed(2)
    embedding = torch.randn(
        2, 3, acting.posterior.obs_rnn_to_post_projector[0].in_features - 16, generator=generator
    )
    belief = torch.randn(2, 16, generator=generator)
    see = acting.posteriors(embedding)
    for t in range(3):
        wanted = acting.posterior_logits(belief, embedding[:, t])
        assert torch.allclose(see(belief, t), wanted, rtol=1e-4, atol=1e-4)


def test_an_update_makes_no_tensor_on_another_device():
    """On torch's device without memory, since what is made elsewhere is an error there as well."""
    with torch.device("meta"):
        encoder = encoders.build("cnn", pretrained=False)
        plan = finetune.plan(encoder, "scratch")
        finetune.apply(encoder, plan)
        model = DreamerModel(encoder, plan, 2, 64, CONFIG, action_repeat=8)
        optimizer = DreamerV3Optimizer(model.groups())
    data = {name: tensor.to("meta") for name, tensor in batch().items()}
    drawn = Draws(*(tensor.to("meta") for tensor in draws(model)))
    weight = torch.ones((), device="meta")
    loss, _, states, beliefs = model.model_loss(model.embed(data), data, drawn, weight)
    actor, critic, _ = model.behaviour_losses(data, classes(states), beliefs.detach(), drawn)
    (loss + actor + critic).backward()
    optimizer.step()
    model.update_slow_critic()
    with pytest.raises((RuntimeError, NotImplementedError)):
        model.model_loss(model.embed(data), batch(), drawn, weight)


def test_the_smallest_deviation_falls_from_the_one_to_the_other(model):
    last = model.acting.actor.model[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(-100.0)  # as small a deviation as the actor can have
    over = CONFIG.min_std_updates
    found = []
    for updates in (0, over // 2, over, 10 * over):
        model.narrow(updates)
        found.append(model.acting.action_distribution(torch.zeros(1, 32))[1])
    first, least = CONFIG.first_min_std, CONFIG.min_std
    expected = torch.tensor([first, (first + least) / 2, least, least])
    assert torch.allclose(torch.cat(found), expected[:, None].expand(4, 2))
    # It is no part of what files hold.
    assert not [name for name in model.state_dict() if "least_std" in name]
