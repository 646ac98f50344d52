"""DreamerV3's world model, actor and critic, from TorchRL's parts, on plain tensors.

Reference: Hafner et al. 2023, "Mastering Diverse Domains through World Models", arXiv 2301.04104
("the paper"). ``docs/dreamer.md`` lists what equals the paper and what does not.

Shapes: B sequences of T steps; N = B·T imagined starts; H imagined steps; S the stochastic state
(categoricals × classes, flattened one-hot); D the belief; F = S + D the latent features.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor, nn
from torchrl.modules import (
    DreamerV3MLP,
    RSSMPosteriorV3,
    RSSMPriorV3,
)
from torchrl.objectives import categorical_kl_terms, two_hot_cross_entropy

from shiftbench import finetune
from shiftbench.encoders.base import Encoder


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of `dreamer`; one set for every task and agent.

    Steps are agent steps unless the name says otherwise.
    """

    belief: int = 256
    hidden: int = 128
    categoricals: int = 16
    classes: int = 16
    blocks: int = 8
    units: int = 128
    layers: int = 2
    decoder_channels: tuple[int, int, int] = (48, 32, 32)
    unimix: float = 0.01  # the paper's
    free_nats: float = 1.0  # the paper's
    image_weight: float = 30.0
    dynamics_weight: float = 1.0  # the paper's
    representation_weight: float = 0.1  # the paper's
    batch: int = 8
    length: int = 16
    imagination: int = 15  # the paper's
    starts: int = 96  # imagined roll-outs an update; the paper starts one from every frame
    horizon_env_steps: float = 666.0  # the paper's 333 agent steps at its action repeat of 2
    lmbda: float = 0.95  # the paper's
    entropy: float = 3e-4  # the paper's
    slow_rate: float = 0.02  # the paper's
    return_rate: float = 0.01  # the paper's
    min_std: float = 0.1  # the paper's
    max_std: float = 1.0  # the paper's
    bins: int = 127
    bin_limit: float = 8.0
    learning_rate: float = 1e-3
    actor_learning_rate: float = 6e-4
    warmup: int = 100
    update_every: int = 1
    prefill_env_steps: int = 2000
    replay_capacity: int = 200_000


class FeatureNorm(nn.Module):
    """RMSNorm and SiLU between a PVM's features and the posterior, as in arXiv 2509.12531."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(features, eps=1e-4)

    def forward(self, value: Tensor) -> Tensor:
        """Map (..., features) to the same shape."""
        return F.silu(self.norm(value))


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W) maps.

    On a CPU it costs half of an RMSNorm, for which PyTorch has no fused kernel there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-4)

    def forward(self, value: Tensor) -> Tensor:
        return self.norm(value.movedim(-3, -1)).movedim(-1, -3)


class Decoder(nn.Module):
    """Latent features → frame, with the last factor of four in resolution by pixel shuffle.

    On a CPU this costs about 2.5 times less than TorchRL's `DreamerV3ImageDecoder`, which spends
    most of its time on maps of the two largest resolutions.

    It predicts the difference from ``mean``, the mean frame that learning begins with: the first
    few hundred updates would otherwise go into painting the background.

    Args:
        features: latent features F.
        image_size: height and width of a frame in pixels, a multiple of 16.
        channels: of the maps at 1/16, 1/8 and 1/4 of the resolution.
    """

    def __init__(self, features: int, image_size: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.grid, self.first = image_size // 16, first
        self.project = nn.Linear(features, first * self.grid**2)
        self.layers = nn.Sequential(
            ChannelNorm(first),
            nn.SiLU(),
            nn.ConvTranspose2d(first, second, 4, 2, 1),
            ChannelNorm(second),
            nn.SiLU(),
            nn.ConvTranspose2d(second, third, 4, 2, 1),
            ChannelNorm(third),
            nn.SiLU(),
            nn.Conv2d(third, 3 * 16, 1),
            nn.PixelShuffle(4),
        ).to(memory_format=torch.channels_last)
        with torch.no_grad():
            self.layers[-2].weight.mul_(0.1)
            self.layers[-2].bias.zero_()
        self.register_buffer("mean", torch.full((3, image_size, image_size), 0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., F) to frames (..., 3, H, W), about in [0, 1] but unbounded."""
        flat = self.project(features.reshape(-1, features.shape[-1]))
        grid = flat.unflatten(-1, (self.grid, self.grid, self.first)).permute(0, 3, 1, 2)
        image = self.layers(grid) + self.mean
        return image.reshape(*features.shape[:-1], *image.shape[-3:])


class TwoHot(nn.Module):
    """A scalar predicted as a categorical over bins that are even in symlog space.

    The expectation is taken in symlog space (the first version of the paper). Taking it over raw
    bin values, as later versions do, multiplies the tails' probabilities by up to e^20, which
    makes gradients *through* a decoded reward useless; the actor here learns from exactly those.
    """

    def __init__(self, features: int, config: Config) -> None:
        super().__init__()
        self.mlp = DreamerV3MLP(
            features, config.bins, depth=config.layers, num_cells=config.units, outscale=0.0
        )
        self.register_buffer(
            "grid",
            torch.linspace(-config.bin_limit, config.bin_limit, config.bins),
            persistent=False,
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., F) to logits (..., bins)."""
        return self.mlp(features)

    def decode(self, logits: Tensor) -> Tensor:
        """Return the predicted scalars (...)."""
        return symexp((logits.softmax(-1) * self.grid).sum(-1))

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy (...) with raw scalar targets (...)."""
        return two_hot_cross_entropy(logits, symlog(target), self.grid)


def symlog(value: Tensor) -> Tensor:
    """Return sign(x)·log(1 + |x|) (the paper's equation 9)."""
    return value.sign() * value.abs().log1p()


def symexp(value: Tensor) -> Tensor:
    """Return the inverse of `symlog`."""
    return value.sign() * value.abs().expm1()


def unimix_probs(logits: Tensor, unimix: float) -> Tensor:
    """Return softmax probabilities with a share of the uniform distribution mixed in."""
    return (1.0 - unimix) * logits.softmax(-1) + unimix / logits.shape[-1]


def sample_one_hot(logits: Tensor, unimix: float, generator: torch.Generator | None) -> Tensor:
    """Draw one-hot samples (..., S) from logits (..., categoricals, classes).

    The gradient is that of the probabilities (straight-through).
    """
    probs = unimix_probs(logits, unimix)
    uniform = torch.rand(probs.shape[:-1], generator=generator, device=probs.device)
    index = (uniform.unsqueeze(-1) > probs.detach().cumsum(-1)).sum(-1)
    one_hot = F.one_hot(index.clamp_max(probs.shape[-1] - 1), probs.shape[-1]).to(probs.dtype)
    return (one_hot + probs - probs.detach()).flatten(-2)


def mode_one_hot(logits: Tensor) -> Tensor:
    """Return the most likely one-hot state (..., S) of logits (..., categoricals, classes)."""
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype).flatten(-2)


class ActingModel(nn.Module):
    """What acting needs: encoder, recurrent state-space model, actor. Shipped in checkpoints.

    Args:
        encoder: pixels → features.
        action_dim: number of action dimensions A.
        config: hyper-parameters.
    """

    def __init__(self, encoder: Encoder, action_dim: int, config: Config) -> None:
        super().__init__()
        self.config, self.action_dim = config, action_dim
        self.encoder = encoder.module
        self.transform = encoder.transform
        self.feature_norm = FeatureNorm(encoder.features) if encoder.pretrained else nn.Identity()
        self.prior = RSSMPriorV3(
            action_shape=(action_dim,),
            action_dim=action_dim,
            hidden_dim=config.hidden,
            rnn_hidden_dim=config.belief,
            num_categoricals=config.categoricals,
            num_classes=config.classes,
            recurrent_model="block_gru",
            num_blocks=config.blocks,
            prior_num_layers=1,
            unimix=config.unimix,
        )
        self.posterior = RSSMPosteriorV3(
            hidden_dim=config.hidden,
            rnn_hidden_dim=config.belief,
            obs_embed_dim=encoder.features,
            num_categoricals=config.categoricals,
            num_classes=config.classes,
            use_rms_norm=True,
            unimix=config.unimix,
        )
        self.actor = DreamerV3MLP(
            self.features,
            2 * action_dim,
            depth=config.layers,
            num_cells=config.units,
            outscale=0.01,
        )

    @property
    def features(self) -> int:
        """Latent features F."""
        return self.config.categoricals * self.config.classes + self.config.belief

    def encode(self, pixels: Tensor) -> Tensor:
        """Map uint8 (..., H, W, 3) frames to float32 (..., features)."""
        batch = pixels.shape[:-3]
        # A permuted view is channels-last already, the faster layout for convolutions on a CPU.
        image = pixels.reshape(-1, *pixels.shape[-3:]).permute(0, 3, 1, 2).float() / 255.0
        return self.feature_norm(self.encoder(self.transform(image))).reshape(*batch, -1)

    def _grid(self, flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (self.config.categoricals, self.config.classes))

    def advance(self, state: Tensor, belief: Tensor, action: Tensor) -> Tensor:
        """Return the next belief (..., D) after ``action`` (..., A) in (state, belief)."""
        return self.prior.rnn(state, belief, action)

    def prior_logits(self, belief: Tensor) -> Tensor:
        """Return the dynamics' logits (..., categoricals, classes)."""
        return self._grid(self.prior.rnn_to_prior_projector(belief))

    def posterior_logits(self, belief: Tensor, embedding: Tensor) -> Tensor:
        """Return the logits (..., categoricals, classes) that have seen the frame."""
        joint = torch.cat([belief, embedding], -1)
        return self._grid(self.posterior.obs_rnn_to_post_projector(joint))

    def action_distribution(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (..., A) of the actor's normal distribution.

        The mean lies in (-1, 1), the deviation in [min_std, max_std] (the paper's continuous head).
        """
        mean, std = self.actor(features).chunk(2, -1)
        low, high = self.config.min_std, self.config.max_std
        return mean.tanh(), (high - low) * torch.sigmoid(std + 2.0) + low


class DreamerModel(nn.Module):
    """The acting model with everything that only learning needs.

    Args:
        encoder: pixels → features, with the modes' trainable blocks marked by `finetune`.
        plan: which parts of the encoder train.
        action_dim: number of action dimensions A.
        image_size: height and width of the frames in pixels.
        config: hyper-parameters.
        discount: discount factor of one agent step.
    """

    def __init__(
        self,
        encoder: Encoder,
        plan: finetune.Plan,
        action_dim: int,
        image_size: int,
        config: Config,
        discount: float,
    ) -> None:
        super().__init__()
        self.config, self.plan, self.discount = config, plan, discount
        self.acting = ActingModel(encoder, action_dim, config)
        features = self.acting.features
        self.decoder = Decoder(features, image_size, config.decoder_channels)
        self.reward = TwoHot(features, config)
        self.continuation = DreamerV3MLP(
            features, 1, depth=config.layers, num_cells=config.units, outscale=1.0
        )
        self.critic = TwoHot(features, config)
        self.slow_critic = TwoHot(features, config)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.slow_critic.requires_grad_(False)
        self.register_buffer("return_range", torch.zeros(2))

    def groups(self) -> list[dict]:
        """Return optimiser parameter groups: encoder by its plan, the rest, actor and critic."""
        config, acting = self.config, self.acting
        behaviour = [*acting.actor.parameters(), *self.critic.parameters()]
        encoder = [p for p in acting.encoder.parameters() if p.requires_grad]
        seen = {id(p) for p in [*behaviour, *acting.encoder.parameters()]}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in seen]
        groups = [
            {"params": rest, "lr": config.learning_rate},
            {"params": behaviour, "lr": config.actor_learning_rate},
        ]
        if encoder:
            factor = self.plan.lr_factor
            groups.append({"params": encoder, "lr": config.learning_rate * factor})
        return groups

    def observe(
        self,
        embedding: Tensor,
        action: Tensor,
        first: Tensor,
        state: Tensor,
        belief: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Filter sequences of frames.

        Args:
            embedding: float32 (B, T, features).
            action: float32 (B, T, A), the action that led to each frame.
            first: bool (B, T), True for the first frame of an episode.
            state, belief: the latent before the first frame, (B, S) and (B, D).

        Returns:
            posterior logits (B, T, categoricals, classes), states (B, T, S), beliefs (B, T, D).
        """
        acting, unimix = self.acting, self.config.unimix
        keep = (~first).unsqueeze(-1).to(embedding.dtype)
        logits, states, beliefs = [], [], []
        for t in range(embedding.shape[1]):
            mask = keep[:, t]
            belief = acting.advance(state * mask, belief * mask, action[:, t] * mask)
            posterior = acting.posterior_logits(belief, embedding[:, t])
            state = sample_one_hot(posterior, unimix, generator)
            logits.append(posterior)
            states.append(state)
            beliefs.append(belief)
        return torch.stack(logits, 1), torch.stack(states, 1), torch.stack(beliefs, 1)

    def model_loss(
        self, batch: dict[str, Tensor], generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        """Return the world model's loss, its parts, and the posterior states and beliefs.

        Args:
            batch: what `shiftbench.replay.Replay.sample` returns, as tensors.
        """
        acting, config = self.acting, self.config
        embedding = acting.encode(batch["pixels"])
        logits, states, beliefs = self.observe(
            embedding, batch["action"], batch["first"], batch["state"], batch["belief"], generator
        )
        features = torch.cat([states, beliefs], -1)
        dynamics, representation = categorical_kl_terms(
            logits, acting.prior_logits(beliefs), config.free_nats, config.unimix
        )
        target = batch["pixels"].movedim(-1, -3).float() / 255.0
        # The sum over an image's values, as in the paper; the mean over the batch.
        image = (self.decoder(features) - target).square().sum((-3, -2, -1)).mean()
        reward = self.reward.loss(self.reward(features), batch["reward"]).mean()
        continuation = F.binary_cross_entropy_with_logits(
            self.continuation(features).squeeze(-1), 1.0 - batch["terminal"].float()
        )
        loss = (
            config.image_weight * image
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
        return loss, parts, states, beliefs

    def imagine(
        self, state: Tensor, belief: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Roll the actor out in the model from (N, S) and (N, D).

        Returns:
            features (H + 1, N, F), and the actor's entropy (H, N) in nats.
        """
        acting, unimix = self.acting, self.config.unimix
        features, entropies = [torch.cat([state, belief], -1)], []
        for _ in range(self.config.imagination):
            mean, std = acting.action_distribution(features[-1])
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            # Entropy of a normal distribution: log σ + (1 + log 2π) / 2.
            entropies.append((std.log() + 1.4189385).sum(-1))
            belief = acting.advance(state, belief, mean + std * noise)
            state = sample_one_hot(acting.prior_logits(belief), unimix, generator)
            features.append(torch.cat([state, belief], -1))
        return torch.stack(features), torch.stack(entropies)

    def behaviour_losses(
        self, states: Tensor, beliefs: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the actor's and the critic's loss and their parts.

        The actor's gradient runs through the imagined dynamics to the decoded returns; only the
        actor's parameters receive it.

        Args:
            states, beliefs: detached posterior latents, (N, S) and (N, D).
        """
        config = self.config
        model = [self.acting.prior, self.reward, self.continuation, self.critic]
        with frozen(model):
            features, entropy = self.imagine(states, beliefs, generator)
            reward = self.reward.decode(self.reward(features[1:]))
            alive = torch.sigmoid(self.continuation(features).squeeze(-1))
            value = self.critic.decode(self.critic(features))
            returns = lambda_returns(reward, value, self.discount * alive, config.lmbda)
            with torch.no_grad():
                weight = torch.cat([torch.ones_like(alive[:1]), self.discount * alive[1:-1]])
                weight = weight.cumprod(0)
                scale = self._return_scale(returns)
            actor = -(weight * (returns / scale + config.entropy * entropy)).mean()
        past = features[:-1].detach()
        logits = self.critic(past)
        with torch.no_grad():
            slow = self.slow_critic.decode(self.slow_critic(past))
        error = self.critic.loss(logits, returns.detach()) + self.critic.loss(logits, slow)
        critic = (weight * error).mean()
        parts = {
            "actor_loss": actor,
            "critic_loss": critic,
            "entropy": entropy.mean(),
            "imagined_return": returns.mean(),
            "return_scale": scale,
        }
        return actor, critic, parts

    def _return_scale(self, returns: Tensor) -> Tensor:
        """Return max(1, running 5–95 percentile range) (the paper's equation 7)."""
        quantiles = torch.tensor([0.05, 0.95], device=returns.device)
        now = torch.quantile(returns.flatten(), quantiles)
        self.return_range.lerp_(now, self.config.return_rate)
        return (self.return_range[1] - self.return_range[0]).clamp_min(1.0)

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow critic towards the critic by the paper's rate."""
        for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, self.config.slow_rate)


def lambda_returns(reward: Tensor, value: Tensor, discount: Tensor, lmbda: float) -> Tensor:
    """Return the λ-returns (H, N) (the paper's equation 5).

    Args:
        reward: (H, N), received on entering imagined step 1..H.
        value: (H + 1, N), of steps 0..H.
        discount: (H + 1, N), discount × probability that step 0..H does not end the episode.
    """
    result, following = [], value[-1]
    for t in reversed(range(reward.shape[0])):
        following = reward[t] + discount[t + 1] * ((1.0 - lmbda) * value[t + 1] + lmbda * following)
        result.append(following)
    return torch.stack(result[::-1])


@contextmanager
def frozen(modules: Iterable[nn.Module]):
    """Let gradients pass through ``modules`` to their inputs without reaching their parameters."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
