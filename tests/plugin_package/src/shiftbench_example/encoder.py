"""An encoder of one convolution."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from shiftbench.encoders.base import Encoder


def build(*, weights: Path | None = None, image_size: int = 64, pretrained: bool = True) -> Encoder:
    convolution = nn.Conv2d(3, 4, 8, stride=8)
    module = nn.Sequential(convolution, nn.SiLU(), nn.Flatten())
    return Encoder(
        name="tiny",
        module=module,
        features=4 * (image_size // 8) ** 2,
        transform=nn.Identity(),
        blocks=[("convolution", convolution)],
    )
