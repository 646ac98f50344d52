"""The benchmark's statistics: pure functions on NumPy arrays, every random draw seeded.

A *group* is what one agent did at one level: a list with one array a task, each float (seeds,
episodes), where an entry is the score of one episode, already averaged over the families. Tasks may
differ in their numbers of seeds and episodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

#: Clean scores below this give no retention: a ratio to a number near zero says nothing.
LEAST_CLEAN = 10.0


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the interquartile mean: the mean of what is left after trimming 25 % at either end.

    As Agarwal et al. 2021 (arXiv 2108.13264) define it; a whole number of values is trimmed, as
    in `scipy.stats.trim_mean`.

    Args:
        scores: float (..., n, ...), n ≥ 1.
        axis: the axis of length n, which disappears.
    """
    ordered = np.sort(scores, axis=axis)
    count = ordered.shape[axis]
    cut = int(0.25 * count)
    return ordered.take(range(cut, count - cut), axis=axis).mean(axis=axis)


def run_scores(group: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean score of every run (task × seed), float (runs,)."""
    return np.concatenate([task.mean(axis=1) for task in group])


def weights_of(runs: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return how much each run counts, so that every task counts the same, however many seeds.

    Args:
        runs: scores of the runs, one float (..., seeds) a task.

    Returns:
        float (runs,) with the sum 1, None where all tasks have as many.
    """
    counts = [task.shape[-1] for task in runs]
    if len(set(counts)) == 1:
        return None
    return np.concatenate([np.full(n, 1.0 / (n * len(counts))) for n in counts])


def iqm_of(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the IQM over tasks × seeds.

    Where tasks differ in their numbers of seeds, a quarter of the weight is cut at either end, not
    of the runs: see `weights_of`.

    Args:
        runs: scores of the runs, one float (..., seeds) a task.

    Returns:
        float (...).
    """
    values, weights = np.concatenate(runs, axis=-1), weights_of(runs)
    if weights is None:
        return iqm(values)
    places = values.argsort(axis=-1)
    inside = np.diff(weights[places].cumsum(axis=-1).clip(0.25, 0.75), axis=-1, prepend=0.25)
    return 2.0 * (np.take_along_axis(values, places, axis=-1) * inside).sum(axis=-1)


def uncut(runs: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the lowest and the highest run that the IQM does not cut; runs float (seeds,)."""
    values, weights = np.concatenate(runs), weights_of(runs)
    places = values.argsort()
    if weights is None:
        cut = int(0.25 * len(values))
        first, last = cut, len(values) - 1 - cut
    else:
        upto = weights[places].cumsum()
        first, last = (np.searchsorted(upto, share + 1e-9) for share in (0.25, 0.75 - 2e-9))
    return float(values[places[first]]), float(values[places[last]])


def mean_of(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean over the tasks of the means of their runs; shapes as in `iqm_of`."""
    return np.mean([task.mean(axis=-1) for task in runs], axis=0)


def median_of(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the median over the tasks of their means (Agarwal et al. 2021); shapes as `iqm_of`."""
    return np.median(np.stack([task.mean(axis=-1) for task in runs], axis=-1), axis=-1)


def optimality_gap_of(runs: Sequence[np.ndarray], target: float = 100.0) -> np.ndarray:
    """Return by how much runs fall short of ``target`` in the mean; more is no credit.

    As Agarwal et al. 2021 (arXiv 2108.13264) define it; shapes as in `iqm_of`.
    """
    return mean_of([np.maximum(target - task, 0.0) for task in runs])


def score(group: Sequence[np.ndarray]) -> float:
    """Return the IQM over tasks × seeds of the runs' mean scores."""
    return float(iqm_of([task.mean(axis=1) for task in group]))


def retention(shifted: float, clean: float) -> float:
    """Return shifted / clean score of the same episodes, NaN where the clean score is under 10."""
    return shifted / clean if clean >= LEAST_CLEAN else float("nan")


def robustness(level_scores: dict[str, float], levels: Sequence[str]) -> float:
    """Return the mean score over all ``levels``, the clean one included; NaN if one is missing."""
    if any(level not in level_scores for level in levels):
        return float("nan")
    return float(np.mean([level_scores[level] for level in levels]))


# -- two agents -----------------------------------------------------------------------------------

#: Deals of runs to two agents up to which a permutation test takes all of them, else so many drawn.
DEALS = 10_000


def probability_of_improvement(
    one: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the chance that a run of ``one`` beats one of ``other``, averaged over the tasks.

    Ties count half: it is the Mann–Whitney statistic (Agarwal et al. 2021, arXiv 2108.13264).

    Args:
        one, other: scores of the runs on the same tasks in the same order, float (..., seeds) a
            task; the numbers of seeds may differ.

    Returns:
        float (...), in 0..1.
    """
    wins = []
    for ours, theirs in zip(one, other, strict=True):
        apart = ours[..., :, None] - theirs[..., None, :]
        wins.append((0.5 + 0.5 * np.sign(apart)).mean(axis=(-2, -1)))
    return np.mean(wins, axis=0)


def profile(runs: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """Return the share of runs above each score, tasks with equal weight: a performance profile.

    Args:
        runs: scores of the runs, one float (..., seeds) a task.
        scores: float (n,).

    Returns:
        float (..., n), in 0..1, not rising with the score.
    """
    shares = [(task[..., None, :] > scores[:, None]).mean(axis=-1) for task in runs]
    return np.mean(shares, axis=0)


def smallest_p(counts: Sequence[tuple[int, int]]) -> float:
    """Return the smallest two-sided p of a permutation test of n against m runs on each task.

    2 / ∏ C(n + m, n), at most 1: 0.1 for 3 against 3 on one task.
    """
    # Of integers, which may be too large for a float.
    return min(1.0, 2 / math.prod(math.comb(n + m, n) for n, m in counts))


def permutation_p(one: Sequence[np.ndarray], other: Sequence[np.ndarray], seed: int = 0) -> float:
    """Return the two-sided p of the difference in means, runs permuted within the tasks.

    Of the mean, not the IQM: where runs are cut, none can be as far apart as `smallest_p` says.
    Twice the smaller tail, over all deals where they are at most `DEALS`, else over so many drawn,
    the observed one counted in (Phipson & Smyth 2010).

    Args:
        one, other: scores of the runs, one float (seeds,) a task, the same tasks in order.
    """
    pooled = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    counts = [len(ours) for ours in one]
    orders, whole = _deals(tuple((n, len(p)) for n, p in zip(counts, pooled, strict=True)), seed)
    dealt = [p[order] for p, order in zip(pooled, orders, strict=True)]
    ours = mean_of([d[:, :n] for d, n in zip(dealt, counts, strict=True)])
    theirs = mean_of([d[:, n:] for d, n in zip(dealt, counts, strict=True)])
    observed = mean_of(one) - mean_of(other)
    slack = 1e-9 * (1.0 + abs(observed))  # sums in another order
    more, less = (ours - theirs >= observed - slack), (ours - theirs <= observed + slack)
    extra = int(not whole)
    tail = min(more.sum(), less.sum())
    return min(1.0, 2.0 * float(tail + extra) / (len(more) + extra))


@lru_cache(maxsize=2)
def _deals(counts: tuple[tuple[int, int], ...], seed: int) -> tuple[list[np.ndarray], bool]:
    """Return in which orders runs are dealt, and whether those are all there are.

    Args:
        counts: how many of the runs the one side gets, and how many runs there are, for each task.

    Returns:
        int (deals, runs) for each task; the first runs of an order go to the one side.
    """
    if math.prod(math.comb(both, n) for n, both in counts) > DEALS:
        rng = np.random.default_rng(seed)
        return [rng.random((DEALS, both)).argsort(axis=1) for _, both in counts], False
    each = [
        [(*c, *sorted(set(range(both)) - set(c))) for c in combinations(range(both), n)]
        for n, both in counts
    ]
    deals = list(product(*each))
    return [np.array([deal[task] for deal in deals]) for task in range(len(counts))], True


def holm_p(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for being so many: at most a rate where `holm` rejects at it.

    Args:
        p: float (m,).
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected


# -- the difference of two sides ------------------------------------------------------------------


class Sides(NamedTuple):
    """The scores of two sides on one task, under one shift.

    Attributes:
        baseline, candidate: float (seeds, episodes), at least 2 episodes; the shapes may differ.
        same_seeds: row s of one side is the training seed of row s of the other.
        same_episodes: column i of one side is the episode of column i of the other.
    """

    baseline: np.ndarray
    candidate: np.ndarray
    same_seeds: bool
    same_episodes: bool


#: Shares of a number that are rounding: differences this small are none.
ROUNDING = 1e-9
#: Student's t above which nothing is said of what could be found: of so little freedom, it could
#: be anything.
LARGEST_T = 1e3


class Estimate(NamedTuple):
    """A mean, its standard error and the degrees of freedom of that; all in points of score."""

    value: float
    error: float
    freedom: float

    def lower(self, level: float) -> float:
        """Return the one-sided lower confidence bound of the mean at error rate ``level``."""
        from scipy.special import stdtrit

        return self.value - float(stdtrit(self.freedom, 1.0 - level)) * self.error

    @property
    def even(self) -> bool:
        """Whether there is no spread at all to judge the mean by, but for rounding."""
        return self.error <= ROUNDING * (1.0 + abs(self.value))

    def above(self, limit: float) -> float:
        """Return the p-value of the one-sided t test that the mean is at most ``limit``.

        Values that do not differ at all leave no t test; that all of n lie above what at least half
        of them should lie below has a chance of 2⁻ⁿ, as in the sign test.
        """
        from scipy.special import stdtr

        slack = ROUNDING * (1.0 + abs(limit))
        if self.even:
            return 0.5 ** (self.freedom + 1.0) if self.value > limit + slack else 1.0
        return float(stdtr(self.freedom, (limit - self.value) / self.error))

    def detectable(self, level: float, power: float) -> float:
        """Return by how much the true mean must exceed a limit to be found above it.

        Infinite where freedom is too little to say: see `LARGEST_T`.

        Args:
            level: error rate of the one-sided t test.
            power: the chance of finding it, from the noncentral t distribution.
        """
        from scipy.special import nctdtrinc, stdtrit

        threshold = stdtrit(self.freedom, 1.0 - level)
        if threshold > LARGEST_T:
            return math.inf
        return float(nctdtrinc(self.freedom, 1.0 - power, threshold)) * self.error


def drop(tasks: Sequence[Sides]) -> Estimate:
    """Return the mean score of the baseline less that of the candidate; tasks weigh the same.

    Seeds and episodes are crossed: every seed plays the same episodes. The variance of the tasks'
    sum is, with S the variance that the means of the seeds show, E that which the means of the
    episodes show, and R what is left of each entry and is counted in both, each summed over the
    tasks, S + E − R, and at least the larger of S and E (two-way crossed random effects; Owen 2007,
    arXiv 0712.1111). Where both sides have the same seeds, or the same episodes, S or E is that of
    the paired differences, else the sum over both sides. The degrees of freedom are Satterthwaite's
    (1946) over all S and E of all tasks.

    A task with one seed has no S: that of the others stands in for it, as their mean. With one seed
    on every task there is none; the estimate then speaks of these checkpoints alone, on further
    episodes.
    """
    parts = [_parts(sides) for sides in tasks]
    seeds, episodes = ([own[kind] for own in parts] for kind in ("seeds", "episodes"))
    known = sum(1 for own in seeds if own)
    scale = len(tasks) / known if known else 0.0
    seeds = [(scale * v, freedom) for own in seeds for v, freedom in own]
    episodes = [part for own in episodes for part in own]
    both = sum(_left_over(sides) for sides in tasks if not _one_seed(sides))
    of_seeds, of_episodes = (sum(v for v, _ in kind) for kind in (seeds, episodes))
    variance = max(of_seeds, of_episodes, of_seeds + of_episodes - both)
    shares = sum(v**2 / freedom for v, freedom in seeds + episodes)
    # What both explain can leave less than either has by itself, and so little says nothing.
    least = min(f for _, f in seeds + episodes)
    freedom = sum(f for _, f in seeds + episodes)
    if shares > 0.0:
        freedom = max(variance**2 / shares, least)
    value = np.mean([sides.baseline.mean() - sides.candidate.mean() for sides in tasks])
    return Estimate(float(value), float(np.sqrt(variance)) / len(tasks), float(freedom))


def one_seed(tasks: Sequence[Sides]) -> bool:
    """Whether a side has one seed on every task, so that nothing is known of how seeds differ."""
    return all(_one_seed(sides) for sides in tasks)


def _one_seed(sides: Sides) -> bool:
    return min(len(sides.baseline), len(sides.candidate)) == 1


def _parts(sides: Sides) -> dict[str, list[tuple[float, int]]]:
    """Return the variances of the mean difference, each with its degrees of freedom."""

    def of_means(axis: int, paired: bool) -> list[tuple[float, int]]:
        means = [sides.baseline.mean(axis=axis), sides.candidate.mean(axis=axis)]
        means = [means[0] - means[1]] if paired else means
        return [(float(m.var(ddof=1)) / len(m), len(m) - 1) for m in means]

    return {
        "seeds": [] if _one_seed(sides) else of_means(1, sides.same_seeds),
        "episodes": of_means(0, sides.same_episodes),
    }


def _left_over(sides: Sides) -> float:
    """Return the variance of the mean difference from what neither seed nor episode explains."""
    tables = [sides.baseline, sides.candidate]
    if sides.same_seeds and sides.same_episodes:
        tables = [sides.baseline - sides.candidate]
    total = 0.0
    for table in tables:
        rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        seeds, episodes = table.shape
        total += float((rest**2).sum()) / ((seeds - 1) * (episodes - 1)) / table.size
    return total


def holm(p: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which hypotheses Holm's step-down procedure rejects, and at which level each stood.

    Holm 1979: the k-th smallest of m p-values is held against rate / (m − k + 1), up to the first
    that is not below it; all others then stand at the level at which that one did.

    Args:
        p: float (m,); 1 for a comparison that was asked for and could not be made.
        rate: the chance of any false rejection, in (0, 1).

    Returns:
        bool (m,) and float (m,).
    """
    order = np.argsort(p, kind="stable")
    levels = rate / np.arange(len(p), 0, -1)
    kept = np.flatnonzero(p[order] >= levels)
    if len(kept):
        levels[kept[0] :] = levels[kept[0]]
    rejected = np.zeros(len(p), bool)
    rejected[order[: kept[0] if len(kept) else len(p)]] = True
    at = np.empty(len(p))
    at[order] = levels
    return rejected, at
