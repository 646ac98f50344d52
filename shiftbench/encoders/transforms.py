"""What happens to a frame before an encoder sees it, on the encoder's device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Standardize(nn.Module):
    """Resize to a square, subtract a mean and divide by a deviation per channel.

    Args:
        size: height and width of the result in pixels.
        mean, std: three numbers each, for pixels in [0, 1].
        mode: ``bilinear`` or ``bicubic``; both smooth when they shrink.
        stored: whether the numbers belong to a checkpoint. Those of a pre-trained model belong to
            its weights.
    """

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        mode: str = "bilinear",
        stored: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.mode = size, mode
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=stored)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=stored)

    def forward(self, image: Tensor) -> Tensor:
        """Map float32 (B, 3, H, W) in [0, 1] to float32 (B, 3, size, size)."""
        if image.shape[-2:] != (self.size, self.size):
            image = F.interpolate(
                image, size=(self.size, self.size), mode=self.mode, antialias=True
            )
        return (image - self.mean) / self.std
