"""The regression gate: did a candidate lose score against a baseline? ``docs/gate.md`` says how.

Imports neither torch nor dm_control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftbench.check.cells import Selection
from shiftbench.check.verdicts import Line, Verdict, judge
from shiftbench.errors import ShiftBenchError
from shiftbench.files import check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

__all__ = ["Line", "Selection", "Verdict", "check", "check_target", "judge", "pair_of_agents"]


def check(
    baseline: pd.DataFrame,
    candidate: pd.DataFrame,
    selection: Selection | None = None,
    *,
    max_drop: float = 5.0,
    confidence: float = 0.95,
    min_seeds: int = 1,
) -> Verdict:
    """Compare the rows of a candidate with those of a baseline.

    Args:
        baseline, candidate: what `shiftbench.results.read_rows` returns.
        selection: which of them; by default all that the baseline has.
        max_drop: points of score that may be lost, at least 0.
        confidence: 1 − the chance that a candidate without a larger loss fails, in (0.5, 1).
        min_seeds: training seeds of a task under which a comparison counts as incomplete.

    Raises:
        ShiftBenchError: an unknown name, an empty selection, or rows of different suites.
    """
    from shiftbench.check import cells

    comparisons, notes = cells.compare(baseline, candidate, selection or Selection(), min_seeds)
    return judge(comparisons, max_drop=max_drop, confidence=confidence, notes=notes)


def pair_of_agents(
    agents: Sequence[str], baseline: str | None, candidate: str | None
) -> tuple[str, str] | None:
    """Return what ``--baseline-agent`` and ``--candidate-agent`` mean: one agent under two names.

    Raises:
        ShiftBenchError: one without the other, or both beside ``--agent``.
    """
    if baseline is None and candidate is None:
        return None
    if baseline is None or candidate is None:
        raise ShiftBenchError("--baseline-agent and --candidate-agent go together")
    if agents:
        raise ShiftBenchError("--agent does not go with --baseline-agent and --candidate-agent")
    return baseline, candidate


def check_target(path: Path | None, flag: str) -> None:
    """Raise ShiftBenchError unless a file can be written at ``path``, before any work is done."""
    if path is not None and path.is_dir():
        raise ShiftBenchError(f"{flag} {path}: a folder, a file is needed")
    if path is not None:
        check_writable(path.parent, flag)
