"""What pre-training asks of a feature map. Another objective is another entry of `OBJECTIVES`.

An objective is a module with its own parameters that maps a feature map (N, C, G, G), whose two
halves are two views of the same scenes, a `Batch` and a source of randomness to named losses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftbench.pretrain.batches import Batch


class Dense(nn.Module):
    """Object mask, part edges and depth, read by one linear layer at half the frame's resolution.

    A linear readout makes the features themselves hold where things are.
    """

    #: An object pixel counts this often beside a pixel of none.
    POSITIVE = 2.0
    WEIGHTS = (("mask", 1.0), ("edges", 0.7), ("depth", 1.0))

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.readout = nn.Sequential(
            nn.Conv2d(channels, len(self.WEIGHTS) * scale**2, 1), nn.PixelShuffle(scale)
        )
        self.register_buffer("positive", torch.tensor(self.POSITIVE), persistent=False)

    def forward(self, maps: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        mask, edges, depth = self.readout(maps).split(1, 1)
        logistic = F.binary_cross_entropy_with_logits
        error = F.smooth_l1_loss(depth, batch.depth.clamp_max(2.0), beta=0.1, reduction="none")
        losses = {
            "mask": logistic(mask, batch.mask, pos_weight=self.positive),
            "edges": logistic(edges, batch.edges, pos_weight=self.positive),
            "depth": (error * batch.seen).mean(),
        }
        return {name: weight * losses[name] for name, weight in self.WEIGHTS}


class Contrast(nn.Module):
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) between two appearances of a scene.

    The positive of a location is the same location of the other view; the negatives are the same
    location of the other scenes, so that position alone tells nothing. A quarter-resolution term
    asks the same of pooled neighbourhoods.
    """

    TEMPERATURE = 0.1
    LOCATIONS = 24
    POOLED = 0.5

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1)

    def forward(self, maps: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        vectors = self.project(maps)
        order = torch.rand(vectors[0, 0].numel(), generator=generator, device=maps.device)
        some = order.argsort()[: self.LOCATIONS]
        local = self._nce(vectors.flatten(2)[..., some])
        pooled = self._nce(F.adaptive_avg_pool2d(vectors, 2).flatten(2))
        return {"contrast": local + self.POOLED * pooled}

    def _nce(self, vectors: Tensor) -> Tensor:
        """Return the symmetric loss of (N, width, L) vectors at L locations."""
        first, second = F.normalize(vectors, dim=1).permute(2, 0, 1).chunk(2, dim=1)
        logits = first @ second.transpose(1, 2) / self.TEMPERATURE
        target = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
        forth = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        back = F.cross_entropy(logits.transpose(1, 2).flatten(0, 1), target.flatten())
        return 0.5 * (forth + back)


#: name → (weight of its losses, maker from the map's channels and its upscaling to the targets).
OBJECTIVES: dict[str, tuple[float, Callable[[int, int], nn.Module]]] = {
    "dense": (1.0, Dense),
    "contrast": (0.1, lambda channels, scale: Contrast(channels)),
}
