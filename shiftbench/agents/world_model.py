"""DreamerV3's world model, actor and critic and their losses, on plain tensors.

Reference: Hafner et al. 2023, "Mastering Diverse Domains through World Models", arXiv 2301.04104
("the paper"). ``docs/dreamer.md`` lists what equals the paper and what does not.

Shapes: B sequences of T steps; N = B·T imagined starts; H imagined steps; S the stochastic state
(categoricals × classes, flattened one-hot); D the belief; F = S + D the latent features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from torchrl.modules import DreamerV3MLP
from torchrl.objectives import categorical_kl_terms

from shiftbench import finetune
from shiftbench.agents.by_class import ByClass, flat_classes
from shiftbench.agents.config import Config
from shiftbench.agents.networks import (
    ActingModel,
    Decoder,
    TwoHot,
    sample_classes,
    sample_one_hot,
)
from shiftbench.agents.returns import lambda_returns, log_slope, replayed_returns
from shiftbench.encoders.base import Encoder
from shiftbench.encoders.cut import Cut


class Draws(NamedTuple):
    """The random numbers of one update.

    They are drawn before it, so that what is computed from them is a function of tensors, which
    can be compiled and gives the same whether it is or not.
    """

    #: Uniform over [0, 1), (B, 1, features): which features are dropped.
    kept: Tensor
    #: Uniform over [0, 1), (B, T, categoricals): the posterior's states.
    states: Tensor
    #: Normal, (H, N, A): the imagined actions.
    actions: Tensor
    #: Uniform over [0, 1), (H, N, categoricals): the imagined states.
    imagined: Tensor


class DreamerModel(nn.Module):
    """The acting model with everything that only learning needs.

    Args:
        encoder: pixels → features, with the modes' trainable blocks marked by `finetune`.
        plan: which parts of the encoder train.
        action_dim: number of action dimensions A.
        image_size: height and width of the frames in pixels.
        config: hyper-parameters.
        action_repeat: environment steps per agent step.
    """

    def __init__(
        self,
        encoder: Encoder,
        plan: finetune.Plan,
        action_dim: int,
        image_size: int,
        config: Config,
        action_repeat: int,
    ) -> None:
        super().__init__()
        self.config, self.plan = config, plan
        # Both horizons are lengths of time in the world, whatever the action repeat.
        self.discount = 1.0 - action_repeat / config.horizon_env_steps
        self.horizon = min(
            config.imagination, max(1, config.imagination_env_steps // action_repeat)
        )
        self.acting = ActingModel(encoder, action_dim, config)
        #: Whether `compile_losses` was called.
        self.compiled = False
        #: Both halves of the encoder, where replay brings what the first one gives.
        self.cut: Cut | None = None
        self.embedding, features = encoder.features, self.acting.features
        self.decoder = Decoder(features, image_size, config.decoder_channels)
        #: Frames from the encoder's features: one that begins untrained sees small things sooner.
        self.feature_decoder = (
            None
            if encoder.pretrained
            else Decoder(encoder.features, image_size, config.decoder_channels)
        )
        self.reward = TwoHot(features, config)
        self.continuation = DreamerV3MLP(
            features, 1, depth=config.layers, num_cells=config.units, outscale=1.0
        )
        self.critic = TwoHot(features, config)
        self.slow_critic = TwoHot(features, config)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.slow_critic.requires_grad_(False)
        self.narrow(0)
        self.register_buffer("return_range", torch.zeros(2))
        self.register_buffer("quantiles", torch.tensor([0.05, 0.95]), persistent=False)

    def begin_with(self, frame: Tensor) -> None:
        """Make ``frame``, (3, H, W) in [0, 1], that from which decoders predict the difference."""
        for module in self.modules():
            if isinstance(module, Decoder):
                module.mean.copy_(frame)

    def compile_losses(self) -> None:
        """Compile each loss as one graph, on CUDA as a CUDA graph: their many steps are small.

        The first update takes as long as compiling does, minutes. Losses are those of the plain
        path but for the order of additions. Encoders run as they are, whatever they are made of.
        """
        self.compiled = True
        # What an earlier run in this process compiled would count towards torch's limit.
        torch.compiler.reset()
        on_cuda = self.return_range.device.type == "cuda"
        mode = "reduce-overhead" if on_cuda else "default"
        for name in ("model_loss", "behaviour_losses"):
            # In place of the method, so that whoever calls it needs not know.
            loss = torch.compile(getattr(self, name), mode=mode, fullgraph=True, dynamic=False)
            setattr(self, name, loss)

    def groups(self) -> list[dict]:
        """Return optimiser parameter groups: the model and the critic, the actor, the encoder."""
        config, acting = self.config, self.acting
        actor = list(acting.actor.parameters())
        encoder = [p for p in acting.encoder.parameters() if p.requires_grad]
        seen = {id(p) for p in [*actor, *acting.encoder.parameters()]}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in seen]
        groups = [
            {"params": rest, "lr": config.learning_rate},
            {"params": actor, "lr": config.actor_learning_rate},
        ]
        if encoder:
            factor = self.plan.lr_factor
            groups.append({"params": encoder, "lr": config.learning_rate * factor})
        return groups

    def draw(self, batch: int, length: int, generator: torch.Generator) -> Draws:
        """Draw what an update of ``batch`` sequences of ``length`` frames needs."""
        count, shape = self.config.categoricals, (self.horizon, batch * length)
        options = {"generator": generator, "device": generator.device}
        return Draws(
            kept=torch.rand(batch, 1, self.embedding, **options),
            states=torch.rand(batch, length, count, **options),
            actions=torch.randn(*shape, self.acting.action_dim, **options),
            imagined=torch.rand(*shape, count, **options),
        )

    def observe(
        self,
        embedding: Tensor,
        action: Tensor,
        first: Tensor,
        state: Tensor,
        belief: Tensor,
        uniform: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Filter sequences of frames.

        Args:
            embedding: float32 (B, T, features).
            action: float32 (B, T, A), the action that led to each frame.
            first: bool (B, T), True for the first frame of an episode.
            state, belief: the latent before the first frame, (B, S) and (B, D).
            uniform: what states are drawn with, `Draws.states`.

        Returns:
            posterior logits (B, T, categoricals, classes), states (B, T, S), beliefs (B, T, D).
        """
        acting, unimix = self.acting, self.config.unimix
        keep = (~first).unsqueeze(-1).to(embedding.dtype)
        see, advance, core = acting.posteriors(embedding), acting.dynamics(), acting.prior.rnn
        did = core.action_projection(action * keep).unbind(1)
        logits, states, beliefs = [], [], []
        for t in range(embedding.shape[1]):
            mask = keep[:, t]
            belief = advance(core.state_projection(state * mask), belief * mask, did[t])
            posterior = see(belief, t)
            state = sample_one_hot(posterior, unimix, uniform[:, t])
            logits.append(posterior)
            states.append(state)
            beliefs.append(belief)
        return torch.stack(logits, 1), torch.stack(states, 1), torch.stack(beliefs, 1)

    def image_weight(self, updates: int) -> float:
        """Return the weight of the image loss after so many updates; it falls geometrically."""
        config = self.config
        start, end = config.image_weight_updates
        share = min(max((updates - start) / max(end - start, 1), 0.0), 1.0)
        return config.first_image_weight ** (1.0 - share) * config.image_weight**share

    def narrow(self, updates: int) -> None:
        """Make the smallest deviation of actions that of so many updates; it falls linearly."""
        config = self.config
        share = min(updates / config.min_std_updates, 1.0)
        # In place, since compiled code looks at this tensor.
        self.acting.least_std.fill_(config.first_min_std * (1 - share) + config.min_std * share)

    def drop(self, embedding: Tensor, kept: Tensor) -> Tensor:
        """Return (B, T, features) without a share of the features, others for every sequence.

        Args:
            embedding: float32 (B, T, features).
            kept: `Draws.kept`.
        """
        share = self.config.feature_dropout
        return embedding * (kept >= share) / (1.0 - share)

    def embed(self, batch: dict[str, Tensor]) -> Tensor:
        """Return what the encoder gives for a batch, float32 (B, T, features).

        Args:
            batch: what `shiftbench.replay.Replay.sample` returns, as tensors, and under ``seen``
                the frames that the encoder is given, where they are others than ``pixels``, which
                the decoder predicts.
        """
        if "activations" in batch:
            return self.acting.embed(batch["activations"], self.cut).float()
        return self.acting.encode(batch.get("seen", batch["pixels"])).float()

    def model_loss(
        self,
        embedding: Tensor,
        batch: dict[str, Tensor],
        draws: Draws,
        image_weight: float | Tensor,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        """Return the world model's loss, and detached its parts, posterior states and beliefs.

        Compiled code would trace zeros back through whatever else it returned.

        Args:
            embedding: `embed` of the batch.
            batch: as for `embed`.
            draws: of this update.
            image_weight: what `image_weight` gives for it.
        """
        acting, config = self.acting, self.config
        logits, states, beliefs = self.observe(
            self.drop(embedding, draws.kept),
            batch["action"], batch["first"], batch["state"], batch["belief"], draws.states,
        )  # fmt: skip
        features = torch.cat([states, beliefs], -1)
        dynamics, representation = categorical_kl_terms(
            logits, acting.prior_logits(beliefs), config.free_nats, config.unimix
        )
        image = self.decoder.loss(features, batch["pixels"])
        reward = self.reward.loss(self.reward(features), batch["reward"]).mean()
        continuation = F.binary_cross_entropy_with_logits(
            self.continuation(features).squeeze(-1).float(), 1.0 - batch["terminal"].float()
        )
        loss = (
            image_weight * image
            + reward
            + continuation
            + config.dynamics_weight * dynamics
            + config.representation_weight * representation
        )
        parts = {
            "image_loss": image,
            "reward_loss": reward,
            "continuation_loss": continuation,
            "kl": dynamics,
        }
        if self.feature_decoder:
            # Frames that follow each other are alike; half of them teach as much in half the time.
            shown = self.feature_decoder.loss(embedding[:, ::2], batch["pixels"][:, ::2])
            loss = loss + image_weight * shown
            parts["feature_image_loss"] = shown
        return loss, {k: v.detach() for k, v in parts.items()}, states.detach(), beliefs.detach()

    def imagine(
        self, classes: Tensor, belief: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Roll the actor out in the model.

        Args:
            classes: the states that it begins in, integers (N, categoricals).
            belief: (N, D).
            draws: of this update.

        Returns:
            `flat_classes` of the states (H + 1, N, categoricals), beliefs (H + 1, N, D), and the
            actions (H, N, A) as drawn; the model takes them cut to [-1, 1], as environments do.
        """
        acting, config = self.acting, self.config
        advance, core = acting.dynamics(), acting.prior.rnn
        actor, project = self._by_class(acting.actor.model), self._by_class(core.state_projection)
        ones = flat_classes(classes, config.classes)
        states, beliefs, actions = [ones], [belief], []
        for noise, uniform in zip(draws.actions, draws.imagined, strict=True):
            raw, std = acting.actor_outputs(actor(ones, belief))
            actions.append(raw.tanh() + std * noise)
            did = core.action_projection(actions[-1].clamp(-1.0, 1.0))
            belief = advance(project(ones), belief, did)
            drawn = sample_classes(acting.prior_logits(belief), config.unimix, uniform)
            ones = flat_classes(drawn, config.classes)
            states.append(ones)
            beliefs.append(belief)
        return torch.stack(states), torch.stack(beliefs), torch.stack(actions)

    def _by_class(self, layers: nn.Sequential) -> ByClass:
        return ByClass(layers, self.config.categoricals * self.config.classes)

    def _head(self, mlp: DreamerV3MLP, ones: Tensor, beliefs: Tensor) -> Tensor:
        return self._by_class(mlp.model)(ones, beliefs).float()

    def behaviour_losses(
        self, batch: dict[str, Tensor], classes: Tensor, beliefs: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the actor's and the critic's loss and, detached, their parts.

        The actor learns by REINFORCE with the critic as its baseline (the paper's equation 6). Its
        bonus is the entropy of its distribution in nats and `log_slope` of each dimension. The
        critic learns from imagined returns, and from replayed rewards with the imagined returns
        that begin in each replayed step as their values, as published code has it.

        Args:
            batch: as for `model_loss`.
            classes: of the replayed states, integers (B, T, categoricals).
            beliefs: detached, (B, T, D).
            draws: of this update.
        """
        config, sequences = self.config, beliefs.shape[:2]
        first, over = batch["first"], batch["terminal"]
        with torch.no_grad():
            states, beliefs, actions = self.imagine(
                classes.flatten(0, 1), beliefs.flatten(0, 1), draws
            )
        past = states[:-1], beliefs[:-1]
        # Learned from but for the last step's; values need it too, so one pass does for both.
        logits = self._head(self.critic.mlp, states, beliefs)
        with torch.no_grad():
            reward = self.reward.decode(self._head(self.reward.mlp, states[1:], beliefs[1:]))
            alive = torch.sigmoid(self._head(self.continuation, states, beliefs).squeeze(-1))
            value = self.critic.decode(logits)
            returns = lambda_returns(reward, value, self.discount * alive, config.lmbda)
            # From where the episode has ended nothing is learned.
            begun = (~over).flatten().to(alive.dtype).unsqueeze(0)
            weight = torch.cat([begun, self.discount * alive[1:-1]]).cumprod(0)
            scale = self._return_scale(returns)
            advantage = (returns - value[:-1]) / scale
            slow = self.slow_critic.decode(self._head(self.slow_critic.mlp, *past))
            following, goes_on = returns[0].unflatten(0, sequences), 1.0 - over.float()
            target = replayed_returns(
                batch["reward"], following, first, self.discount * goes_on, config.lmbda
            )
        raw, std = self.acting.actor_outputs(self._head(self.acting.actor, *past))
        policy = Normal(raw.tanh(), std, validate_args=False)
        bonus = (policy.entropy() + log_slope(raw)).sum(-1)
        likelihood = policy.log_prob(actions).sum(-1)
        actor = -(weight * (advantage * likelihood + config.entropy * bonus)).mean()
        logits = logits[:-1]
        near = self.critic.loss(logits, slow)
        imagined = (weight * (self.critic.loss(logits, returns) + near)).mean()
        # Of the imagined steps the first are the replayed ones.
        real = self.critic.loss(logits[0].unflatten(0, sequences)[:, :-1], target)
        real = real + near[0].unflatten(0, sequences)[:, :-1]
        replayed = ((~first[:, 1:]) * real).mean()
        parts = {
            "actor_loss": actor,
            "critic_loss": imagined,
            "replay_value_loss": replayed,
            "actor_bonus": bonus.mean(),
            "imagined_return": returns.mean(),
            "return_scale": scale,
        }
        critic = imagined + config.replay_value_weight * replayed
        return actor, critic, {k: v.detach() for k, v in parts.items()}

    def _return_scale(self, returns: Tensor) -> Tensor:
        """Return max(floor, running 5–95 percentile range) (the paper's equation 7)."""
        now = torch.quantile(returns.flatten(), self.quantiles)
        self.return_range.lerp_(now, self.config.return_rate)
        return (self.return_range[1] - self.return_range[0]).clamp_min(self.config.return_floor)

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow critic towards the critic."""
        for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, self.config.slow_rate)
