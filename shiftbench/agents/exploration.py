"""The noise by which an agent that learns departs from its policy."""

from __future__ import annotations

import torch
from torch import Tensor


def colored_noise(
    shape: tuple[int, ...], color: float, generator: torch.Generator, device: str = "cpu"
) -> Tensor:
    """Return noise whose power falls with frequency f like 1 / f^color, along the last axis.

    0 is white; 1 is pink, with which agents explore more than with white noise, since what pushes
    the same way for some steps gets farther (Eberhard et al. 2023, "Pink Noise Is All You Need:
    Colored Noise Exploration in Deep Reinforcement Learning", ICLR).

    Args:
        shape: of the noise; the last axis is time, at least 2 steps.
        color: exponent.
        generator: the only source of randomness.
        device: that of ``generator`` and of the result.

    Returns:
        float32 of that shape, each value normal with mean 0 and deviation 1.
    """
    *others, steps = shape
    frequency = torch.fft.rfftfreq(steps, device=device)
    frequency[0] = frequency[1]  # what is constant gets as much as the slowest wave
    scale = frequency ** (-color / 2)
    white = torch.randn((*others, len(scale), 2), generator=generator, device=device)
    # The spectrum of a real signal is real at its ends, which count once, all else twice.
    ends = [0] if steps % 2 else [0, -1]
    white[..., ends, 1] = 0.0
    white[..., ends, 0] *= 2**0.5
    noise = torch.fft.irfft(torch.view_as_complex(white) * scale, n=steps)
    power = 2 * scale**2
    power[ends] /= 2
    return noise * (steps / (2 * power.sum()) ** 0.5)
