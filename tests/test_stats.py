import math

import numpy as np
import pytest
import scipy.stats

from shiftbench import stats
from shiftbench.report import pairs

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


# -- aggregates and two agents, by hand ------------------------------------------------------------

RUNS = [np.array([10.0, 40.0]), np.array([60.0, 110.0])]


def test_aggregates_by_hand():
    assert stats.iqm_of(RUNS) == 50.0
    assert stats.mean_of(RUNS) == 55.0
    assert stats.median_of([*RUNS, np.array([30.0])]) == 30.0  # of 25, 85 and 30
    assert stats.optimality_gap_of(RUNS) == (90 + 60 + 40 + 0) / 4
    many = [np.stack([task, task + 1.0]) for task in RUNS]
    for statistic in (stats.iqm_of, stats.mean_of, stats.median_of):
        assert statistic(many).tolist() == [statistic(RUNS), statistic(RUNS) + 1.0]


def test_tasks_count_the_same_whatever_their_seeds():
    """B is 5 better on either task, and has more seeds on the harder one (Simpson's paradox)."""
    a = [np.full(6, 90.0), np.full(3, 10.0)]
    b = [np.full(3, 95.0), np.full(6, 15.0)]
    assert stats.mean_of(b) - stats.mean_of(a) == 5.0
    assert stats.iqm_of(b) - stats.iqm_of(a) == pytest.approx(5.0)
    assert stats.optimality_gap_of(a) == 50.0
    rng = np.random.default_rng(0)
    a, b = ([task + rng.normal(size=task.shape) for task in side] for side in (a, b))
    assert stats.mean_of(b) > stats.mean_of(a)
    assert stats.permutation_p(a, b) < 0.01
    assert stats.probability_of_improvement(b, a) == 1.0
    # A task's runs repeated until all have as many say the same, where whole runs are cut.
    few = [np.array([1.0, 7.0]), np.array([2.0, 9.0, 4.0, 30.0])]
    assert stats.iqm_of(few) == pytest.approx(stats.iqm_of([few[0].repeat(2), few[1]]))
    assert stats.uncut(few) == stats.uncut([few[0].repeat(2), few[1]]) == (2.0, 7.0)
    many = [np.stack([task, task + 1.0]) for task in few]
    assert stats.iqm_of(many) == pytest.approx(stats.iqm_of(few) + np.array([0.0, 1.0]))


def test_probability_of_improvement_by_hand():
    ours, theirs = [np.array([1.0, 3.0]), np.array([5.0])], [np.array([2.0, 3.0]), np.array([4.0])]
    # (0 + 0 + 1 + ½) / 4 on the first task, 1 on the second
    assert stats.probability_of_improvement(ours, theirs) == pytest.approx((1.5 / 4 + 1) / 2)
    assert stats.probability_of_improvement(theirs, ours) == pytest.approx(1 - (1.5 / 4 + 1) / 2)


def test_probability_of_improvement_is_mann_whitneys():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=7).round(1), rng.normal(0.5, size=9).round(1)
    u = scipy.stats.mannwhitneyu(ours, theirs).statistic
    assert stats.probability_of_improvement([ours], [theirs]) == pytest.approx(u / 63)


def test_profile_by_hand():
    found = stats.profile([np.array([10.0, 40.0]), np.array([60.0])], np.array([0.0, 10.0, 50.0]))
    assert found.tolist() == [1.0, 0.75, 0.5]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([(3, 3)], 0.1), ([(5, 5)], 2 / 252), ([(3, 5)], 2 / 56), ([(1, 1)], 1.0),
        ([(1, 1)] * 3, 0.25), ([(3, 3)] * 2, 0.005),
    ],
)  # fmt: skip
def test_smallest_p_is_reached_by_runs_wholly_apart(counts, expected):
    assert stats.smallest_p(counts) == pytest.approx(expected)
    high = [np.arange(n) + 100.0 for n, _ in counts]
    low = [np.arange(m) + 0.0 for _, m in counts]
    assert stats.permutation_p(high, low) == pytest.approx(expected)
    assert stats.permutation_p(low, high) == pytest.approx(expected)


def test_permutation_agrees_with_scipy():
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(0.0, 1.0, 5), rng.normal(1.0, 1.0, 5)

    def difference(x, y, axis):
        return x.mean(axis=axis) - y.mean(axis=axis)

    exact = scipy.stats.permutation_test(
        (ours, theirs), difference, vectorized=True, n_resamples=np.inf
    )
    assert stats.permutation_p([ours], [theirs]) == pytest.approx(exact.pvalue)


def test_permutation_of_many_runs_is_drawn():
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(0.0, 1.0, 12), rng.normal(0.8, 1.0, 12)
    exact = scipy.stats.permutation_test(
        (ours, theirs), lambda x, y, axis: x.mean(axis) - y.mean(axis),
        vectorized=True, n_resamples=50_000, rng=np.random.default_rng(5),
    )  # fmt: skip
    assert stats.permutation_p([ours], [theirs]) == pytest.approx(exact.pvalue, abs=0.02)
    assert stats.permutation_p([ours + 99], [theirs]) == pytest.approx(2 / (stats.DEALS + 1))


def test_equal_runs_are_not_separable():
    same = [np.full(5, 7.0)]
    assert stats.permutation_p(same, same) == 1.0
    assert pairs.verdict(0.0, 1.0) == "not separable"


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [(3.0, 0.05, "better"), (-3.0, 0.01, "worse"), (90.0, 0.1, "not separable"),
     (3.0, float("nan"), "not separable")],
)  # fmt: skip
def test_verdicts(difference, p, expected):
    assert pairs.verdict(difference, p) == expected


# -- the difference of two sides ------------------------------------------------------------------


def noise(*shape, seed=0, mean=50.0):
    return np.random.default_rng(seed).normal(mean, 10.0, shape)


def test_the_drop_of_one_checkpoint_is_the_paired_t_test():
    baseline, candidate = noise(1, 10), noise(1, 10, seed=1, mean=42.0)
    found = stats.drop([stats.Sides(baseline, candidate, True, True)])
    theirs = scipy.stats.ttest_rel(baseline[0] - 3.0, candidate[0], alternative="greater")
    assert found.value == pytest.approx((baseline - candidate).mean())
    assert found.above(3.0) == pytest.approx(theirs.pvalue)
    assert found.lower(0.05) == pytest.approx(theirs.confidence_interval(0.95).low + 3.0)
    assert found.freedom == pytest.approx(9.0)


def test_the_drop_without_pairs_is_welchs_t_test():
    baseline, candidate = noise(1, 10), 3.0 * noise(1, 7, seed=1, mean=14.0)
    found = stats.drop([stats.Sides(baseline, candidate, False, False)])
    theirs = scipy.stats.ttest_ind(
        baseline[0] - 3.0, candidate[0], equal_var=False, alternative="greater"
    )
    assert found.above(3.0) == pytest.approx(theirs.pvalue)
    assert found.freedom == pytest.approx(theirs.df)


def test_the_drop_of_several_tasks_weighs_them_equally():
    one = stats.Sides(np.array([[9.0, 11.0]]), np.array([[0.0, 0.0]]), True, True)
    two = stats.Sides(np.full((1, 4), 30.0), np.full((1, 4), 10.0), True, True)
    found = stats.drop([one, two])
    assert found.value == 15.0
    assert found.error == pytest.approx(0.5)  # differences 9 and 11: 1 for one task, half for two
    assert found.freedom == pytest.approx(1.0)


def test_seeds_that_differ_are_part_of_the_error():
    """Seeds drop by 0, 10 and 20 on all episodes alike: the error is that of three numbers."""
    candidate = np.repeat([[50.0], [40.0], [30.0]], 10, axis=1)
    paired = stats.drop([stats.Sides(np.full((3, 10), 50.0), candidate, True, True)])
    assert paired == pytest.approx((10.0, 10.0 / math.sqrt(3.0), 2.0))
    # Episodes that differ alike in all seeds add theirs: here 0 and 20.
    candidate = candidate + np.array([10.0, -10.0])[np.arange(10) % 2]
    both = stats.drop([stats.Sides(np.full((3, 10), 50.0), candidate, True, True)])
    assert both.error == pytest.approx(math.sqrt(100.0 / 3.0 + 1000.0 / 9.0 / 10.0))
    # Other seeds on the other side: both sides' variances count.
    apart = stats.drop([stats.Sides(candidate, candidate, False, True)])
    assert apart == pytest.approx((0.0, math.sqrt(2 * 100.0 / 3.0), 4.0))


def test_what_seeds_and_episodes_both_show_counts_once():
    """With nothing but noise of standard deviation 10 the squared error is 2 × 100 / 30."""
    found = [
        stats.drop([stats.Sides(noise(3, 10, seed=s), noise(3, 10, seed=-1 - s % 7 + 900), *pairs)])
        for s in range(300)
        for pairs in [(True, True), (False, True), (True, False), (False, False)]
    ]
    mean = np.mean([estimate.error**2 for estimate in found])
    assert 200 / 30 * 0.9 < mean < 200 / 30 * 1.8  # at least the larger of two, so a little more


def test_sides_that_are_equal_do_not_differ():
    same = noise(3, 10)
    found = stats.drop([stats.Sides(same, same, True, True)])
    assert found[:2] == (0.0, 0.0)
    assert found.lower(0.001) == 0.0
    # As many as the freedom says and one, all above: 2 of the seeds, 9 of the episodes.
    assert (found.above(0.0), found.above(-1.0)) == (1.0, 0.5**12)


def test_what_could_have_been_found():
    estimate = stats.Estimate(0.0, 2.0, 7.0)
    excess = estimate.detectable(0.01, 0.8)
    threshold = scipy.stats.t.ppf(0.99, 7.0)
    assert scipy.stats.nct.sf(threshold, 7.0, excess / 2.0) == pytest.approx(0.8, abs=1e-6)


def test_what_could_be_found_with_hardly_any_freedom_is_not_said():
    one = np.zeros((2, 2))
    one[0, 0] = 4.0
    found = stats.drop([stats.Sides(one, np.zeros((2, 2)), True, True)])
    assert found.freedom >= 1.0
    assert found.detectable(0.05 / 74, 0.8) < math.inf
    assert found.detectable(1e-5, 0.8) == math.inf


def test_holm_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    rejected, levels = stats.holm(p, 0.05)
    assert rejected.tolist() == [True, False, False, True]
    # 0.005 against 0.05 / 4, 0.01 against 0.05 / 3, 0.03 against 0.05 / 2 stops it for all others.
    assert levels == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])
    assert stats.holm(np.array([0.01]), 0.05)[0].tolist() == [True]
    assert stats.holm(np.array([0.03, 0.03]), 0.05)[0].tolist() == [False, False]
    assert stats.holm(np.array([0.0, 1.0, 0.02]), 0.05)[0].tolist() == [True, False, True]


def test_smallest_p_of_very_many_runs_is_a_number():
    assert 0.0 <= stats.smallest_p([(10, 10)] * 100) < 1e-300
