"""Augmentation of training frames: the baseline that a pre-trained vision model must beat.

The encoder sees augmented frames while the decoder's target stays the clean one
(``docs/dreamer.md`` says why). Every number is drawn once a sequence, so that a sequence stays
consistent in time. Acting and evaluation never augment.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shiftbench.errors import unknown


@dataclass(frozen=True)
class Augmentation:
    """How far frames are changed; 0 leaves them.

    Attributes:
        shift: most pixels by which a sequence moves up, down, left and right; what comes in from
            outside repeats the edge.
        gamma: deviation of log γ, for pixel^γ in [0, 1].
        matrix: deviation of the entries of a 3 × 3 colour matrix around the identity.
        gain: deviation of a factor around 1.
    """

    shift: int = 0
    gamma: float = 0.0
    matrix: float = 0.0
    gain: float = 0.0


#: ``shift`` is DrQ-v2's (Yarats et al. 2021, arXiv 2107.09645): ±4 px, edges replicated. The
#: numbers of ``photometric`` are those of the changes of appearance under which `synth-2` is
#: pre-trained (`shiftbench.pretrain.batches.augment`), so that both have the same help.
AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "shift": Augmentation(shift=4),
    "photometric": Augmentation(shift=4, gamma=0.3, matrix=0.15, gain=0.2),
}


def get(name: str, flag: str = "") -> Augmentation:
    """Return the augmentation called ``name``.

    Raises:
        ShiftBenchError: there is none.
    """
    if name not in AUGMENTATIONS:
        raise unknown("augmentation", name, AUGMENTATIONS, flag)
    return AUGMENTATIONS[name]


def apply(pixels: Tensor, chosen: Augmentation, generator: torch.Generator) -> Tensor:
    """Augment sequences of frames.

    Args:
        pixels: uint8 (B, T, H, W, 3).
        chosen: how.
        generator: source of randomness, on the frames' device.

    Returns:
        uint8 (B, T, H, W, 3), the very frames where ``chosen`` changes nothing.
    """
    if chosen.shift:
        pixels = _shift(pixels, chosen.shift, generator)
    if chosen.gamma or chosen.matrix or chosen.gain:
        pixels = _jitter(pixels, chosen, generator)
    return pixels


def _shift(pixels: Tensor, most: int, generator: torch.Generator) -> Tensor:
    batch, _, height, width, _ = pixels.shape
    device = pixels.device
    by = torch.randint(-most, most + 1, (2, batch, 1), generator=generator, device=device)
    rows = (torch.arange(height, device=device) + by[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + by[1]).clamp(0, width - 1)
    at = torch.arange(batch, device=device)[:, None, None]
    # Advanced indices around a slice come first: (B, H, W, T, 3).
    return pixels.movedim(1, 3)[at, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def _jitter(pixels: Tensor, chosen: Augmentation, generator: torch.Generator) -> Tensor:
    batch, device = len(pixels), pixels.device

    def normal(*shape: int) -> Tensor:
        return torch.randn((batch, *shape), generator=generator, device=device)

    # A byte has 256 values: a table of them costs a fraction of a power for each pixel.
    table = (torch.arange(256, device=device) / 255.0) ** (chosen.gamma * normal(1)).exp()
    matrix = torch.eye(3, device=device) + chosen.matrix * normal(3, 3)
    matrix = 255.0 * matrix * (1.0 + chosen.gain * normal(1, 1))
    flat = pixels.reshape(batch, -1)
    values = table.gather(1, flat.long()).view(batch, -1, 3)
    colours = torch.bmm(values, matrix).round_().clamp_(0.0, 255.0)
    return colours.to(torch.uint8).view(pixels.shape)
