"""Intervals: the stratified bootstrap over seeds and episodes, vectorised and seeded.

A *group* is what `shiftbench.stats` says: one float array (seeds, episodes) a task. *Draws* are
one float array (draws, seeds) a task: the mean score of every run in every draw. How often the
intervals hold the truth is measured by ``benchmarks/coverage.py`` and written in
``docs/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from shiftbench import stats

DRAWS = 2000
#: Training seeds → the lowest share of 95 % intervals that held the truth, as docs/statistics.md
#: has it; what is not measured takes the next fewer.
COVERAGE = {3: 0.933, 5: 0.958, 10: 0.960, 20: 0.949}
#: Numbers that are held at once while drawing.
BLOCK = 4_000_000

#: Draws or runs, one array (..., seeds) a task → a number for each draw, float (...).
Statistic = Callable[[Sequence[np.ndarray]], np.ndarray]


def draw(group: Sequence[np.ndarray], count: int = DRAWS, seed: int = 0) -> list[np.ndarray]:
    """Return the runs' mean scores in ``count`` bootstrap draws, one float (count, seeds) a task.

    Stratified by task. Episodes are the same for all seeds of a task, so seeds and episodes are
    crossed: a draw takes seeds with replacement, and episodes with replacement for all of them
    (the pigeonhole bootstrap; Owen 2007, arXiv 0712.1111). Equal numbers of seeds and an equal
    ``seed`` give equal choices of seeds, equal shapes those of episodes too, so that draws of
    several levels are paired.
    """
    return [_draw_task(task, count, (seed, index)) for index, task in enumerate(group)]


def _draw_task(task: np.ndarray, count: int, seed: tuple[int, int]) -> np.ndarray:
    seeds, episodes = task.shape
    runs = np.empty((count, seeds))
    # From a stream of their own, so that levels with other numbers of episodes share them.
    chosen = _chosen(seeds, count, (*seed, 0, 1))
    size = max(1, BLOCK // max(seeds, episodes))
    for start in range(0, count, size):
        end = min(start + size, count)
        means = _times(episodes, end - start, (*seed, start)) @ task.T / episodes
        runs[start:end] = np.take_along_axis(means, chosen[start:end], axis=1)
    return runs


@lru_cache(maxsize=4)
def _chosen(seeds: int, count: int, seed: tuple[int, ...]) -> np.ndarray:
    """Return which seeds each draw takes, int (count, seeds): equal for equal arguments."""
    return np.random.default_rng(seed).integers(seeds, size=(count, seeds))


@lru_cache(maxsize=4)
def _times(episodes: int, count: int, seed: tuple[int, ...]) -> np.ndarray:
    """Return how often each draw takes each episode, float (count, episodes), likewise."""
    chosen = np.random.default_rng(seed).integers(episodes, size=(count, episodes))
    chosen += episodes * np.arange(count)[:, None]
    times = np.bincount(chosen.ravel(), minlength=count * episodes).astype(float)
    return times.reshape(count, episodes)


class Sampled:
    """The runs of one level with the IQM of each bootstrap draw, for all intervals of them.

    Attributes:
        group: the runs.
        score: their IQM.
        iqms: float (`DRAWS`,).
        widening: what `widening` says of them.
    """

    def __init__(self, group: Sequence[np.ndarray], seed: int = 0) -> None:
        self.group, self.score = group, stats.score(group)
        self.iqms = stats.iqm_of(draw(group, seed=seed))
        self.widening = widening(group)

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the IQM, as `interval` does."""
        return widened(self.score, self.iqms, self.widening)


def interval(
    group: Sequence[np.ndarray],
    statistic: Statistic = stats.iqm_of,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of a statistic of the runs, `stats.iqm_of` unless said otherwise.

    With one seed on every task it speaks of these checkpoints on further episodes.
    """
    value = float(statistic([task.mean(axis=1) for task in group]))
    values = statistic(draw(group, draws, seed))
    return widened(value, values, widening(group, confidence), confidence)


def mean_interval(levels: Sequence[Sampled]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over several levels of the IQM of the same runs.

    Args:
        levels: with the same tasks and seeds in the same order, and the same seed of the draws.
    """
    value = float(np.mean([level.score for level in levels]))
    values = np.mean([level.iqms for level in levels], axis=0)
    return widened(value, values, max(level.widening for level in levels))


def retention_interval(shifted: Sampled, clean: Sampled) -> tuple[float, float]:
    """Return the 95 % interval of shifted / clean IQM of the same runs on the same episodes.

    NaN where the clean IQM, or the lower end of its percentile interval, is under
    `stats.LEAST_CLEAN`: the ratio could be anything.
    """
    value = stats.retention(shifted.score, clean.score)
    if np.isnan(value) or np.percentile(clean.iqms, 2.5) < stats.LEAST_CLEAN:
        return float("nan"), float("nan")
    return widened(value, shifted.iqms / clean.iqms, max(shifted.widening, clean.widening))


def widened(
    value: float, values: np.ndarray, factor: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of draws, its distances from ``value`` times ``factor``."""
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return (
        min(value, value + factor * (float(low) - value)),
        max(value, value + factor * (float(high) - value)),
    )


def widening(group: Sequence[np.ndarray], confidence: float = 0.95) -> float:
    """Return the factor that mends a percentile interval of few seeds or few episodes.

    A bootstrap of n values has the variance of n where n − 1 belongs, reads a normal quantile where
    Student's belongs (Hesterberg 2015, arXiv 1411.5279), and counts what neither seed nor episode
    explains twice (Owen 2007, arXiv 0712.1111). With S the variance of the result that the means of
    seeds show, E that of the means of the episodes and R the rest, each summed over the tasks, the
    draws' variance is S (n − 1) / n + E (m − 1) / m. The factor makes S + E − R of it, at least the
    larger of S and E, and t / z of it, with Satterthwaite's (1946) degrees of freedom. Runs that
    the IQM cuts are winsorised (Tukey & McLaughlin 1963): tasks of which all runs are cut do not
    count. With one seed on a task, there is no S of it.
    """
    from scipy.special import ndtri, stdtrit

    low, high = stats.uncut([task.mean(axis=1) for task in group])
    most = max(len(task) for task in group)
    parts = np.array([part for task in group for part in _parts(task, low, high, most)])
    kinds, variances, counts = parts[:, 0], parts[:, 1], parts[:, 2]
    of_seeds, of_episodes, of_both = (variances[kinds == kind].sum() for kind in range(3))
    drawn = (variances * (1.0 - 1.0 / counts))[kinds < 2].sum()
    if not drawn > 0.0:
        return 1.0
    variance = max(of_seeds, of_episodes, of_seeds + of_episodes - of_both)
    shares = (variances**2 / np.maximum(counts - 1.0, 1.0))[kinds < 2].sum()
    tail = 0.5 + confidence / 2.0
    student = stdtrit(variance**2 / shares, tail) / ndtri(tail)
    return float(np.sqrt(variance / drawn) * student)


def _parts(task: np.ndarray, low: float, high: float, most: int) -> list[tuple[int, float, int]]:
    """Return the variances of a task's runs: kind (S 0, E 1, R 2), variance, values.

    They are of the mean of the runs times ``most``, the seeds of the task that has most of them.
    """
    means = task.mean(axis=1, keepdims=True)
    task = np.where((means < low) | (means > high), means.clip(low, high), task)
    seeds, episodes = task.shape
    rows, columns = task.mean(axis=1), task.mean(axis=0)
    parts = [(0, 0.0, 1)]
    if seeds > 1:
        parts.append((0, most**2 * rows.var(ddof=1) / seeds, seeds))
    if episodes > 1:
        parts.append((1, most**2 * columns.var(ddof=1) / episodes, episodes))
    if seeds > 1 and episodes > 1:
        rest = task - rows[:, None] - columns + task.mean()
        share = (rest**2).sum() / (seeds - 1) / (episodes - 1)
        parts.append((2, most**2 * share / seeds / episodes, 1))
    return parts
