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


def test_fields_are_drawn_from_all_kinds_and_many_of_each():
    fields = [patterns.field(np.random.default_rng(seed), 32) for seed in range(200)]
    assert all((field.shape, field.dtype) == ((32, 32), np.uint8) for field in fields)
    assert len({field.tobytes() for field in fields}) == 200
    assert {list(patterns.KINDS)[np.random.default_rng(s).integers(8)] for s in range(100)} == set(
        patterns.KINDS
    )
    clouds = {patterns.field(np.random.default_rng(s), 32, "spectral").mean() for s in range(100)}
    assert 20 < len(clouds) <= patterns.STOCK  # turned and moved, each has the mean that it had


@pytest.mark.parametrize("size", [64, 300])
def test_the_stock_is_the_kinds_own_and_is_never_changed(size):
    field = patterns.field(np.random.default_rng(0), size, enlarge=True)
    again = patterns.field(np.random.default_rng(0), size, enlarge=True)
    assert (field == again).all()
    again[:] = 0
    assert (field == patterns.field(np.random.default_rng(0), size, enlarge=True)).all()
    # What a look shows is a field of a kind: opposite edges fit, whichever way it was turned.
    for axis in (0, 1):
        steps = np.abs(field - np.roll(field, 1, axis).astype(float)).mean(1 - axis)
        assert steps[0] <= 1.3 * steps[1:].max()


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
    colours, other = patterns.palettes(np.random.default_rng(0), [(0.2, 0.5), (0, 1)], stops=5)
    np.testing.assert_allclose(np.sort(colours @ patterns.LUMA), np.linspace(0.2, 0.5, 5))
    np.testing.assert_allclose(np.sort(other @ patterns.LUMA), np.linspace(0, 1, 5), atol=1e-9)
    grey = patterns.palettes(np.random.default_rng(0), [(0.2, 0.5)], saturation=0)
    np.testing.assert_allclose(np.ptp(grey, axis=-1), 0, atol=1e-9)


def test_a_picture_runs_through_the_palette():
    colours = np.array([[0.0, 0, 0], [1, 0.5, 0], [1, 1, 1]])
    ramp = patterns.ramps(colours)
    np.testing.assert_allclose(ramp[[0, 255]], colours[[0, 2]])
    np.testing.assert_allclose(ramp[51], [0.4, 0.2, 0])
    assert (np.diff(ramp, axis=0) > -1e-12).all()
    picture = patterns.painted(
        np.array([[0, 51], [255, 0]], np.uint8), (255 * ramp).astype(np.uint8)
    )
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[0, 0, 0], [102, 51, 0]], [[255, 255, 255], [0, 0, 0]]]
