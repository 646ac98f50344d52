"""Stored scenes → augmented training batches, on the training device."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shiftbench.pretrain import shards

#: Both views of a scene move together by up to this many pixels.
SHIFT = 6
#: Chance that a background covers the floor as well as the sky.
FLOOR_ODDS = 0.2


class Batch(NamedTuple):
    """Two views of B scenes, the first B rows being the first views: N = 2 B.

    Attributes:
        images: float32 (N, 3, S, S) in [0, 1].
        mask: float32 (N, 1, S/2, S/2), share of object pixels.
        edges: float32 (N, 1, S/2, S/2), 1 where two parts, or a part and the rest, meet.
        depth: float32 (N, 1, S/2, S/2), camera distance / distance of the surface, 0 for sky.
        seen: float32 (N, 1, S/2, S/2), 0 where a background hides the surface that `depth` tells.
    """

    images: Tensor
    mask: Tensor
    edges: Tensor
    depth: Tensor
    seen: Tensor


class Pool:
    """The shards of a run, memory-mapped: the system keeps in memory what fits."""

    def __init__(self, folder: Path, indices: Iterable[int]) -> None:
        pairs = [shards.paths_of(folder, index) for index in indices]
        self._scenes = [np.load(path, mmap_mode="r") for path, _ in pairs]
        self._backgrounds = [np.load(path, mmap_mode="r") for _, path in pairs]
        self.scenes = sum(map(len, self._scenes))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``count`` different scenes and 2 ``count`` backgrounds, uint8."""
        size = len(self._scenes[0])
        scenes = [
            self._scenes[i // size][i % size]
            for i in rng.choice(self.scenes, count, replace=count > self.scenes)
        ]
        size = len(self._backgrounds[0])
        pictures = [
            self._backgrounds[i // size][i % size]
            for i in rng.integers(size * len(self._backgrounds), size=2 * count)
        ]
        return np.stack(scenes), np.stack(pictures)


def augment(scenes: Tensor, pictures: Tensor, generator: torch.Generator) -> Batch:
    """Turn stored scenes into a batch.

    Geometry (a flip, a shift) is shared by the two views of a scene; background, gamma, gain,
    colours and noise are drawn for each view alone.

    Args:
        scenes: uint8 (B, CHANNELS, S, S) as `shards.render` stores them.
        pictures: uint8 (2 B, 3, S, S).
        generator: source of randomness, on the tensors' device.
    """
    device, size, count = scenes.device, scenes.shape[-1], len(scenes)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    shift = (uniform(2, count, 1) * (2 * SHIFT + 1)).long() - SHIFT
    rows = (torch.arange(size, device=device) + shift[0]).clamp(0, size - 1)
    columns = (torch.arange(size, device=device) + shift[1]).clamp(0, size - 1)
    flip = uniform(count, 1) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    at = torch.arange(count, device=device)[:, None, None]
    scenes = scenes[at, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    images = torch.cat([scenes[:, shards.FIRST], scenes[:, shards.SECOND]])
    parts = scenes[:, shards.PARTS].repeat(2, 1, 1)[:, None]
    depth = scenes[:, shards.DEPTH].repeat(2, 1, 1)[:, None].float() / shards.DEPTH_UNIT
    floor = parts == shards.FLOOR
    hidden = floor & (uniform(2 * count, 1, 1, 1) < FLOOR_ODDS)
    sky = parts == shards.SKY
    images = torch.where(sky | hidden, pictures, images).float() / 255.0

    n = 2 * count
    mix = torch.eye(3, device=device) + 0.15 * normal(n, 3, 3) * (uniform(n, 1, 1) < 0.5)
    images = torch.einsum("nij,njhw->nihw", mix, images).clamp(1e-4, 1.0)
    images = images ** torch.exp(0.3 * normal(n, 1, 1, 1))
    images = images * (1.0 + 0.2 * normal(n, 1, 1, 1)) + 0.08 * normal(n, 3, 1, 1)
    images = images + 0.06 * uniform(n, 1, 1, 1) ** 2 * normal(*images.shape)

    objects = torch.where(parts > shards.FLOOR, parts, torch.zeros_like(parts))
    edges = torch.zeros_like(objects, dtype=torch.float32)
    edges[..., :-1] = (objects[..., :-1] != objects[..., 1:]).float()
    edges[..., :-1, :] = torch.maximum(
        edges[..., :-1, :], (objects[..., :-1, :] != objects[..., 1:, :]).float()
    )
    return Batch(
        images=images.clamp(0.0, 1.0),
        mask=F.avg_pool2d((objects > 0).float(), 2),
        edges=F.max_pool2d(edges, 2),
        depth=F.avg_pool2d(depth, 2),
        seen=F.avg_pool2d((~hidden).float(), 2),
    )
