"""Every two agents against each other: what the data can say of who is better."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from shiftbench import stats
from shiftbench.report.runs import group_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiftbench.report.runs import Complete

#: Columns of comparisons.csv; ``results/README.md`` documents them.
COMPARISONS = (
    "agent", "other", "level", "difference", "improvement", "p", "smallest_p", "verdict", "tasks",
)  # fmt: skip


def compare(complete: Complete, agents: Sequence[str], levels: Sequence[str]) -> pd.DataFrame:
    """Return one line for each level and pair of agents, on the tasks that both have.

    Args:
        complete: what `shiftbench.report.runs.Every.complete` returns.
        agents: in the order of the leaderboard: the first of a pair stands above the second.
        levels: by severity.
    """
    runs, _ = complete
    lines = []
    for level in levels:
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
            p = stats.permutation_p(ours, theirs)
            counts = [(len(a), len(b)) for a, b in zip(ours, theirs, strict=True)]
            lines.append(
                {
                    "agent": one,
                    "other": other,
                    "level": level,
                    "difference": difference,
                    "improvement": float(stats.probability_of_improvement(ours, theirs)),
                    "p": p,
                    "smallest_p": stats.smallest_p(counts),
                    "verdict": stats.verdict(difference, p),
                    "tasks": len(both),
                }
            )
    return pd.DataFrame(lines, columns=COMPARISONS)


def remarks(pairs: pd.DataFrame) -> list[str]:
    """Return one line on the pairs that have too few runs for any verdict."""
    few = pairs[pairs["smallest_p"] > stats.SIGNIFICANT]
    if few.empty:
        return []
    names = list(
        dict.fromkeys(f"{a} and {b}" for a, b in zip(few["agent"], few["other"], strict=True))
    )
    shown = "; ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [
        f"not separable, whatever the scores: {shown}: so few training seeds cannot give a p under "
        f"{few['smallest_p'].min():.2g} (permutation test)"
    ]
