"""The benchmark's statistics: pure functions on NumPy arrays, every random draw seeded.

A *group* is what one agent did at one level: a list with one array a task, each float (seeds,
episodes), where an entry is the score of one episode, already averaged over the families. Tasks may
differ in their numbers of seeds and episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def score(group: Sequence[np.ndarray]) -> float:
    """Return the IQM over tasks × seeds of the runs' mean scores."""
    return float(iqm(run_scores(group)))


def resample(group: Sequence[np.ndarray], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return bootstrap draws of the runs' mean scores, float (draws, runs).

    Stratified: within each task seeds are drawn with replacement, then the episodes of each seed
    drawn. With one seed a task the draws speak of that checkpoint alone.
    """
    parts = []
    for task in group:
        seeds, episodes = task.shape
        seed = rng.integers(seeds, size=(draws, seeds, 1))
        episode = rng.integers(episodes, size=(draws, seeds, episodes))
        parts.append(task[seed, episode].mean(axis=-1))
    return np.concatenate(parts, axis=1)


def interval(
    group: Sequence[np.ndarray], *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of `score`."""
    values = iqm(resample(group, draws, np.random.default_rng(seed)), axis=1)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def retention(shifted: float, clean: float) -> float:
    """Return shifted / clean score of the same episodes, NaN where the clean score is under 10."""
    return shifted / clean if clean >= LEAST_CLEAN else float("nan")


def robustness(level_scores: dict[str, float], levels: Sequence[str]) -> float:
    """Return the mean score over all ``levels``, the clean one included; NaN if one is missing."""
    if any(level not in level_scores for level in levels):
        return float("nan")
    return float(np.mean([level_scores[level] for level in levels]))
