"""The family ``sensor``."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from shiftbench.shifts import sensor
from shiftbench.shifts.sensor import Sensor
from shiftbench.specs import Shift


class Frame:
    """What the family needs of a scene."""

    height = width = 64


def degraded(image, t=0, seed=0, **numbers):
    family = Sensor()
    family.use(Frame(), Sensor.numbers(0.0, **numbers), np.random.default_rng(seed))
    return family.post(image.copy(), None, t)


@pytest.fixture
def picture():
    """Half dark, half light, with a grey frame around."""
    image = np.full((64, 64, 3), 120, np.uint8)
    image[8:-8, 8:32], image[8:-8, 32:-8] = 60, 180
    return image


def test_no_numbers_no_change(picture):
    assert (degraded(picture) == picture).all()


def test_blur_softens_edges_alone(picture):
    soft = degraded(picture, blur=1.0).astype(int)
    assert (soft[20:40, 30:34] != picture[20:40, 30:34]).any(-1).all()
    assert (soft[20:40, 14:26] == 60).all()
    assert (soft[:4] == 120).all()
    across = soft[32, 20:44, 0]
    assert (np.diff(across) >= 0).all()


def test_blur_grows_with_the_frame():
    class Large:
        height = width = 128

    small, large = Sensor(), Sensor()
    for family, scene in ((small, Frame()), (large, Large())):
        family.use(scene, Sensor.numbers(0.0, blur=1.0), np.random.default_rng(0))
    assert (len(small._weights), len(large._weights)) == (7, 13)


def test_exposure_is_a_factor_both_ways(picture):
    flat = np.full_like(picture, 100)
    gains = {degraded(flat, seed=s, stops=1.0)[0, 0, 0] / 100 for s in range(20)}
    darker = {gain for gain in gains if gain < 1}
    assert 0.5 <= min(darker) < max(darker) <= 0.5**0.5 + 0.01
    assert 2**0.5 - 0.01 <= min(gains - darker) < max(gains) <= 2
    assert degraded(np.full_like(picture, 250), seed=0, stops=1.0).max() <= 255


def test_exposure_swings_only_where_it_has_a_speed(picture):
    still = [degraded(picture, t, stops=0.5) for t in range(5)]
    assert all((frame == still[0]).all() for frame in still)
    moving = [degraded(picture, t, stops=0.5, speed=0.3).mean() for t in range(20)]
    assert np.ptp(moving) > 5
    assert np.abs(np.diff(moving)).max() < 0.5 * np.ptp(moving)


def test_noise_has_the_deviation_that_it_says(picture):
    flat = np.full_like(picture, 128)
    noise = degraded(flat, noise=0.05).astype(float) - 128
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.05)
    assert abs(noise.mean()) < 0.5


def test_noise_is_fresh_in_every_frame_or_stays(picture):
    flat = np.full_like(picture, 128)
    fixed = [degraded(flat, t, noise=0.05) for t in range(4)]
    assert all((frame == fixed[0]).all() for frame in fixed)
    fresh = [degraded(flat, t, noise=0.05, fresh=1.0).astype(float) - 128 for t in range(4)]
    for a, b in itertools.pairwise(fresh):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1


def test_the_noise_of_a_frame_depends_on_nothing_but_its_number(shift_envs):
    env = shift_envs["cartpole_balance"]
    shift = Shift("sensor", "extreme", 1.0)
    env.reset(0, shift, 1)
    env.agent_steps = 7
    seventh = env.draw()
    env.reset(0, shift, 1)
    for t in (3, 9, 7):
        env.agent_steps = t
        frame = env.draw()
    assert (frame == seventh).all()


def test_compression_gets_worse_with_its_quality(shift_envs):
    frame = shift_envs["finger_spin"].reset(0)
    errors = [np.abs(degraded(frame, quality=q).astype(int) - frame).mean() for q in (95, 60, 20)]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert sensor._compressed(frame, 50).shape == frame.shape
