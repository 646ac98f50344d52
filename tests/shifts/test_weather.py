"""The family ``weather``."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench.shifts import weather
from shiftbench.shifts.weather import Weather
from shiftbench.specs import Shift


@pytest.fixture
def weathered(shift_envs):
    """Return what draws a frame under given numbers: the rest is good weather."""
    env = shift_envs["cartpole_balance"]

    def draw(t=0, seed=0, **numbers):
        env.reset(0)
        family = Weather()
        family.use(env.scene, Weather.numbers(0.0, **numbers), np.random.default_rng(seed))
        env.scene.update()
        family.decorate(env.scene, t)
        rgb, depth = env._renderer.draw(depth=True)
        before = rgb.copy()
        after = family.post(rgb, depth, t)
        env.scene.restore()
        return before.astype(int), after.astype(int), depth

    return draw


def test_good_weather_changes_nothing(weathered):
    before, after, _ = weathered()
    assert (before == after).all()


def test_fog_thickens_with_the_depth(weathered):
    before, after, depth = weathered(fog=100.0)
    floor = np.flatnonzero((depth[:, 32] < 1) & (np.arange(64) > 44))  # the nearest row comes last
    added = (after - before)[floor].mean((1, 2))
    assert (added > 0).all()
    assert added[0] > 1.5 * added[-1]
    assert np.abs(after[:8] - before[:8]).mean() > 5  # the sky is in it too


def test_clouds_cover_the_sky_alone_and_dim_the_lamps(weathered):
    before, after, depth = weathered(cloud=100.0)
    sky = depth == 1
    assert (after == before)[~sky].all()
    assert np.abs(after - before)[sky].mean() > 5
    clear, _, _ = weathered()
    assert (before <= clear)[~sky].all()
    assert before[~sky].mean() < clear[~sky].mean()


def test_clouds_drift_where_they_do(weathered):
    still = [weathered(t, cloud=80.0)[1] for t in (0, 9)]
    assert (still[0] == still[1]).all()
    moving = [weathered(t, cloud=80.0, drift=0.02)[1] for t in (0, 9)]
    assert (moving[0] != moving[1]).any()


def test_the_lower_the_sun_the_darker_the_frame(weathered):
    means = [weathered(sun=altitude)[1].mean() for altitude in (45.0, 10.0, 0.0, -90.0)]
    assert np.all(np.diff(means) < -3)
    evening = weathered(sun=10.0)[1].mean((0, 1)) / weathered()[1].mean((0, 1))
    night = weathered(sun=-90.0)[1].mean((0, 1)) / weathered()[1].mean((0, 1))
    assert evening[0] > evening[2]  # warm, then cold
    assert night[0] < night[2]


def test_a_low_sun_shines_where_no_cloud_hides_it(shift_envs):
    env = shift_envs["cartpole_balance"]
    lamps = {}
    for cloud in (0.0, 100.0):
        env.reset(0)
        family = Weather()
        numbers = Weather.numbers(0.0, sun=10.0, cloud=cloud)
        family.use(env.scene, numbers, np.random.default_rng(0))
        env.scene.update()
        before = env.scene.mjv.nlight
        family.decorate(env.scene, 0)
        lamps[cloud] = env.scene.mjv.nlight - before
        env.scene.restore()
    assert lamps == {0.0: 1, 100.0: 0}


def test_rain_falls_and_wind_slants_it(weathered):
    streaks = {}
    for t in (0, 1):
        before, after, _ = weathered(t, rain=100.0)
        streaks[t] = (after - before).max(-1)
    assert (streaks[0] >= 0).all()
    assert 0.02 < (streaks[0] > 5).mean() < 0.3
    fallen = round(64 * weather.FALL)
    overlap = (streaks[1][fallen:] > 5) == (streaks[0][:-fallen] > 5)
    assert overlap.mean() > 0.97
    upright, slanted = (
        weather._rain(np.random.default_rng(0), 64, 1.0, slant) for slant in (0.0, 1.0)
    )
    for drops, step in ((upright, 0), (slanted, 1)):
        image = drops[:64, : 3 * 64 : 3]
        below = np.roll(image, (-1, -step), (0, 1))
        assert np.corrcoef(image.ravel(), below.ravel())[0, 1] > 0.6


def test_the_dark_is_noisy_and_each_frame_has_noise_of_its_own(weathered):
    frames = [weathered(t, sun=-90.0)[1][:8] for t in (0, 1, 0)]
    assert (frames[0] != frames[1]).any()
    assert (frames[0] == frames[2]).all()


def test_weather_reaches_scenes_without_a_sky(tasks):
    from shiftbench.envs.pixels import PixelEnv

    env = PixelEnv(tasks["reacher_easy"])
    clean = env.reset(0).astype(int)
    distances = [
        np.abs(env.reset(0, Shift("weather", str(s), s), 1) - clean).mean()
        for s in (0.25, 0.5, 0.75, 1.0)
    ]
    env.close()
    assert distances[0] > 2
    assert np.all(np.diff(distances) > 0)
