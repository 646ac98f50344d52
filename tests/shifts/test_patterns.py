"""The procedural pictures."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench.pretrain import textures
from shiftbench.shifts import patterns

KINDS = pytest.mark.parametrize("kind", patterns.KINDS)


@KINDS
@pytest.mark.parametrize("size", [64, 96])
def test_a_field_fills_the_unit_range(kind, size):
    for seed in range(10):
        field = patterns.KINDS[kind](np.random.default_rng(seed), size)
        assert field.shape == (size, size)
        assert field.min() >= 0
        assert field.max() <= 1
        assert np.ptp(field) > 0.4
        assert field.std() > 0.05


@KINDS
def test_a_seed_gives_one_field_and_another_seed_another(kind):
    first, again, other = (patterns.KINDS[kind](np.random.default_rng(s), 64) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).mean() > 0.1


@KINDS
@pytest.mark.parametrize("axis", [0, 1])
def test_opposite_edges_fit_together(kind, axis):
    for seed in range(10):
        field = patterns.KINDS[kind](np.random.default_rng(seed), 64)
        steps = np.abs(field - np.roll(field, 1, axis)).mean(1 - axis)
        assert steps[0] <= 1.3 * steps[1:].max()


def test_no_kind_is_one_that_the_shipped_encoder_was_trained_on():
    assert not set(patterns.KINDS) & {field.__name__ for field in textures.FIELDS}
    assert all(field.__module__ == patterns.__name__ for field in patterns.KINDS.values())


def test_every_kind_is_drawn():
    fields = [patterns.field(np.random.default_rng(seed), 32) for seed in range(100)]
    assert all(field.dtype == np.float32 for field in fields)
    drawn = {list(patterns.KINDS)[np.random.default_rng(s).integers(8)] for s in range(100)}
    assert drawn == set(patterns.KINDS)


def test_clouds_have_the_spectrum_of_natural_images():
    spectra = [
        np.abs(np.fft.fft2(patterns.spectral(np.random.default_rng(s), 128))) for s in range(20)
    ]
    amplitude = np.mean(spectra, 0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128, 1 / 128)] * 2))
    band = (frequency > 2) & (frequency < 50)
    slope = np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)[0]
    assert -1.4 < slope < -0.95


def test_luma_is_exact_and_colours_stay_valid():
    colours = np.random.default_rng(0).uniform(0, 1, (100, 3))
    luma = np.linspace(0, 1, 100)
    changed = patterns.with_luma(colours, luma)
    np.testing.assert_allclose(changed @ patterns.LUMA, luma, atol=1e-9)
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-9


def test_a_palette_spreads_over_its_range():
    colours = patterns.palette(np.random.default_rng(0), (0.2, 0.5), stops=5)
    np.testing.assert_allclose(np.sort(colours @ patterns.LUMA), np.linspace(0.2, 0.5, 5))
    grey = patterns.palette(np.random.default_rng(0), (0.2, 0.5), saturation=0)
    np.testing.assert_allclose(np.ptp(grey, axis=1), 0, atol=1e-9)


def test_colour_runs_through_the_palette():
    black_white = np.array([[0, 0, 0], [1, 1, 1]])
    picture = patterns.colour(np.array([[0.0, 0.5], [1.0, 0.25]]), black_white)
    assert picture.dtype == np.uint8
    assert picture[..., 0].tolist() == [[0, 127], [255, 63]]
