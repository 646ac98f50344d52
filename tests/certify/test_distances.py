"""The two measures of distance, on images whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench.certify import distances
from shiftbench.certify.distances import C1, C2, LUMA, RandomFeatures, ssim, ssim_distance

SIZE = 24


def grey(values: np.ndarray) -> np.ndarray:
    """Return values (H, W) as one grey image, uint8 (1, H, W, 3)."""
    return np.repeat(np.asarray(values, np.uint8)[None, ..., None], 3, axis=-1)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(30, 220, (5, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def features() -> RandomFeatures:
    return RandomFeatures()


# -- SSIM ------------------------------------------------------------------------------------------


def test_flat_images_differ_by_their_luminance_alone():
    a, b = 100, 160
    found = ssim(grey(np.full((SIZE, SIZE), a)), grey(np.full((SIZE, SIZE), b)))
    assert found == pytest.approx((2 * a * b + C1) / (a * a + b * b + C1), abs=1e-9)


def test_one_window_is_the_formula_of_the_paper():
    """With images as large as the window there is one window, whose statistics are written out."""
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (2, 11, 11)).astype(float)
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
    covariance = (weights * (x - mx) * (y - my)).sum()
    expected = (2 * mx * my + 6.5025) * (2 * covariance + 58.5225)
    expected /= (mx**2 + my**2 + 6.5025) * (vx + vy + 58.5225)
    assert ssim(grey(x), grey(y)) == pytest.approx(expected, abs=1e-9)


def test_a_checkerboard_and_its_negative_are_opposed():
    board = 255 * (np.indices((SIZE, SIZE)).sum(0) % 2)
    found = ssim(grey(board), grey(255 - board))[0]
    # Nearly equal means, equal variances 127.5², covariance −127.5².
    assert found == pytest.approx((C2 - 2 * 127.5**2) / (C2 + 2 * 127.5**2), abs=1e-3)
    assert ssim_distance(grey(board), grey(255 - board))[0] == pytest.approx(np.sqrt(1 - found))


def test_equal_images_have_no_distance_and_pairs_are_measured_one_by_one(noise):
    assert ssim_distance(noise, noise).tolist() == [0] * 5
    other = noise.copy()
    other[2] //= 2
    assert (ssim_distance(noise, other) > 0).tolist() == [False, False, True, False, False]
    np.testing.assert_allclose(ssim(noise, other), ssim(other, noise))


def test_only_the_luma_counts():
    red, green = np.zeros((2, 1, SIZE, SIZE, 3), np.uint8)
    red[..., 0], green[..., 1] = 200, 200 * LUMA[0] / LUMA[1]
    assert ssim(red, green)[0] == pytest.approx(1, abs=0.001)


def test_the_distance_grows_in_proportion_to_a_small_change(noise):
    base = noise.astype(float)
    found = [
        ssim_distance(noise, (base * (1 - share)).round().astype(np.uint8)) for share in (0.1, 0.2)
    ]
    assert np.mean(found[1] / found[0]) == pytest.approx(2, rel=0.1)


# -- random features -------------------------------------------------------------------------------


def test_the_network_is_the_one_that_certificates_name(features):
    """Its parameters are the same on every machine, or a certificate says something else."""
    assert features.sha256 == "be367b3b57e48b9c51e170d985f99cfcf7200c6645668970ebda70565f3ed918"
    assert RandomFeatures().sha256 == features.sha256


def test_a_brighter_picture_is_as_far_away_as_it_is_brighter(noise, features):
    """The network has no biases: a gain g scales its activations, 2 (1 − g) / (1 + g) is left."""
    dimmed = (noise // 4 * 4, noise // 4 * 3)  # exactly three quarters
    np.testing.assert_allclose(features.distance(*dimmed), 2 * 0.25 / 1.75, rtol=1e-4)


def test_the_distance_of_features_is_one_of_pairs(noise, features):
    assert features.distance(noise, noise).tolist() == [0] * 5
    black = np.zeros_like(noise)
    np.testing.assert_allclose(features.distance(noise, black), 2, rtol=1e-6)
    assert features.distance(black, black).tolist() == [0] * 5
    rolled = np.roll(noise, 1, axis=0)
    found = features.distance(noise, rolled)
    np.testing.assert_allclose(found, features.distance(rolled, noise))
    one = np.concatenate([features.distance(noise[i : i + 1], rolled[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(found, one, rtol=1e-4)


def test_the_distance_of_features_sees_colour_and_not_even_light_alone(features):
    red, green = np.zeros((2, 1, SIZE, SIZE, 3), np.uint8)
    red[..., 0], green[..., 1] = 200, 200 * LUMA[0] / LUMA[1]
    assert features.distance(red, green)[0] > 0.5
    filters = features._layers[0].numpy()
    even = np.abs(filters.mean((2, 3))).mean() / np.abs(filters).mean()
    assert even < 0.1
    assert distances.EVEN < 1
