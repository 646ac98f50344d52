"""The regressor that reads a task's positions from single frames: can the task still be seen?

One is trained on clean frames, one on frames of all the task's shifts together, both on the same
states with the same effort, so that what is left between them is the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from shiftbench import checkpoints, seeding
from shiftbench.certify.episodes import EVERY, STEPS, Tick, no_tick, play

if TYPE_CHECKING:
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.specs import Shift

#: Passes over the frames, frames in a batch, largest learning rate, weight decay. Ours: with these
#: the error on the shipped tasks has levelled out.
EPOCHS, BATCH, RATE, DECAY = 6, 64, 3e-3, 1e-2

#: Added to the standard deviation of a channel, of a range of 255, that it is divided by: what is
#: almost uniform stays so. Ours.
FAINT = 8.0

#: Channels of the layers, each of stride 2, and width of the hidden layer. Ours.
CHANNELS, HIDDEN = (16, 32, 64, 64), 128

#: Batches of images that are read at once.
_READ = 256


class Reader(nn.Module):
    """A small convolutional network: uint8 (N, S, S, 3) → float32 (N, P).

    Args:
        image_size: height and width S of a frame in pixels.
        positions: count P of the numbers that are read.
    """

    def __init__(self, image_size: int, positions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in CHANNELS:
            layers += [
                nn.Conv2d(before, channels, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            before = channels
        features = before * (image_size // 2 ** len(CHANNELS)) ** 2
        self.body = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(features, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, positions),
        ).to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.zeros(positions))
        self.register_buffer("scale", torch.ones(positions))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        # (N, H, W, 3) permuted is (N, 3, H, W) in channels_last, without a copy. Each frame is
        # standardised by itself, for light and exposure say nothing about positions.
        images = frames.permute(0, 3, 1, 2).float()
        spread, mean = torch.std_mean(images, (2, 3), keepdim=True)
        return self.body((images - mean) / (spread + FAINT)) * self.scale + self.mean

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Return the positions of frames: uint8 (N, S, S, 3) → float32 (N, P)."""
        self.eval()
        with torch.no_grad():
            parts = [
                self(torch.from_numpy(frames[i : i + _READ])) for i in range(0, len(frames), _READ)
            ]
        return torch.cat(parts).numpy()


def work(frames: int) -> int:
    """Return how many ticks `train` takes: one a frame drawn, one for three frames trained on."""
    frames = _episodes(frames) * (STEPS // EVERY)
    return frames + EPOCHS * (frames // BATCH) * (BATCH // 3)


def _episodes(frames: int) -> int:
    """Return how many episodes give so many frames: every fourth step, as of what is compared.

    Frames of one episode share their look, so that many short ones teach more than a few long ones.
    """
    return -(-frames // (STEPS // EVERY))


def train(
    env: PixelEnv,
    shifts: Sequence[Shift | None],
    frames: int,
    tick: Tick = no_tick,
) -> Reader:
    """Draw training frames and train a reader on them.

    Args:
        env: a fresh environment.
        shifts: taken in turn, one an episode; None is the clean arm.
        frames: about how many frames to draw.
        tick: told of the work as it is done, see `work`.
    """
    tracks = [
        play(env, "reader", i, shifts[i % len(shifts)], every=EVERY, tick=tick)
        for i in range(_episodes(frames))
    ]
    pictures = np.concatenate([track.frames for track in tracks])
    positions = torch.from_numpy(np.concatenate([track.positions for track in tracks]))
    del tracks
    seed = seeding.seed_of("certify", "reader", env.task.name, env.task.version)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        reader = Reader(pictures.shape[1], positions.shape[1])
    reader.mean.copy_(positions.mean(0))
    # A position that never moves in these frames needs no scale.
    reader.scale.copy_(positions.std(0).clamp_min(1e-6))
    batches = len(pictures) // BATCH
    optimiser = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=max(1, batches * EPOCHS), pct_start=0.2
    )
    rng = seeding.rng(seed)
    for _ in range(EPOCHS):
        order = rng.permutation(len(pictures))
        for i in range(batches):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            error = (reader(torch.from_numpy(pictures[chosen])) - positions[chosen]) / reader.scale
            optimiser.zero_grad()
            error.square().mean().backward()
            optimiser.step()
            schedule.step()
            tick(BATCH // 3)
    return reader


def save(reader: Reader, path: Path) -> None:
    """Write a reader's weights to a safetensors file, whole or not at all."""
    checkpoints.write(path, reader.state_dict(), {"reader": True})


def load(path: Path, image_size: int) -> Reader:
    """Return the reader that `save` wrote."""
    tensors, _ = checkpoints.read(path)
    reader = Reader(image_size, len(tensors["mean"]))
    reader.load_state_dict(tensors)
    return reader


def explained(read: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return R² of each position: float (N, P) twice → float64 (P,), 1 at best.

    A position that does not vary has none (NaN).
    """
    true = true.astype(np.float64)
    spread = ((true - true.mean(0)) ** 2).sum(0)
    error = ((read - true) ** 2).sum(0)
    return 1 - np.divide(error, spread, out=np.full(spread.shape, np.nan), where=spread > 0)
