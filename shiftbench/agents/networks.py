"""The networks of `dreamer`: what acting needs, and the heads that learning adds.

Shapes: S is the stochastic state (categoricals × classes, flattened one-hot), D the belief, and
F = S + D the latent features. "The paper" is Hafner et al. 2023, "Mastering Diverse Domains through
World Models", arXiv 2301.04104; ``docs/dreamer.md`` lists what equals it and what does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchrl.modules import DreamerV3MLP, RSSMPosteriorV3, RSSMPriorV3
from torchrl.objectives import two_hot_cross_entropy

from shiftbench.agents.config import Config
from shiftbench.encoders.base import Encoder
from shiftbench.encoders.cut import Cut
from shiftbench.errors import ShiftBenchError

#: Pixels each way that one place of the decoder's last map holds.
SHUFFLE = 4


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
        image_size: height and width of a frame in pixels, a multiple of `SHUFFLE`; what maps of a
            sixteenth of it have too much is cut off.
        channels: of the maps at 1/16, 1/8 and 1/4 of the resolution.

    Raises:
        ShiftBenchError: another ``image_size``.
    """

    def __init__(self, features: int, image_size: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        if image_size % SHUFFLE:
            raise ShiftBenchError(
                f"image_size {image_size}: agents that predict frames take multiples of {SHUFFLE}"
            )
        first, second, third = channels
        self.grid, self.first = math.ceil(image_size / 16), first
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
            nn.Conv2d(third, 3 * SHUFFLE**2, 1),
        ).to(memory_format=torch.channels_last)
        with torch.no_grad():
            self.layers[-1].weight.mul_(0.1)
            self.layers[-1].bias.zero_()
        self.register_buffer("mean", torch.full((3, image_size, image_size), 0.5))

    def _maps(self, features: Tensor) -> Tensor:
        """Map (..., F) to (N, 3 · 4 · 4, H / 4, W / 4): frames without ``mean``, not shuffled."""
        flat = self.project(features.reshape(-1, features.shape[-1]))
        grid = flat.unflatten(-1, (self.grid, self.grid, self.first)).permute(0, 3, 1, 2)
        maps, places = self.layers(grid), self.mean.shape[-1] // SHUFFLE
        # Cut only where there is something to cut: its gradient would be copied.
        return maps if maps.shape[-1] == places else maps[..., :places, :places]

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., F) to frames (..., 3, H, W), about in [0, 1] but unbounded."""
        image = F.pixel_shuffle(self._maps(features), SHUFFLE) + self.mean
        return image.reshape(*features.shape[:-1], *image.shape[-3:])

    def loss(self, features: Tensor, pixels: Tensor) -> Tensor:
        """Return the squared error, summed over an image's values as in the paper; its mean.

        The frames' pixels are put in the order of the maps, not the other way round: they are few
        bytes, and nothing is to be traced back through them.

        Args:
            features: (..., F).
            pixels: uint8 (..., H, W, 3).
        """
        maps = self._maps(features)
        height, width = maps.shape[-2:]
        # As `torch.nn.functional.pixel_unshuffle` does, but on bytes and channels-last.
        grid = pixels.reshape(-1, height, SHUFFLE, width, SHUFFLE, 3).permute(0, 1, 3, 5, 2, 4)
        target = grid.flatten(3).permute(0, 3, 1, 2).float().div_(255.0)
        target -= F.pixel_unshuffle(self.mean, SHUFFLE)
        return F.mse_loss(maps, target, reduction="sum") / len(maps)


class TwoHot(nn.Module):
    """A scalar predicted as a categorical over bins that are even in symlog space.

    The expectation is taken in symlog space (the first version of the paper). Taking it over raw
    bin values, as later versions do, multiplies the tails' probabilities by up to e^20, which
    makes gradients *through* a decoded reward useless. This was chosen when the actor learned from
    those, and has stayed.
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
        """Map (..., F) to float32 logits (..., bins)."""
        return self.mlp(features).float()

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


def sample_one_hot(logits: Tensor, unimix: float, uniform: Tensor) -> Tensor:
    """Draw one-hot samples (..., S) from logits (..., categoricals, classes).

    The gradient is that of the probabilities (straight-through).

    Args:
        logits: float32.
        unimix: share of the uniform distribution.
        uniform: what is drawn with, (..., categoricals), uniform over [0, 1).
    """
    probs = unimix_probs(logits, unimix)
    one_hot = F.one_hot(_drawn(probs.detach(), uniform), probs.shape[-1]).to(probs.dtype)
    return (one_hot + probs - probs.detach()).flatten(-2)


def sample_classes(logits: Tensor, unimix: float, uniform: Tensor) -> Tensor:
    """Draw what `sample_one_hot` draws, as class indices: int64 (..., categoricals)."""
    return _drawn(unimix_probs(logits, unimix), uniform)


def _drawn(probs: Tensor, uniform: Tensor) -> Tensor:
    index = torch.searchsorted(probs.cumsum(-1), uniform.unsqueeze(-1).contiguous()).squeeze(-1)
    return index.clamp_max(probs.shape[-1] - 1)  # where rounding has the sum end below 1


def mode_one_hot(logits: Tensor) -> Tensor:
    """Return the most likely one-hot state (..., S) of logits (..., categoricals, classes)."""
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype).flatten(-2)


def images(pixels: Tensor) -> Tensor:
    """Map uint8 (..., H, W, 3) frames to float32 (N, 3, H, W) in [0, 1]."""
    # A permuted view is channels-last already, the faster layout for convolutions on a CPU.
    return pixels.reshape(-1, *pixels.shape[-3:]).permute(0, 3, 1, 2).float() / 255.0


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
        # Logits near zero make the first codes pure noise, and nothing small in the picture is
        # learned for hundreds of updates; larger ones hash the frame from the start.
        with torch.no_grad():
            self.posterior.obs_rnn_to_post_projector[-1].weight.mul_(config.posterior_gain)
        self.actor = DreamerV3MLP(
            self.features,
            2 * action_dim,
            depth=config.layers,
            num_cells=config.units,
            outscale=0.01,
        )
        #: The smallest deviation of an action, more than ``min_std`` while learning is young.
        self.register_buffer("least_std", torch.tensor(config.min_std), persistent=False)

    @property
    def features(self) -> int:
        """Latent features F."""
        return self.config.categoricals * self.config.classes + self.config.belief

    def encode(self, pixels: Tensor) -> Tensor:
        """Map uint8 (..., H, W, 3) frames to float32 (..., features)."""
        features = self.encoder(self.transform(images(pixels)))
        return self.feature_norm(features).reshape(*pixels.shape[:-3], -1)

    def embed(self, activations: Tensor, cut: Cut) -> Tensor:
        """Do the rest of `encode` from where the encoder's trunk ends.

        Args:
            activations: float16 or float32 (..., size), what ``cut`` has for the frames.
            cut: both halves of the encoder.

        Returns:
            float32 (..., features).
        """
        flat = activations.reshape(-1, activations.shape[-1]).float()
        return self.feature_norm(cut.head(flat)).reshape(*activations.shape[:-1], -1)

    def _grid(self, flat: Tensor) -> Tensor:
        # Where products are in bfloat16, probabilities are not.
        return flat.float().unflatten(-1, (self.config.categoricals, self.config.classes))

    def advance(self, state: Tensor, belief: Tensor, action: Tensor) -> Tensor:
        """Return the next belief (..., D) after ``action`` (..., A) in (state, belief)."""
        return self.prior.rnn(state, belief, action)

    def dynamics(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return `advance` for a loop over time, out of what is projected of states and actions.

        TorchRL's core hands each of its blocks a copy of all projections, and multiplies them block
        by block. Here one product does that for all blocks.

        Returns:
            projected states (N, hidden), beliefs (N, D), projected actions (N, hidden), which lie
            in [-1, 1] → the next beliefs (N, D).
        """
        core = self.prior.rnn
        (first, *rest), blocks = core.hidden_layers, core.num_blocks
        width = core.belief_dim // blocks
        own, shared = first.weight.split([width, first.weight.shape[1] - width], 1)
        shared = shared.movedim(0, 1).flatten(1)

        def step(state: Tensor, belief: Tensor, action: Tensor) -> Tensor:
            joint = torch.cat([core.belief_projection(belief), state, action], -1)
            grouped = belief.unflatten(-1, (blocks, width)).transpose(0, 1)
            value = torch.bmm(grouped, own).transpose(0, 1).flatten(1)
            value = value + torch.addmm(first.bias, joint, shared)
            for layer in rest:
                value = layer(value)
            gates = core.gates(value).to(belief.dtype).unflatten(-1, (blocks, 3, width))
            reset, candidate, update = (gate.flatten(-2) for gate in gates.unbind(-2))
            candidate = (reset.sigmoid() * candidate).tanh()
            return torch.lerp(belief, candidate, (update - 1.0).sigmoid())

        return step

    def prior_logits(self, belief: Tensor) -> Tensor:
        """Return the dynamics' logits (..., categoricals, classes)."""
        return self._grid(self.prior.rnn_to_prior_projector(belief))

    def posterior_logits(self, belief: Tensor, embedding: Tensor) -> Tensor:
        """Return the logits (..., categoricals, classes) that have seen the frame."""
        joint = torch.cat([belief, embedding], -1)
        return self._grid(self.posterior.obs_rnn_to_post_projector(joint))

    def posteriors(self, embedding: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Return `posterior_logits` for sequences, frame by frame.

        The first layer's share for the frames is computed for all of them at once: features are
        far more than the belief, and its weights would pass through the processor at every step.

        Args:
            embedding: float32 (B, T, features).

        Returns:
            belief (B, D) and t in 0..T-1 → logits (B, categoricals, classes).
        """
        layers = self.posterior.obs_rnn_to_post_projector
        sizes = self.config.belief, embedding.shape[-1]
        of_belief, of_frame = layers[0].weight.split(sizes, 1)
        shares = F.linear(embedding, of_frame, layers[0].bias).unbind(1)

        def logits(belief: Tensor, t: int) -> Tensor:
            return self._grid(layers[1:](F.linear(belief, of_belief) + shares[t]))

        return logits

    def actor_outputs(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the tanh makes the actor's mean of, and its standard deviation (..., A).

        Args:
            value: what ``actor`` gives, (..., 2 A).
        """
        mean, std = value.float().chunk(2, -1)
        low, high = self.least_std, self.config.max_std
        return mean, (high - low) * torch.sigmoid(std + 2.0) + low

    def action_distribution(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (..., A) of the actor's normal distribution.

        The mean lies in (-1, 1), the deviation in [least_std, max_std] (the paper's continuous
        head, whose smallest deviation does not change).
        """
        mean, std = self.actor_outputs(self.actor(features))
        return mean.tanh(), std
