import math

import numpy as np
import pytest
import scipy.stats

from shiftbench import stats

# Two tasks; the first with two seeds of three episodes, the second with two seeds of two.
GROUP = [
    np.array([[0.0, 10.0, 20.0], [30.0, 30.0, 60.0]]),  # runs: 10, 40
    np.array([[50.0, 70.0], [100.0, 100.0]]),  # runs: 60, 100
]


def test_iqm_by_hand():
    assert stats.iqm(np.array([7.0])) == 7.0
    assert stats.iqm(np.array([1.0, 2.0, 6.0])) == 3.0  # a quarter of 3 is less than one value
    assert stats.iqm(np.array([-1000.0, 4.0, 2.0, 1000.0])) == 3.0
    assert stats.iqm(np.array([[9.0, 1.0], [3.0, 3.0]]), axis=0).tolist() == [6.0, 2.0]
    # eight values, two cut at either end
    assert stats.iqm(np.array([8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0])) == 4.5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11, 30, 101])
def test_iqm_agrees_with_scipy(count):
    values = np.random.default_rng(count).standard_cauchy((6, count))
    np.testing.assert_allclose(stats.iqm(values), scipy.stats.trim_mean(values, 0.25, axis=1))
    np.testing.assert_allclose(
        stats.iqm(values.T, axis=0), scipy.stats.trim_mean(values.T, 0.25, axis=0)
    )


def test_score_by_hand():
    assert stats.run_scores(GROUP).tolist() == [10.0, 40.0, 60.0, 100.0]
    assert stats.score(GROUP) == 50.0  # the mean of 40 and 60; the plain mean is 52.5


def test_runs_count_equally_whatever_their_episodes():
    group = [np.array([[0.0, 0.0, 0.0, 0.0, 0.0]]), np.array([[60.0]])]
    assert stats.score(group) == 30.0


def test_retention_by_hand():
    assert stats.retention(30.0, 60.0) == 0.5
    assert stats.retention(-6.0, 60.0) == -0.1
    assert stats.retention(5.0, 10.0) == 0.5
    assert math.isnan(stats.retention(9.0, 9.99))
    assert math.isnan(stats.retention(9.0, -50.0))
    assert math.isnan(stats.retention(9.0, float("nan")))


def test_robustness_by_hand():
    levels = ["none", "mild", "severe"]
    assert stats.robustness({"none": 90.0, "mild": 60.0, "severe": 0.0}, levels) == 50.0
    assert math.isnan(stats.robustness({"none": 90.0, "mild": 60.0}, levels))


def test_draws_stay_within_their_strata():
    """Every draw of a run is a mean of that task's episodes, and every task keeps its runs."""
    group = [np.full((3, 4), 1.0), np.full((2, 5), 2.0)]
    draws = stats.resample(group, 50, np.random.default_rng(0))
    assert draws.tolist() == [[1.0, 1.0, 1.0, 2.0, 2.0]] * 50
    # Episodes of one seed never mix with another's: seeds differ by 100, episodes by 1.
    mixed = stats.resample([np.array([[0.0, 1.0], [100.0, 101.0]])], 200, np.random.default_rng(0))
    assert set(mixed.ravel()) == {0.0, 0.5, 1.0, 100.0, 100.5, 101.0}


def test_interval_without_spread_has_no_width():
    assert stats.interval([np.full((3, 4), 7.0), np.full((1, 2), 7.0)]) == (7.0, 7.0)
    assert stats.interval([np.array([[3.0]])]) == (3.0, 3.0)


def test_interval_is_the_same_for_the_same_seed():
    group = [np.random.default_rng(1).normal(50.0, 10.0, (3, 10)) for _ in range(3)]
    assert stats.interval(group, seed=4) == stats.interval(group, seed=4)
    assert stats.interval(group, seed=4) != stats.interval(group, seed=5)
    low, high = stats.interval(group)
    assert low < stats.score(group) < high
    inner = stats.interval(group, confidence=0.5)
    assert low < inner[0] < inner[1] < high


@pytest.mark.parametrize(
    ("shape", "statistic"),
    [((1, 25), np.mean), ((24, 1), lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis))],
    ids=["episodes of one run", "runs of one episode"],
)
def test_interval_agrees_with_scipy(shape, statistic):
    """With one stratum and one thing to draw, ours is the plain percentile bootstrap."""
    values = np.random.default_rng(7).normal(50.0, 20.0, shape)
    ours = stats.interval([values], draws=20_000)
    theirs = scipy.stats.bootstrap(
        (values.ravel(),), statistic, n_resamples=20_000, method="percentile", axis=0,
        vectorized=True, rng=np.random.default_rng(8),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)


def test_interval_covers_the_truth():
    """Of the intervals of 200 made-up runs with 30 episodes, about 95 % hold the true mean."""
    rng = np.random.default_rng(0)
    hits = 0
    for index in range(200):
        low, high = stats.interval([rng.normal(40.0, 15.0, (1, 30))], draws=300, seed=index)
        hits += low <= 40.0 <= high
    assert 0.88 <= hits / 200 <= 0.99
