"""The noise that explores."""

import numpy as np
import pytest
import torch

from shiftbench.agents.exploration import colored_noise


def noise(shape, color, seed=0):
    return colored_noise(shape, color, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("color", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("steps", [2, 3, 125, 126])
def test_every_step_has_deviation_1(color, steps):
    values = noise((20_000, steps), color)
    assert values.shape == (20_000, steps)
    assert values.dtype == torch.float32
    assert values.mean(0).abs().max() < 0.05
    assert (values.std(0) - 1).abs().max() < 0.05


@pytest.mark.parametrize("color", [0.0, 0.5, 1.0, 2.0])
def test_power_falls_with_frequency_as_its_color_says(color):
    power = torch.fft.rfft(noise((2_000, 500), color)).abs().square().mean(0)[1:-1]
    frequency = np.arange(1, len(power) + 1)
    slope, _ = np.polyfit(np.log(frequency), np.log(power.numpy()), 1)
    assert abs(slope + color) < 0.05


def test_a_seed_gives_one_noise_and_another_seed_another():
    first = noise((2, 1, 50), 1.0, seed=3)
    assert torch.equal(first, noise((2, 1, 50), 1.0, seed=3))
    assert not torch.equal(first, noise((2, 1, 50), 1.0, seed=4))
    assert not torch.equal(first[0], first[1])
