"""What an encoder is: pixels → features, and its parts in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from shiftbench.encoders.cut import Cut


@dataclass
class Encoder:
    """An image encoder, seen as an input transform followed by ordered blocks.

    Attributes:
        name: ``cnn``, ``synth``, ``synth-2`` or ``timm:<name>``.
        module: the whole network without the transform: float (B, 3, S, S) → float (B, features).
        features: length of the flattened feature vector.
        transform: float32 (B, 3, H, W) in [0, 1] → what `module` wants (resize, normalise).
        blocks: (name, module) from the pixels on; modes train or freeze whole blocks. Parameters
            of ``module`` that lie in no block (embeddings, final norms) train only in modes
            that train everything.
        pretrained: True where weights came from pre-training; the world model then puts RMSNorm
            and SiLU between the features and the posterior.
        sha256: hash of the pre-trained weights, or empty. Checkpoints with a hash leave out what
            equals the weights, so equal hashes must mean equal weights.
    """

    name: str
    module: nn.Module
    features: int
    transform: nn.Module
    blocks: list[tuple[str, nn.Module]] = field(default_factory=list)
    pretrained: bool = False
    sha256: str = ""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Map float32 (B, 3, H, W) in [0, 1] to float (B, features)."""
        return self.module(self.transform(pixels))

    @property
    def device(self) -> torch.device:
        """Where its tensors are; the CPU where it has none."""
        tensors = chain(self.module.parameters(), self.module.buffers())
        return next(tensors, torch.empty(0)).device

    def cut(self, boundary: int, image_size: int) -> Cut:
        """Return both halves of the encoder: ``trunk(pixels)`` and ``head(activations)``.

        Args:
            boundary: index of the first block of the head; the number of blocks where the trunk
                is everything.
            image_size: height and width of the frames in pixels.

        Raises:
            ShiftBenchError: the encoder does not work in two halves.
        """
        return Cut(self, boundary, image_size)
