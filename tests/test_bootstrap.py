import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from shiftbench import bootstrap, stats


def test_draws_stay_within_their_strata():
    """Every draw of a run is a mean of that task's episodes, and every task keeps its runs."""
    group = [np.full((3, 4), 1.0), np.full((2, 5), 2.0)]
    draws = np.concatenate(bootstrap.draw(group, 50), axis=1)
    assert draws.tolist() == [[1.0, 1.0, 1.0, 2.0, 2.0]] * 50
    # Episodes of one seed never mix with another's: seeds differ by 100, episodes by 1.
    mixed = bootstrap.draw([np.array([[0.0, 1.0], [100.0, 101.0]])], 200)[0]
    assert set(mixed.ravel()) == {0.0, 0.5, 1.0, 100.0, 100.5, 101.0}


def test_interval_without_spread_has_no_width():
    assert bootstrap.interval([np.full((3, 4), 7.0), np.full((1, 2), 7.0)]) == (7.0, 7.0)
    assert bootstrap.interval([np.array([[3.0]])]) == (3.0, 3.0)


def test_levels_with_other_numbers_of_episodes_share_their_seeds():
    seeds = np.array([0.0, 100.0, 200.0])[:, None]
    one, other = (bootstrap.draw([seeds + np.zeros((3, n))], 300)[0] for n in (10, 7))
    assert (one == other).all()
    assert len(np.unique(one.mean(axis=1))) > 3
    wide = bootstrap.draw([seeds + np.zeros((3, bootstrap.BLOCK // 100))], 300)[0]  # in blocks
    assert (wide == one).all()


def test_interval_is_the_same_for_the_same_seed():
    group = [np.random.default_rng(1).normal(50.0, 10.0, (3, 10)) for _ in range(3)]
    assert bootstrap.interval(group, seed=4) == bootstrap.interval(group, seed=4)
    assert bootstrap.interval(group, seed=4) != bootstrap.interval(group, seed=5)
    low, high = bootstrap.interval(group)
    assert low < stats.score(group) < high
    inner = bootstrap.interval(group, confidence=0.5)
    assert low < inner[0] < inner[1] < high


@pytest.mark.parametrize(
    ("shape", "statistic"),
    [((1, 25), np.mean), ((24, 1), lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis))],
    ids=["episodes of one run", "runs of one episode"],
)
def test_interval_agrees_with_scipy(shape, statistic):
    """With one stratum and one thing to draw, ours is the plain percentile bootstrap."""
    values = np.random.default_rng(7).normal(50.0, 20.0, shape)
    ours = np.percentile(stats.iqm_of(bootstrap.draw([values], 20_000)), [2.5, 97.5])
    theirs = scipy.stats.bootstrap(
        (values.ravel(),), statistic, n_resamples=20_000, method="percentile", axis=0,
        vectorized=True, rng=np.random.default_rng(8),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert tuple(ours) == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)


def test_interval_covers_the_truth():
    """Of the intervals of 200 made-up runs with 30 episodes, about 95 % hold the true mean."""
    rng = np.random.default_rng(0)
    hits = 0
    for index in range(200):
        low, high = bootstrap.interval([rng.normal(40.0, 15.0, (1, 30))], draws=300, seed=index)
        hits += low <= 40.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize("count", [2, 3])
def test_few_seeds_without_noise_give_students_interval(count):
    """The factor makes of the draws' standard deviation that of n − 1, and of z Student's t."""
    group = [np.linspace(40.0, 60.0, count)[:, None]]
    expected = np.sqrt(count / (count - 1)) * scipy.stats.t.ppf(0.975, count - 1)
    assert bootstrap.widening(group) == pytest.approx(expected / scipy.stats.norm.ppf(0.975))


def test_episodes_of_one_seed_give_students_interval():
    group = [np.random.default_rng(0).normal(50.0, 10.0, (1, 8))]
    expected = np.sqrt(8 / 7) * scipy.stats.t.ppf(0.975, 7) / scipy.stats.norm.ppf(0.975)
    assert bootstrap.widening(group) == pytest.approx(expected)


def test_many_seeds_are_hardly_widened():
    group = [np.random.default_rng(0).normal(50.0, 10.0, (500, 1))]
    assert bootstrap.widening(group) == pytest.approx(1.0, abs=0.01)


def test_tasks_whose_runs_are_cut_do_not_count():
    """Wild runs far outside change neither the score nor the interval's factor."""
    middle = np.random.default_rng(0).normal(50.0, 5.0, (4, 6))
    far = [np.full((2, 6), -900.0), np.full((2, 6), 900.0)]
    wild = [far[0] * np.array([[1.0], [3.0]]), far[1] * np.array([[1.0], [3.0]])]
    assert bootstrap.widening([far[0], middle, far[1]]) == pytest.approx(
        bootstrap.widening([wild[0], middle, wild[1]])
    )


def test_blocks_do_not_change_what_is_drawn_much(monkeypatch):
    group = [np.random.default_rng(0).normal(50.0, 10.0, (4, 30))]
    whole = bootstrap.interval(group)
    monkeypatch.setattr(bootstrap, "BLOCK", 1000)
    assert bootstrap.interval(group) == pytest.approx(whole, abs=1.5)


def test_retention_of_a_share_has_no_width():
    clean = [np.random.default_rng(0).normal(60.0, 5.0, (5, 10))]

    def kept(shifted, clean):
        return bootstrap.retention_interval(bootstrap.Sampled(shifted), bootstrap.Sampled(clean))

    assert kept([0.5 * clean[0]], clean) == pytest.approx((0.5, 0.5))
    assert np.isnan(kept(clean, [clean[0] - 55.0])).all()
    # A clean score just above 10, but not surely.
    assert np.isnan(kept(clean, [clean[0] - 49.0])).all()


def test_levels_of_the_same_runs_are_drawn_together():
    """What one level gains and the other loses leaves the mean of both where it is."""
    up = np.random.default_rng(0).normal(0.0, 5.0, (3, 10))
    levels = [bootstrap.Sampled([50.0 + up]), bootstrap.Sampled([50.0 - up])]
    assert bootstrap.mean_interval(levels) == pytest.approx((50.0, 50.0))
    assert levels[0].interval() == bootstrap.interval([50.0 + up])


def test_the_shipped_method_covers_what_the_docs_say():
    """The lowest measured coverage, by seeds: docs/statistics.md has the table."""
    page = (Path(__file__).parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| [^|]+ \| (\d+) \|.* ([\d.]+) \|$", page, re.M)
    assert len(table) == 20
    for seeds, share in bootstrap.COVERAGE.items():
        lowest = min(float(entry) for count, entry in table if int(count) == seeds)
        assert lowest == pytest.approx(100 * share, abs=0.051)
    assert min(bootstrap.COVERAGE[10], bootstrap.COVERAGE[20]) >= 0.92


@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_over_seeds_cover_the_truth(seeds):
    """Of the intervals of 200 made-up groups about 95 % hold the truth, plain ones fewer."""
    rng = np.random.default_rng(seeds)
    hits = plain = 0
    for index in range(200):
        group = [50.0 + rng.normal(0.0, 10.0, (seeds, 1)) + rng.normal(0.0, 3.0, (seeds, 10))]
        low, high = bootstrap.interval(group, draws=300, seed=index)
        hits += low <= 50.0 <= high
        values = stats.iqm_of(bootstrap.draw(group, 300, index))
        plain += np.percentile(values, 2.5) <= 50.0 <= np.percentile(values, 97.5)
    assert 0.89 <= hits / 200 <= 1.0
    assert plain < hits
