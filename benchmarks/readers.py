"""An encoder with a readout of positions, fitted on frames, for `transfer.py`."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from shiftbench import augment, encoders, finetune
from shiftbench.encoders.statistics import RunningStatistics
from shiftbench.probe import states

#: Width of the readout, frames in a batch, largest learning rate and weight decay, equal for all
#: arms. Ours; whether they suffice, the clean frames show.
HIDDEN, BATCH, RATE, DECAY = 128, 32, 1e-3, 1e-2
#: Frames that are read at once.
READ = 128


class Arm(NamedTuple):
    """What is compared: an encoder, a mode of `shiftbench.finetune`, and what frames go through."""

    encoder: str
    mode: str
    augmentation: str = "none"
    weights: Path | None = None


class Reader:
    """An encoder with a readout of positions.

    Args:
        arm: which encoder, and what of it trains.
        shown: clean states that it is fitted on.
        epochs: passes over them.
        seed: of initial weights, order and augmentation.
    """

    def __init__(self, arm: Arm, shown: states.States, epochs: int, seed: int) -> None:
        torch.manual_seed(seed)
        pretrained = finetune.MODES[arm.mode].pretrained
        size = shown.frames.shape[1]
        self.encoder = encoders.build(
            arm.encoder, weights=arm.weights, image_size=size, pretrained=pretrained
        )
        module = self.encoder.module
        if not pretrained and isinstance(module, RunningStatistics):
            # Statistics of a random network fit nothing; pre-training learns them as well.
            module.learn_statistics = True
        plan = finetune.plan(self.encoder, arm.mode)
        finetune.apply(self.encoder, plan)
        self._augmentation = dataclasses.replace(augment.get(arm.augmentation), shift=0)
        # What trains begins behind the trunk, which is computed once where frames stay the same.
        self._cut = None
        if plan.boundary and arm.augmentation == "none":
            self._cut = self.encoder.cut(plan.boundary, size)
        wanted = torch.from_numpy(shown.positions)
        self._low, self._high = wanted.amin(0), wanted.amax(0)
        self._mean, self._scale = wanted.mean(0), wanted.std(0).clamp_min(1e-6)
        self._readout = nn.Sequential(
            nn.Linear(self.encoder.features, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, wanted.shape[1]),
        )
        inputs = torch.from_numpy(shown.frames)
        if self._cut:
            inputs = torch.cat([self._cut.trunk(_pixels(part)) for part in inputs.split(READ)])
        self._fit(inputs, (wanted - self._mean) / self._scale, epochs, plan.lr_factor, seed)

    def _fit(self, inputs: Tensor, wanted: Tensor, epochs: int, factor: float, seed: int) -> None:
        trained = [p for p in self.encoder.module.parameters() if p.requires_grad]
        groups = [{"params": self._readout.parameters(), "lr": RATE}]
        groups += [{"params": trained, "lr": RATE * factor}] if trained else []
        optimiser = torch.optim.AdamW(groups, weight_decay=DECAY)
        batches = math.ceil(len(inputs) / BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, [group["lr"] for group in groups], total_steps=epochs * batches
        )
        generator = torch.Generator().manual_seed(seed)
        self.encoder.module.train()
        for _ in range(epochs):
            for chosen in torch.randperm(len(inputs), generator=generator).split(BATCH):
                read = self._readout(self._features(inputs[chosen], generator))
                loss = nn.functional.mse_loss(read, wanted[chosen])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
        self.encoder.module.eval()

    def _features(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        if self._cut:
            return self._cut.head(inputs)
        # A frame is a sequence of its own. It must not be moved: its positions are asked for.
        frames = augment.apply(inputs[:, None], self._augmentation, generator)[:, 0]
        return self.encoder(_pixels(frames))

    @torch.no_grad()
    def read(self, frames: np.ndarray) -> np.ndarray:
        """Map frames uint8 (N, H, W, 3) to positions float32 (N, P)."""
        parts = torch.from_numpy(frames).split(READ)
        read = torch.cat([self._readout(self.encoder(_pixels(part))) for part in parts])
        return torch.clamp(read * self._scale + self._mean, self._low, self._high).numpy()


def _pixels(frames: Tensor) -> Tensor:
    """Map uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 255.0
