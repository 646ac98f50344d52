"""From matched sides to verdicts: intervals, Holm's correction, and what could have been caught."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from shiftbench import stats
from shiftbench.check.cells import Comparison, shift_name

#: The chance of being caught that the smallest detectable drop is given for.
POWER = 0.8

#: Verdict → exit code. 2 is bad input, which raises.
EXIT = {"pass": 0, "regression": 1, "incomplete": 3}


class Line(Struct, frozen=True):
    """What was found of one comparison; scores and drops in points, NaN where there is none.

    Attributes:
        agent, family, level, tasks: as in `shiftbench.check.cells.Comparison`.
        verdict: a key of `EXIT`.
        baseline, candidate: mean score, tasks weighing the same.
        drop: baseline − candidate.
        lower: one-sided lower confidence bound of the drop, at ``level_used``.
        level_used: the error rate that Holm's procedure left for this comparison.
        p: of the t test that the drop is at most the tolerance, not corrected.
        detectable: the true drop that is caught with probability `POWER`.
        seeds, episodes: the fewest of a side on a task.
        paired: ``seeds and episodes``, ``seeds``, ``episodes`` or ``nothing``.
        checkpoints_alone: whether it speaks of these checkpoints, not of the training.
        missing: why it was not judged, a line each.
    """

    agent: str
    family: str
    level: str
    tasks: tuple[str, ...]
    verdict: str
    baseline: float = math.nan
    candidate: float = math.nan
    drop: float = math.nan
    lower: float = math.nan
    level_used: float = math.nan
    p: float = math.nan
    detectable: float = math.nan
    seeds: int = 0
    episodes: int = 0
    paired: str = "nothing"
    checkpoints_alone: bool = False
    missing: tuple[str, ...] = ()

    @property
    def shift(self) -> str:
        """``family:level``, ``none`` for clean episodes."""
        return shift_name(self.family, self.level)


class Verdict(Struct, frozen=True):
    """All comparisons together.

    Attributes:
        verdict: ``regression`` if one is; else ``incomplete`` if one is; else ``pass``.
        max_drop, confidence: as they were asked for.
        lines: one a comparison.
        notes: what a reader should know besides.
    """

    verdict: str
    max_drop: float
    confidence: float
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return EXIT[self.verdict]

    def of(self, verdict: str) -> list[Line]:
        """Return the comparisons with this verdict."""
        return [line for line in self.lines if line.verdict == verdict]


def judge(
    comparisons: Sequence[Comparison],
    *,
    max_drop: float = 5.0,
    confidence: float = 0.95,
    notes: Sequence[str] = (),
) -> Verdict:
    """Judge all comparisons together.

    A comparison is a regression where the lower confidence bound of its drop exceeds ``max_drop``,
    which is where Holm's procedure rejects that the drop is at most that. What could not be
    compared still counts as a comparison there.

    Args:
        comparisons: at least one.
        max_drop: points of score, at least 0.
        confidence: 1 − the chance of any false alarm, in (0.5, 1).
        notes: what is passed on.
    """
    rate = 1.0 - confidence
    # Numbers so large that their squares are none give no estimate, and are said to be incomplete.
    with np.errstate(over="ignore", invalid="ignore"):
        found = [stats.drop(one.sides) if one.sides else None for one in comparisons]
    found = [one if one is not None and math.isfinite(sum(one)) else None for one in found]
    p = np.array([1.0 if one is None else one.above(max_drop) for one in found])
    rejected, levels = stats.holm(p, rate)
    # What differs by one and the same amount in few episodes is neither shown nor refuted.
    unclear = [
        one is not None and one.even and chance < 1.0 and not sure
        for one, chance, sure in zip(found, p, rejected, strict=True)
    ]
    lines = [
        _line(*parts, max_drop, rate / len(comparisons))
        for parts in zip(comparisons, found, p, rejected, levels, unclear, strict=True)
    ]
    verdicts = {line.verdict for line in lines}
    worst = next(name for name in ("regression", "incomplete", "pass") if name in verdicts)
    return Verdict(worst, max_drop, confidence, tuple(lines), (*notes, *_remarks(lines)))


def _line(
    comparison: Comparison, found: stats.Estimate | None, p: float, rejected: bool, level: float,
    unclear: bool, max_drop: float, first: float,
) -> Line:  # fmt: skip
    named = (comparison.agent, comparison.family, comparison.level, comparison.tasks)
    if found is None:
        missing = comparison.missing or ["the scores are too large to compare"]
        return Line(*named, "incomplete", missing=tuple(missing))
    if unclear:
        missing = [
            f"every episode is worse by the same {found.value:.1f} points, and there are too few "
            "to tell that from chance"
        ]
        return Line(*named, "incomplete", missing=tuple(missing))
    sides = comparison.sides
    pairs = {
        "seeds": all(side.same_seeds for side in sides),
        "episodes": all(side.same_episodes for side in sides),
    }
    return Line(
        *named,
        "regression" if rejected else "pass",
        baseline=float(np.mean([side.baseline.mean() for side in sides])),
        candidate=float(np.mean([side.candidate.mean() for side in sides])),
        drop=found.value,
        lower=found.lower(level),
        level_used=float(level),
        p=float(p),
        detectable=max_drop + _spread(comparison, found).detectable(first, POWER),
        seeds=min(len(scores) for side in sides for scores in side[:2]),
        episodes=min(scores.shape[1] for side in sides for scores in side[:2]),
        paired=" and ".join(name for name, paired in pairs.items() if paired) or "nothing",
        checkpoints_alone=stats.one_seed(sides),
    )


def _spread(comparison: Comparison, found: stats.Estimate) -> stats.Estimate:
    """Return the estimate whose error says what could have been caught.

    Sides that do not differ at all tell nothing of how a changed candidate would spread, so that
    then the spread of both sides without their pairing counts.
    """
    if found.error > 0.0:
        return found
    apart = [s._replace(same_seeds=False, same_episodes=False) for s in comparison.sides]
    return stats.drop(apart)


def _remarks(lines: Sequence[Line]) -> list[str]:
    found = []
    judged = [line for line in lines if line.verdict != "incomplete"]
    if any(line.checkpoints_alone for line in judged):
        found.append(
            "one training seed: the verdict speaks of these checkpoints alone, on further "
            "episodes, not of the way they were trained"
        )
    if any(line.seeds == 1 and not line.checkpoints_alone for line in judged):
        found.append(
            "one training seed on some task: how far seeds differ there is taken from the others"
        )
    told = [line for line in judged if math.isfinite(line.detectable)]
    if len(told) < len(judged):
        found.append(
            "some comparisons have too few seeds and episodes to say what would have been caught"
        )
    if told:
        worst = max(told, key=lambda line: line.detectable)
        found.append(
            f"a true drop of {worst.detectable:.1f} would have been caught in {POWER:.0%} of such "
            f"comparisons, a smaller one less often (tasks × seeds × episodes of {worst.agent} at "
            f"{worst.shift}: {len(worst.tasks)} × {worst.seeds} × {worst.episodes})"
        )
    if any(line.drop == 0.0 and line.baseline == line.candidate for line in judged):
        found.append(
            "some sides have the very same scores: what could have been caught there is taken "
            "from the spread of the episodes, without their pairing"
        )
    return found
