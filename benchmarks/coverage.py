"""How often the intervals of the leaderboard hold the truth, by simulation.

    python benchmarks/coverage.py [--trials 1000] [--out docs/statistics.md]

Runs are made up whose true IQM is known: the limit over infinitely many seeds and episodes. A
score is the task's level + the seed's part + the episode's part (the same for all seeds of a task)
+ a rest. Every method sees the same runs and draws. Between the marks the table of the file given
by ``--out`` is replaced. The exit code is 1 where the shipped method misses its goal, at least 92 %
at 10 seeds and more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from shiftbench import bootstrap, stats

SEEDS = (3, 5, 10, 20)
EPISODES = 10
DRAWS = 1000
GOAL = 0.92
SHIPPED = "widened"
MARKS = ("<!-- coverage: benchmarks/coverage.py -->", "<!-- end -->")

Draw = Callable[[np.random.Generator, int], np.ndarray]


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(0.0, 10.0, count)


def skewed(rng: np.random.Generator, count: int) -> np.ndarray:
    """Most seeds are good, a long tail is not."""
    return -7.0 * rng.gamma(2.0, 1.0, count)


def collapsing(rng: np.random.Generator, count: int) -> np.ndarray:
    """One training in five fails."""
    return rng.normal(0.0, 5.0, count) - 40.0 * (rng.random(count) < 0.2)


#: Name → the levels of the tasks, how seeds differ, and how much episodes do: the standard
#: deviations of their own part and of the rest.
TRUTHS: dict[str, tuple[tuple[float, ...], Draw, tuple[float, float]]] = {
    "1 task, normal, quiet episodes": ((50.0,), normal, (1.0, 2.0)),
    "1 task, normal": ((50.0,), normal, (10.0, 15.0)),
    "3 tasks, normal": ((20.0, 50.0, 80.0), normal, (10.0, 15.0)),
    "3 tasks, skewed": ((20.0, 50.0, 80.0), skewed, (10.0, 15.0)),
    "3 tasks, collapsing": ((40.0, 50.0, 60.0), collapsing, (10.0, 15.0)),
}


def make(
    levels: tuple[float, ...], seeds: Draw, noise: tuple[float, float], count: int, rng
) -> list[np.ndarray]:
    """Return one group: an array (count, EPISODES) a task."""
    return [
        level + seeds(rng, count)[:, None] + rng.normal(0.0, noise[0], EPISODES)
        + rng.normal(0.0, noise[1], (count, EPISODES))
        for level in levels
    ]  # fmt: skip


def truth(levels: tuple[float, ...], seeds: Draw) -> float:
    rng = np.random.default_rng(1)
    return float(stats.iqm_of([level + seeds(rng, 1_000_000) for level in levels]))


def methods(group: list[np.ndarray], seed: int) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of every method for the same draws."""
    value = stats.score(group)
    values = stats.iqm_of(bootstrap.draw(group, DRAWS, seed))
    low, high = np.percentile(values, [2.5, 97.5])
    factor = bootstrap.widening(group)
    half = 1.959964 * factor * values.std()
    return {
        "percentile": (low, high),
        "basic": (2 * value - high, 2 * value - low),
        "BCa": accelerated(group, value, values),
        "t": (value - half, value + half),
        "widened": bootstrap.widened(value, values, factor),
    }


def accelerated(group: list[np.ndarray], value: float, values: np.ndarray) -> tuple[float, float]:
    """Bias-corrected and accelerated (Efron 1987); the acceleration by leaving out single runs."""
    runs = [task.mean(axis=1) for task in group]
    left = np.array(
        [
            stats.iqm_of([np.delete(own, i) if k == task else own for k, own in enumerate(runs)])
            for task, of_task in enumerate(runs)
            for i in range(len(of_task))
        ]
    )
    apart = left.mean() - left
    spread = (apart**2).sum() ** 1.5
    curve = (apart**3).sum() / (6.0 * spread) if spread else 0.0
    below = np.clip((values < value).mean(), 1 / DRAWS, 1 - 1 / DRAWS)
    shift = ndtri(below)
    ends = shift + ndtri(np.array([0.025, 0.975]))
    low, high = np.percentile(values, 100.0 * ndtr(shift + ends / (1.0 - curve * ends)))
    return low, high


def measure(trials: int) -> dict[tuple[str, int], dict[str, float]]:
    """Return the share of intervals that hold the truth, by truth, seeds and method."""
    covered = {}
    for name, (levels, seeds, noise) in TRUTHS.items():
        target = truth(levels, seeds)
        for count in SEEDS:
            rng = np.random.default_rng([count, len(name)])
            hits: dict[str, int] = {}
            for trial in range(trials):
                group = make(levels, seeds, noise, count, rng)
                for method, (low, high) in methods(group, trial).items():
                    hits[method] = hits.get(method, 0) + (low <= target <= high)
            covered[name, count] = {method: hit / trials for method, hit in hits.items()}
            print(name, count, file=sys.stderr)
    return covered


def table(covered: dict[tuple[str, int], dict[str, float]], trials: int) -> str:
    """Return the Markdown table of what was measured."""
    names = list(next(iter(covered.values())))
    shown = [f"**{name}**" if name == SHIPPED else name for name in names]
    error = 100 * (0.95 * 0.05 / trials) ** 0.5
    lines = [
        f"Share of {trials} intervals of 95 % that hold the truth, in per cent; {EPISODES} "
        f"episodes, {DRAWS} draws. Standard error of an entry: about {error:.1f}.",
        "",
        f"| truth | seeds | {' | '.join(shown)} |",
        f"|---|---:|{'---:|' * len(names)}",
        *(
            f"| {truth} | {count} | "
            + " | ".join(f"{100 * entry[name]:.1f}" for name in names) + " |"
            for (truth, count), entry in covered.items()
        ),
    ]  # fmt: skip
    lowest = {
        count: min(entry[SHIPPED] for (_, seeds), entry in covered.items() if seeds == count)
        for count in SEEDS
    }
    told = ", ".join(f"{count} seeds {100 * share:.1f} %" for count, share in lowest.items())
    lines += ["", f"Lowest coverage of the shipped method: {told}."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    covered = measure(options.trials)
    text = table(covered, options.trials)
    print(text)
    if options.out:
        before, rest = options.out.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        whole = f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}"
        options.out.write_text(whole, encoding="utf-8")
    return int(any(entry[SHIPPED] < GOAL for (_, count), entry in covered.items() if count >= 10))


if __name__ == "__main__":
    sys.exit(main())
