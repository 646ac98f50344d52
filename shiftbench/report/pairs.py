"""Every two agents against each other: what the data can say of who is better."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from shiftbench import stats
from shiftbench.report.runs import group_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiftbench.report.runs import Complete

#: Columns of comparisons.csv; ``results/README.md`` documents them.
COMPARISONS = (
    "agent", "other", "level", "difference", "improvement", "p", "p_holm", "smallest_p", "verdict",
    "tasks",
)  # fmt: skip

#: Above this p nothing is called better.
SIGNIFICANT = 0.05


def compare(complete: Complete, agents: Sequence[str], levels: Sequence[str]) -> pd.DataFrame:
    """Return one line for each level and pair of agents, on the tasks that both have.

    p is corrected for all pairs of a level (Holm 1979), and verdicts are from the corrected one.

    Args:
        complete: what `shiftbench.report.runs.Every.complete` returns.
        agents: in the order of the leaderboard: the first of a pair stands above the second.
        levels: by severity.
    """
    runs, _ = complete
    lines = []
    for level in levels:
        here: list[dict[str, Any]] = []
        for one, other in combinations(agents, 2):
            sides = [runs[agent][level] for agent in (one, other)]
            both = {task for task, _ in sides[0]} & {task for task, _ in sides[1]}
            if not both:
                continue
            ours, theirs = (
                [
                    task.mean(axis=1)
                    for task in group_of({k: v for k, v in side.items() if k[0] in both})
                ]
                for side in sides
            )
            difference = float(stats.mean_of(ours) - stats.mean_of(theirs))
            counts = [(len(a), len(b)) for a, b in zip(ours, theirs, strict=True)]
            here.append(
                {
                    "agent": one,
                    "other": other,
                    "level": level,
                    "difference": difference,
                    "improvement": float(stats.probability_of_improvement(ours, theirs)),
                    "p": stats.permutation_p(ours, theirs),
                    "smallest_p": stats.smallest_p(counts),
                    "tasks": len(both),
                }
            )
        corrected = stats.holm_p(np.array([line["p"] for line in here]))
        for line, p in zip(here, corrected.tolist(), strict=True):
            lines.append({**line, "p_holm": p, "verdict": verdict(line["difference"], p)})
    return pd.DataFrame(lines, columns=COMPARISONS)


def verdict(difference: float, p: float) -> str:
    """Return what the data say of a difference: better, worse or not separable."""
    if not p <= SIGNIFICANT:
        return "not separable"
    return "better" if difference > 0.0 else "worse"


def remarks(pairs: pd.DataFrame) -> list[str]:
    """Return one line on the pairs that have too few runs for any verdict, at any level."""
    best = pairs.groupby(["agent", "other"], sort=False)["smallest_p"].min()
    few = best[best > SIGNIFICANT]
    if few.empty:
        return []
    names = [f"{one} and {other}" for one, other in few.index]
    shown = "; ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [
        f"not separable, whatever the scores: {shown}: so few training seeds cannot give a p under "
        f"{few.min():.2g} (permutation test)"
    ]
