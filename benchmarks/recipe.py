"""TorchRL's DreamerV3, put together from its parts as its own recipe does.

The recipe is ``sota-implementations/dreamer_v3`` of TorchRL, which learns from states; with images
its encoder and decoder are `DreamerV3ImageEncoder` and `DreamerV3ImageDecoder`. What is compared is
how an update is done: recurrent model, heads, actor, critic and a pre-trained encoder are the very
modules that `DreamerAgent` built, at the same sizes, and the encoder from scratch is TorchRL's own
with the same weights. The batch, the horizons, the weights of the losses and the optimiser are the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
)
from torch import Tensor, nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs.model_based.dreamer import DreamerEnv
from torchrl.modules import (
    DreamerV3ImageDecoder,
    DreamerV3ImageEncoder,
    IndependentNormal,
    RSSMRolloutV3,
    SymExpTwoHot,
    WorldModelWrapper,
)
from torchrl.objectives import (
    DreamerV3ActorLoss,
    DreamerV3Loss,
    DreamerV3ModelLoss,
    DreamerV3ValueLoss,
    SoftUpdate,
    ValueEstimators,
)
from torchrl.trainers.algorithms.dreamer_v3 import DreamerV3OptimizationStepper, DreamerV3Optimizer

from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.agents.networks import ActingModel
from shiftbench.encoders.cnn import MULTIPLES
from shiftbench.replay import Replay

#: Keys of the latent, in imagination and in replayed sequences.
LATENT = ["state", "belief"]
NEXT = [("next", key) for key in LATENT]


class Encode(nn.Module):
    """uint8 (B, T, 3, H, W) → features (B, T, features)."""

    def __init__(self, acting: ActingModel) -> None:
        super().__init__()
        self.encoder, self.norm, self.transform = (
            acting.encoder, acting.feature_norm, acting.transform,
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        flat = pixels.flatten(0, 1).float() / 255.0
        return self.norm(self.encoder(self.transform(flat))).unflatten(0, pixels.shape[:2])


class Act(nn.Module):
    """Latent → mean and standard deviation of the action, as `ActingModel` has them."""

    def __init__(self, acting: ActingModel) -> None:
        super().__init__()
        self.net, config = acting.actor, acting.config
        self.low, self.high = acting.least_std, config.max_std

    def forward(self, state: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self.net(state, belief).chunk(2, -1)
        return mean.tanh(), (self.high - self.low) * torch.sigmoid(std + 2.0) + self.low


class Joined(nn.Module):
    """A network of the joined latent, called with its two halves."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, state: Tensor, belief: Tensor) -> Tensor:
        return self.net(torch.cat([state, belief], -1))


def two_hot(net: nn.Module, keys: Sequence, name: str, bins: int) -> TensorDictSequential:
    """Return a head that writes ``<name>_logits`` and ``name`` beside its inputs."""
    prefix = ("next",) if isinstance(keys[0], tuple) else ()
    logits, value = (*prefix, f"{name}_logits"), (*prefix, name)
    return TensorDictSequential(
        TensorDictModule(net, in_keys=list(keys), out_keys=[logits]),
        TensorDictModule(SymExpTwoHot(bins), in_keys=[logits], out_keys=[value]),
    )


class ModelLoss(DreamerV3ModelLoss):
    """TorchRL's, and with it the loss of the frames out of the encoder's features.

    Args:
        feature_decoder: maps features to frames; None where features are not decoded.
    """

    def __init__(self, *args: Any, feature_decoder: nn.Module | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.feature_decoder = feature_decoder

    def forward(self, tensordict: TensorDict) -> tuple[TensorDict, TensorDict]:
        losses, after = super().forward(tensordict)
        if self.feature_decoder is not None:
            # Every second frame, as ours.
            seen = self.feature_decoder(after["next", "encoded_latents"][:, ::2])
            error = seen - tensordict["next", "pixels"][:, ::2].float() / 255.0
            shown = error.square().flatten(2).sum(-1).mean()
            losses["loss_model_features"] = self.lambda_reco * shown[None]
        return losses, after


class TorchRL:
    """TorchRL's learner over the networks of an agent that has begun.

    Args:
        agent: gives the networks, which this learner trains from then on, and the settings.
        ours: with the agent's decoders in place of TorchRL's, which have the encoder's depth and
            stages.
    """

    def __init__(self, agent: DreamerAgent, ours: bool = False) -> None:
        model, config, device = agent.model, agent.config, agent.device
        acting, bins = model.acting, config.bins
        if agent.spec.encoder == "cnn":
            encoder = DreamerV3ImageEncoder(depth=config.encoder_depth, mults=MULTIPLES)
            encoder.load_state_dict(acting.encoder.state_dict())
            acting.encoder = encoder.to(device=device, memory_format=torch.channels_last)
        size, latent = agent.image_size, config.categoricals * config.classes
        self.agent = agent

        def decoder(own: nn.Module | None, features: int) -> nn.Module | None:
            if ours or own is None:
                return own
            shape = (3, size, size)
            return DreamerV3ImageDecoder(
                features, shape, config.encoder_depth, MULTIPLES, num_blocks=config.blocks
            )

        self.decoder = decoder(model.decoder, acting.features)
        feature_decoder = decoder(model.feature_decoder, agent.encoder().features)
        world = TensorDictSequential(
            TensorDictModule(
                Encode(acting), in_keys=[("next", "pixels")], out_keys=[("next", "encoded_latents")]
            ),
            RSSMRolloutV3(
                TensorDictModule(
                    acting.prior,
                    in_keys=[*LATENT, "action"],
                    out_keys=[("next", "prior_logits"), *NEXT],
                ),
                TensorDictModule(
                    acting.posterior,
                    in_keys=[("next", "belief"), ("next", "encoded_latents")],
                    out_keys=[("next", "posterior_logits"), ("next", "state")],
                ),
            ),
            TensorDictModule(
                Joined(self.decoder), in_keys=NEXT, out_keys=[("next", "reco_pixels")]
            ),
            two_hot(model.reward.mlp, NEXT, "reward", bins),
            TensorDictModule(
                model.continuation, in_keys=NEXT, out_keys=[("next", "continue_pred")]
            ),
        )
        imagined = DreamerEnv(
            WorldModelWrapper(
                TensorDictModule(
                    acting.prior, in_keys=[*LATENT, "action"], out_keys=["_", *LATENT]
                ),
                two_hot(model.reward.mlp, LATENT, "reward", bins),
            ),
            prior_shape=torch.Size([latent]),
            belief_shape=torch.Size([config.belief]),
            device=device,
        )
        imagined.observation_spec = Composite(
            state=Unbounded(latent), belief=Unbounded(config.belief)
        ).to(device)
        imagined.state_spec = imagined.observation_spec.clone()
        imagined.action_spec = Bounded(-1, 1, (agent.action_dim,)).to(device)
        imagined.reward_spec = Unbounded((1,)).to(device)
        actor = ProbabilisticTensorDictSequential(
            TensorDictModule(Act(acting), in_keys=LATENT, out_keys=["loc", "scale"]),
            ProbabilisticTensorDictModule(
                in_keys=["loc", "scale"],
                out_keys=["action"],
                default_interaction_type=InteractionType.RANDOM,
                distribution_class=IndependentNormal,
                return_log_prob=True,
                log_prob_key="action_log_prob",
            ),
        )
        continuation = TensorDictSequential(
            TensorDictModule(model.continuation, in_keys=LATENT, out_keys=["continue_logits"]),
            TensorDictModule(nn.Sigmoid(), in_keys=["continue_logits"], out_keys=["continuation"]),
        )
        value = two_hot(model.critic.mlp, LATENT, "state_value", bins)
        model_loss = ModelLoss(
            world,
            feature_decoder=feature_decoder,
            lambda_reco=config.first_image_weight,
            lambda_continue=1.0,
            kl_mode="separate",
            lambda_dynamic=config.dynamics_weight,
            lambda_representation=config.representation_weight,
            unimix=config.unimix,
            free_bits=config.free_nats,
            reco_symlog=False,
            num_reward_bins=bins,
            detach_output=False,
        )
        actor_loss = DreamerV3ActorLoss(
            actor,
            value,
            imagined,
            continuation_model=continuation,
            imagination_horizon=model.horizon,
            entropy_bonus=config.entropy,
            use_reinforce=True,
            return_normalization_min_scale=config.return_floor,
            return_normalization_rate=config.return_rate,
        )
        actor_loss.make_value_estimator(
            ValueEstimators.TDLambda, gamma=model.discount, lmbda=config.lmbda
        )
        value_loss = DreamerV3ValueLoss(
            value,
            value_loss="two_hot",
            num_value_bins=bins,
            actor_loss=actor_loss,
            slow_critic_regularization=1.0,
        )
        loss = DreamerV3Loss(
            model_loss,
            actor_loss,
            value_loss,
            replay_value_loss_weight=config.replay_value_weight,
            continuation_horizon=1.0 / (1.0 - model.discount),
            lmbda=config.lmbda,
        ).to(device)
        self._stepper = DreamerV3OptimizationStepper(
            loss,
            DreamerV3Optimizer(
                [p for p in loss.parameters() if p.requires_grad],
                lr=config.learning_rate,
                warmup_steps=config.warmup,
            ),
            SoftUpdate(value_loss, tau=config.slow_rate),
            # As ours on every device: nothing is compiled.
            compile_train_step=False,
            cudagraph=False,
        )

    def learn(self, replay: Replay, rng: np.random.Generator) -> dict[str, float]:
        """Do one update and return its metrics, as `DreamerAgent.learn`."""
        config = self.agent.config
        drawn, index = replay.sample(config.batch, config.length, rng)
        sample = self._sample({key: tensor.to(self.agent.device) for key, tensor in drawn.items()})
        metrics = self._stepper.step(None, sample)
        latents = sample["replay_context"]
        grid = latents["state"].unflatten(-1, (config.categoricals, config.classes))
        replay.refresh(index, grid.argmax(-1).to(torch.uint8), latents["belief"])
        return {key: float(metric) for key, metric in metrics.items() if metric.numel() == 1}

    def _sample(self, batch: dict[str, Tensor]) -> TensorDict:
        """Return a batch of `Replay.sample` as TorchRL's losses read one."""
        first, terminal = batch["first"].bool(), batch["terminal"].bool()
        length = first.shape[1]
        ends = terminal | torch.cat([first[:, 1:], torch.zeros_like(first[:, :1])], 1)
        return TensorDict(
            {
                # Of these the first step's alone is read.
                **{key: batch[key][:, None].expand(-1, length, -1) for key in LATENT},
                "action": batch["action"],
                "is_init": first[..., None],
                "next": {
                    # A view, in the layout that convolutions on a CPU are faster with.
                    "pixels": batch["pixels"].movedim(-1, -3),
                    "reward": batch["reward"][..., None],
                    "done": ends[..., None],
                    "terminated": terminal[..., None],
                },
            },
            first.shape,
        )
