"""The model-based agent: DreamerV3 with any encoder in front of its posterior."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torchrl.trainers.algorithms.dreamer_v3 import DreamerV3Optimizer

from shiftbench import augment, checkpoints, devices, encoders, finetune, seeding
from shiftbench.agents import optimizing
from shiftbench.agents.acting import DreamerPolicy, Latent
from shiftbench.agents.at_once import at_once, in_turn
from shiftbench.agents.base import Agent
from shiftbench.agents.base_weights import BaseWeights
from shiftbench.agents.config import PRECISIONS, SIZES, Config, configured
from shiftbench.agents.exploration import colored_noise
from shiftbench.agents.networks import ActingModel, images, sample_one_hot
from shiftbench.agents.world_model import DreamerModel
from shiftbench.encoders.cut import as_float16
from shiftbench.errors import ShiftBenchError

if TYPE_CHECKING:
    from shiftbench.encoders.cut import Cut
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.replay import Replay
    from shiftbench.specs import AgentSpec

#: What stands before the names of the encoder's tensors in the whole model.
_ENCODER = "acting.encoder."


class DreamerAgent(Agent):
    """DreamerV3; see `shiftbench.agents.world_model` and ``docs/dreamer.md``."""

    sizes, precisions = tuple(SIZES), PRECISIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device = devices.usable(self.device)
        self.config = configured(self.spec.options)
        self.augmentation = augment.get(self.spec.augment)
        self.train_steps = 0
        self._acting: ActingModel | None = None

    @classmethod
    def encoder_depth(cls, spec: AgentSpec) -> int:
        return configured(spec.options).encoder_depth

    @classmethod
    def parameters(
        cls, spec: AgentSpec, encoder: encoders.Encoder, plan: finetune.Plan, image_size: int
    ) -> int:
        with torch.device("meta"):  # nothing but shapes
            model = DreamerModel(encoder, plan, 1, image_size, configured(spec.options), 1)
        slow = sum(p.numel() for p in model.slow_critic.parameters())
        return sum(p.numel() for p in model.parameters()) - slow

    # -- acting ----------------------------------------------------------------------------------

    def policy(self) -> DreamerPolicy:
        if self._acting is None:
            raise ShiftBenchError(f"agent '{self.spec.name}' has neither been trained nor loaded")
        return DreamerPolicy(self._acting)

    def encoder(self, trained: bool = True) -> encoders.Encoder:
        if not trained:
            return self._first_encoder()[0]
        if self._acting is None:
            raise ShiftBenchError(f"agent '{self.spec.name}' has neither been trained nor loaded")
        return self._encoder

    def save(self, path: Path) -> None:
        """Write the acting model in float16: no decoder, reward head or critic.

        Of a pre-trained encoder it holds the tensors that changed, and the hash of the others.
        """
        if self._acting is None:
            raise ShiftBenchError(f"agent '{self.spec.name}' has nothing to save")
        same = self._base.same(self._acting.encoder, "encoder.")
        tensors = {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in self._acting.state_dict().items()
            if name not in same
        }
        checkpoints.write(path, tensors, self.meta())

    def meta(self) -> dict[str, Any]:
        """What a checkpoint says about itself."""
        agent = {**msgspec.to_builtins(self.spec), "weights": ""}
        if self.spec.augment == "none":
            # So that runs and files from before there was a choice stay equal to this one.
            del agent["augment"]
        config = msgspec.to_builtins(self.config)
        for later in ("encoder_depth", "precision", "catch_up"):  # likewise
            if config[later] == getattr(Config(), later):
                del config[later]
        return {
            "agent": agent,
            "task": self.task.name,
            "task_version": self.task.version,
            "action_dim": self.action_dim,
            "image_size": self.image_size,
            "seed": self.seed,
            "train_steps": self.train_steps,
            "config": config,
            "base_sha256": self._base.sha256,
        }

    def _build_encoder(self, pretrained: bool) -> tuple[encoders.Encoder, finetune.Plan]:
        """Return a new encoder, what of it trains marked, and remember what it began with."""
        options = self.spec.options
        encoder = encoders.build(
            self.spec.encoder,
            weights=Path(self.spec.weights) if self.spec.weights and pretrained else None,
            image_size=self.image_size,
            pretrained=pretrained,
            input_size=options.get("encoder_size"),
            features=options.get("encoder_features"),
            depth=self.config.encoder_depth,
        )
        plan = finetune.plan(encoder, self.spec.mode, options.get("finetune_blocks"))
        finetune.apply(encoder, plan)
        # While it trains, too: layers that drop at random, as some of timm's, would do so from no
        # seed of the run, and until the first evaluation alone.
        encoder.module.eval()
        self._base = BaseWeights(encoder, plan)
        return encoder, plan

    def _first_encoder(self) -> tuple[encoders.Encoder, finetune.Plan]:
        """Return what training begins with; it and torch's next draws follow the agent's seed."""
        torch.manual_seed(seeding.seed_of("networks", self.task.name, self.seed))
        return self._build_encoder(pretrained=self.spec.mode != "scratch")

    def load(self, path: Path) -> None:
        """Read an exported policy, in float32 from here on.

        Raises:
            ShiftBenchError: the file is broken or belongs to another task, agent or pre-trained
                weights, or these cannot be had.
        """
        tensors, meta = checkpoints.read(path, self.device)
        checkpoints.check_fits(path, meta, self)
        try:
            config = dict(meta["config"])
            config.pop("update_every", None)  # of files that counted updates in agent steps
            self.config = msgspec.convert(config, Config)
            self.train_steps = int(meta["train_steps"])
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise ShiftBenchError(f"--checkpoint {path}: broken description: {error}") from error
        base = meta.get("base_sha256")
        encoder, _ = self._build_encoder(pretrained=bool(base))
        self._check_base(f"--checkpoint {path}", base, encoder.sha256)
        encoder.pretrained = self.spec.mode != "scratch"
        acting = ActingModel(encoder, self.action_dim, self.config).to(self.device)
        expected = acting.state_dict()
        same = self._base.same(acting.encoder, "encoder.")
        tensors = {**_unstandardized(expected), **{k: expected[k] for k in same}, **tensors}
        for name, tensor in expected.items():
            found = tensors.get(name)
            if found is None or found.shape != tensor.shape or not found.isfinite().all():
                raise ShiftBenchError(
                    f"--checkpoint {path}: tensor '{name}' is missing, misshapen or not finite"
                )
        acting.load_state_dict({name: tensors[name].to(t.dtype) for name, t in expected.items()})
        self._encoder, self._acting = encoder, acting.requires_grad_(False)

    def _check_base(self, what: str, wanted: str | None, found: str) -> None:
        """Raise ShiftBenchError unless the weights, where any are needed, are those ``wanted``."""
        if wanted and wanted != found:
            raise ShiftBenchError(
                f"{what}: trained on other weights of '{self.spec.encoder}' (SHA-256 "
                f"{wanted[:12]}…) than those here ({found[:12] or 'none'}…); give them with "
                "--encoder-weights FILE"
            )

    # -- learning --------------------------------------------------------------------------------

    def train(
        self, make_env: Callable[[], PixelEnv], budget: int, seed: int, run_dir: Path, **options
    ) -> None:
        from shiftbench import train

        train.fit(self, make_env, budget, seed, run_dir, **options)

    def seconds_per_step(self, env: PixelEnv, **options: Any) -> float:
        from shiftbench import train

        return train.seconds_per_step(self, env, **options)

    def begin(self, seed: int) -> None:
        """Build the networks and the optimiser; every random draw follows ``seed``."""
        self.seed = seed
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seeding.seed_of("latents", self.task.name, seed))
        encoder, plan = self._first_encoder()
        self._encoder = encoder
        self.model = DreamerModel(
            encoder, plan, self.action_dim, self.image_size, self.config, self.task.action_repeat
        ).to(self.device)
        self._acting = self.model.acting
        if self.config.precision != PRECISIONS[0]:
            # That norms keep their weights in float32 is meant.
            warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")
        self.optimizer = DreamerV3Optimizer(self.model.groups(), warmup_steps=self.config.warmup)
        self.new_episodes(1)

    def new_episodes(self, count: int) -> None:
        """Begin an episode in each of ``count`` environments that collect."""
        self.latent = Latent(self._acting, count)
        shape = count, self.action_dim, self.task.agent_steps + 1
        noise = colored_noise(shape, self.config.noise_color, self.generator, self.device)
        self._noise = iter(noise.movedim(-1, 0))

    def trunk(self) -> Cut | None:
        """Return the encoder cut where its blocks begin to train, None where all of them do.

        Raises:
            ShiftBenchError: the encoder does not work in two halves.
        """
        if self.model.cut is None and self.model.plan.boundary:
            self.model.cut = self._encoder.cut(self.model.plan.boundary, self.image_size)
        return self.model.cut

    @torch.no_grad()
    def activations(self, pixels: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, 3) frames to what the trunk gives for them, float16 (N, size)."""
        values = self.model.cut.trunk(images(torch.from_numpy(pixels).to(self.device)))
        return as_float16(values)

    @torch.no_grad()
    def explore(
        self, pixels: np.ndarray, random: bool, keep: bool = False
    ) -> dict[str, np.ndarray]:
        """Choose training actions for the frames of N environments, uint8 (N, H, W, 3).

        Args:
            pixels: the frames.
            random: the actions are noise alone (before learning starts).
            keep: return also what `trunk` gives for the frames.

        Returns:
            ``action`` float32 (N, A) in [-1, 1], and the latents that replay stores: ``state`` as
            class indices (N, categoricals), ``belief`` (N, D), and with ``keep`` the
            ``activations``, float16 (N, size).
        """
        model, latent = self._acting, self.latent
        frames = torch.from_numpy(pixels).to(self.device)
        kept = {}
        if keep:
            values = self.model.cut.trunk(images(frames))
            kept["activations"] = as_float16(values)
            embedding = model.embed(values, self.model.cut)
        else:
            embedding = model.encode(frames)
        latent.belief = model.advance(latent.state, latent.belief, latent.action)
        logits = model.posterior_logits(latent.belief, embedding)
        uniform = torch.rand(logits.shape[:-1], generator=self.generator, device=logits.device)
        latent.state = sample_one_hot(logits, self.config.unimix, uniform)
        mean, std = 0.0, self.config.prefill_std
        if not random:
            features = torch.cat([latent.state, latent.belief], -1)
            mean, std = model.action_distribution(features)
        action = (mean + std * next(self._noise)).clamp(-1.0, 1.0)
        latent.action = action
        return {
            "action": action.cpu().numpy(),
            "state": self._classes(latent.state).cpu().numpy(),
            "belief": latent.belief.cpu().numpy(),
            **kept,
        }

    def _classes(self, state: Tensor) -> Tensor:
        grid = state.unflatten(-1, (self.config.categoricals, self.config.classes))
        return grid.argmax(-1).to(torch.uint8)

    def compile(self) -> None:
        """Compile the losses of updates, after `begin`."""
        self.model.compile_losses()

    def learn(self, replay: Replay, rng: np.random.Generator) -> dict[str, float]:
        """Do one update and return its metrics."""
        model, config = self.model, self.config
        if self._updates == 0:
            mean = replay.mean_frame().astype(np.float32) / 255.0
            model.begin_with(torch.from_numpy(mean).movedim(-1, 0))
        sample, index = replay.sample(config.batch, config.length, rng)
        batch = {name: tensor.to(self.device) for name, tensor in sample.items()}
        batch["seen"] = augment.apply(batch["pixels"], self.augmentation, self.generator)
        draws = model.draw(config.batch, config.length, self.generator)
        # A tensor, since compiled code is made anew for every other number.
        weight = torch.tensor(model.image_weight(self._updates), device=self.device)
        if model.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad()
        with self._mixed():
            loss, parts, states, beliefs = model.model_loss(
                model.embed(batch), batch, draws, weight
            )
        classes = self._classes(states)
        replay.refresh(index, classes, beliefs)

        def behave() -> dict[str, Tensor]:
            with self._mixed():
                actor, critic, behaviour = model.behaviour_losses(batch, classes, beliefs, draws)
            (actor + critic).backward()
            return behaviour

        # The model's gradients and the behaviour's are of different parameters. Compiled code has
        # its number of threads from when it was compiled, and CUDA does one thing after the other.
        alone = model.compiled or self.replay_device is not None
        behaviour = (in_turn if alone else at_once)(loss.backward, behave)
        # Gradients can be broken where losses are not, and with them all that comes after.
        norm = optimizing.gradient_norm(self.optimizer)
        self.optimizer.step()
        model.update_slow_critic()
        model.narrow(self._updates)
        parts.update(behaviour, model_loss=loss, gradient_norm=norm)
        # In one go: each number that is asked for waits for the device.
        values = torch.stack([value.detach().float() for value in parts.values()]).tolist()
        return dict(zip(parts, values, strict=True))

    @property
    def replay_device(self) -> str | None:
        """The device that replay has a copy on, None for main memory alone."""
        return None if torch.device(self.device).type == "cpu" else self.device

    def _mixed(self) -> torch.autocast:
        """Let matrices be multiplied in the precision of the settings."""
        kind, reduced = torch.device(self.device).type, self.config.precision != PRECISIONS[0]
        # Weights that were cast without gradients, as imagining does, must not be kept for losses.
        return torch.autocast(kind, torch.bfloat16, enabled=reduced, cache_enabled=False)

    @property
    def _updates(self) -> int:
        return self.optimizer.param_groups[0]["step"]

    def training_state(self) -> dict[str, Tensor]:
        """Return everything that learning changes, as flat named tensors."""
        same = self._base.same(self._acting.encoder, _ENCODER)
        state = {k: v for k, v in self.model.state_dict().items() if k not in same}
        tensors = {f"model.{k}": v for k, v in state.items()}
        tensors.update(optimizing.state(self.optimizer))
        tensors["generator"] = self.generator.get_state()
        return tensors

    def training_meta(self) -> dict[str, Any]:
        """Return the numbers that belong to `training_state`."""
        return {**self.meta(), "updates": [g["step"] for g in self.optimizer.param_groups]}

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Continue from `training_state` and `training_meta`, after `begin`.

        Raises:
            ShiftBenchError: the training began with other weights of the encoder.
        """
        self._check_base(f"training of {self.spec.id}", meta.get("base_sha256"), self._base.sha256)
        now = self.model.state_dict()
        stored = _unstandardized(now)
        stored.update({k: now[k] for k in self._base.same(self._acting.encoder, _ENCODER)})
        for name, tensor in tensors.items():
            if name.startswith("model."):
                stored[name.removeprefix("model.")] = tensor
        self.model.load_state_dict(stored)
        optimizing.restore(self.optimizer, tensors, meta["updates"])
        self.model.narrow(self._updates)
        self.train_steps = int(meta["train_steps"])
        state = tensors["generator"].cpu()
        if state.shape == self.generator.get_state().shape:
            self.generator.set_state(state)
        else:  # of another kind of device, whose noise cannot be gone on with
            parts = ("latents", self.task.name, self.seed, self.train_steps)
            self.generator.manual_seed(seeding.seed_of(*parts))


def _unstandardized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what files lack that are older than the standardised frames of `cnn`."""
    none = {"mean": torch.zeros_like, "std": torch.ones_like}
    return {
        f"{prefix}transform.{name}": like(state[f"{prefix}transform.{name}"])
        for prefix in ("", "acting.")
        for name, like in none.items()
        if f"{prefix}transform.{name}" in state
    }
