"""From the rows of two sides to arrays that can be compared, and what is missing for that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct, field

from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.results import shared_policies
from shiftbench.stats import Sides

if TYPE_CHECKING:
    import pandas as pd

#: What addresses a cell, besides the training seed.
CELL = ["agent", "family", "level", "task"]

#: Must not differ between the two sides of a comparison; an empty entry goes with any other.
ALIKE = ("suite_version", "task_version", "image_size", "render", "severity", "shift_hash")

#: Fewer episodes than this give no interval.
LEAST_EPISODES = 2


class Selection(Struct, frozen=True):
    """Which rows are compared; an empty field is no restriction.

    Attributes:
        agents, tasks, families, levels: names; each must be there on both sides.
        seeds: training seeds.
        episodes: the episodes with numbers below this one alone.
        rename: the agent of the baseline and that of the candidate, where they are called
            differently; only they are compared then.
        per_task: whether every task is a comparison, in place of the mean over the tasks.
    """

    agents: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    episodes: int | None = None
    rename: tuple[str, str] | None = None
    per_task: bool = False

    def named(self) -> dict[str, tuple]:
        """Return column → (flag, the values that were asked for)."""
        return {
            "agent": ("--agent", self.agents),
            "task": ("--task", self.tasks),
            "family": ("--family", self.families),
            "level": ("--level", self.levels),
            "train_seed": ("--seed", self.seeds),
        }


class Comparison(Struct, frozen=True):
    """One question: an agent under one shift, on one or several tasks.

    Attributes:
        agent, family, level: as in the rows; ``agent`` is ``old → new`` where it was renamed.
        tasks: names.
        sides: the scores on each of ``tasks``; empty where something is missing.
        missing: why it cannot be judged, a line each.
    """

    agent: str
    family: str
    level: str
    tasks: tuple[str, ...]
    sides: tuple[Sides, ...] = ()
    missing: list[str] = field(default_factory=list)


def compare(
    baseline: pd.DataFrame, candidate: pd.DataFrame, selection: Selection, min_seeds: int = 1
) -> tuple[list[Comparison], list[str]]:
    """Match the two sides, agent by agent, shifts by severity.

    Every cell of the selected baseline must be there on the candidate's side, and every name that
    was asked for on the baseline's.

    Returns:
        The comparisons, and notes on rows that were left out.

    Raises:
        ShiftBenchError: an unknown name, an empty selection, or rows of different suites.
    """
    _check_suites(baseline, candidate)
    baseline, candidate = _rename(baseline, candidate, selection)
    for column, (flag, wanted) in selection.named().items():
        known = {str(name) for side in (baseline, candidate) for name in side[column].unique()}
        for name in wanted:
            if str(name) not in known:
                raise unknown(column.replace("train_", ""), str(name), known, flag)
    baseline, candidate = (_select(side, selection) for side in (baseline, candidate))
    if baseline.empty:
        side = "neither side has a" if candidate.empty else "the baseline has no"
        raise ShiftBenchError(f"nothing to compare: {side} row that was asked for")
    ours, theirs = _by_cell(baseline), _by_cell(candidate)
    severities = baseline.drop_duplicates(CELL).set_index(CELL)["severity"].to_dict()
    groups: dict[tuple, list[_Key]] = {}
    for key in sorted(ours, key=lambda key: (key[0], severities[key], *key[1:])):
        groups.setdefault(key if selection.per_task else key[:3], []).append(key)
    found = [_comparison(keys, ours, theirs, min_seeds) for keys in groups.values()]
    return [*found, *_not_there(baseline, selection)], _notes(baseline, candidate)


# -- choosing rows ---------------------------------------------------------------------------------


def _check_suites(baseline: pd.DataFrame, candidate: pd.DataFrame) -> None:
    ours, theirs = (set(side["suite"].unique()) - {""} for side in (baseline, candidate))
    if ours and theirs and ours != theirs:
        raise ShiftBenchError(
            f"the baseline is of suite '{min(ours)}', the candidate of '{min(theirs)}': "
            "not comparable"
        )


def _rename(
    baseline: pd.DataFrame, candidate: pd.DataFrame, selection: Selection
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if selection.rename is None:
        return baseline, candidate
    sides = []
    both = " → ".join(dict.fromkeys(selection.rename))
    flags = ("--baseline-agent", "--candidate-agent")
    for side, name, flag in zip((baseline, candidate), selection.rename, flags, strict=True):
        if name not in set(side["agent"]):
            raise unknown("agent", name, side["agent"].unique(), flag)
        sides.append(side[side["agent"] == name].assign(agent=both))
    return sides[0], sides[1]


def _select(side: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    for column, (_, wanted) in selection.named().items():
        if wanted:
            side = side[side[column].isin(wanted)]
    if selection.episodes is not None:
        side = side[side["episode"] < selection.episodes]
    return side


def _not_there(baseline: pd.DataFrame, selection: Selection) -> list[Comparison]:
    """Return what was asked for by name and the baseline has not, as comparisons without sides."""
    found = []
    for agent in selection.agents or tuple(baseline["agent"].unique()):
        own = baseline[baseline["agent"] == agent]
        lacking = [
            f"{flag} {name}"
            for column, (flag, wanted) in selection.named().items()
            for name in wanted
            if column != "agent" and len(own) and name not in set(own[column])
        ]
        if own.empty:
            lacking = [f"--agent {agent}"]
        found += [
            Comparison(str(agent), "–", "–", (), missing=[f"{agent}: the baseline has no {what}"])
            for what in lacking
        ]
    return found


# -- matching --------------------------------------------------------------------------------------

#: agent, family, level, task.
_Key = tuple[str, str, str, str]


class _Cell(Struct, frozen=True):
    """The rows of one side under one key.

    Attributes:
        seeds, episodes: int (n,).
        scores: float64 (n,).
        told: column of `ALIKE` → a number, int (n,), for what each row says there, −1 for nothing,
            and what the numbers stand for.
    """

    seeds: np.ndarray
    episodes: np.ndarray
    scores: np.ndarray
    told: dict[str, tuple[np.ndarray, np.ndarray]]

    def part(self, column: str, values: set[int]) -> _Cell:
        """Return the rows whose ``seeds`` or ``episodes`` are among ``values``."""
        keep = np.isin(getattr(self, column), list(values))
        told = {name: (numbers[keep], texts) for name, (numbers, texts) in self.told.items()}
        return _Cell(self.seeds[keep], self.episodes[keep], self.scores[keep], told)

    def says(self, column: str) -> set[str]:
        """Return what the rows say in a column of `ALIKE`."""
        numbers, texts = self.told[column]
        return {str(texts[number]) for number in np.unique(numbers) if number >= 0}

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the seeds, int (s,), and the scores, (s, e) with NaN where there is none."""
        seeds, row = np.unique(self.seeds, return_inverse=True)
        episodes, column = np.unique(self.episodes, return_inverse=True)
        scores = np.full((len(seeds), len(episodes)), np.nan)
        scores[row, column] = self.scores
        return seeds, scores


def _by_cell(side: pd.DataFrame) -> dict[_Key, _Cell]:
    import pandas as pd

    places = side.groupby(CELL, sort=False, observed=True).indices
    told = {name: pd.factorize(side[name].replace("", None)) for name in ALIKE}
    columns = [side[name].to_numpy() for name in ("train_seed", "episode", "score")]
    return {
        key: _Cell(
            *(column[rows] for column in columns),
            {name: (numbers[rows], texts) for name, (numbers, texts) in told.items()},
        )
        for key, rows in places.items()
    }


def _comparison(
    keys: list[_Key], baseline: dict[_Key, _Cell], candidate: dict[_Key, _Cell], min_seeds: int
) -> Comparison:
    """Match the cells of one agent under one shift, one a task."""
    missing: list[str] = []
    sides = []
    for key in keys:
        agent, family, level, task = key
        where = f"{agent} on {task}, {shift_name(family, level)}"
        if key not in candidate:
            missing.append(f"{where}: the candidate has nothing")
            continue
        matched, lacking = _match(baseline[key], candidate[key], min_seeds)
        missing += [f"{where}: {line}" for line in lacking]
        sides += [matched] if matched else []
    tasks = tuple(key[3] for key in keys)
    return Comparison(*keys[0][:3], tasks, () if missing else tuple(sides), missing)


def _match(baseline: _Cell, candidate: _Cell, min_seeds: int) -> tuple[Sides | None, list[str]]:
    """Return the scores of both sides on one task under one shift, or what is missing.

    Where they share seeds, or episodes, those are compared, and the candidate must have all that
    the baseline has; where they share none, all are.
    """
    sides = {"baseline": baseline, "candidate": candidate}
    lacking: list[str] = []
    paired = []
    for column in ("seeds", "episodes"):
        ours, theirs = (set(getattr(side, column).tolist()) for side in sides.values())
        paired.append(bool(ours & theirs))
        if ours & theirs:
            if ours - theirs:
                lacking.append(f"the candidate lacks {column[:-1]} {_numbers(ours - theirs)}")
            sides = {name: side.part(column, ours & theirs) for name, side in sides.items()}
    differ = [
        f"{name} is {', '.join(sorted(ours))} and {', '.join(sorted(theirs))}: not comparable"
        for name, ours, theirs in (
            (name, *(side.says(name) for side in sides.values())) for name in ALIKE
        )
        if ours and theirs and ours != theirs
    ]
    if differ:
        return None, differ
    tables = []
    for name, side in sides.items():
        seeds, scores = side.table()
        tables.append(scores)
        holes = seeds[np.isnan(scores).any(axis=1)]
        if len(holes):
            lacking.append(f"the {name} has not all episodes of seed {_numbers(holes)}")
        if len(seeds) < min_seeds:
            lacking.append(
                f"the {name} has {len(seeds)} of the {min_seeds} training seeds asked for"
            )
        if scores.shape[1] < LEAST_EPISODES:
            lacking.append(f"the {name} has {scores.shape[1]} episode, {LEAST_EPISODES} are needed")
    return (None, lacking) if lacking else (Sides(*tables, *paired), [])


def shift_name(family: str, level: str) -> str:
    """Return ``family:level``, ``none`` for clean episodes."""
    return family if family == level else f"{family}:{level}"


def _numbers(values: Iterable[int]) -> str:
    """Return numbers as text, a long list cut."""
    texts = [str(value) for value in sorted(values)]
    return ", ".join(texts if len(texts) <= 5 else [*texts[:4], f"… ({len(texts)})"])


def _notes(baseline: pd.DataFrame, candidate: pd.DataFrame) -> list[str]:
    """Return a line for each policy that counts twice and each kind of rows without a match."""
    sides = {"baseline": baseline, "candidate": candidate}
    found = [f"{side}: {text}" for side, rows in sides.items() for text in shared_policies(rows)]
    agents = [sorted(side["agent"].unique()) for side in (baseline, candidate)]
    if not set(agents[0]) & set(agents[1]):
        found.append(
            f"no agent is on both sides: {', '.join(agents[0])} in the baseline, "
            f"{', '.join(agents[1]) or 'none'} in the candidate; one goes with another by "
            "--baseline-agent and --candidate-agent"
        )
    for columns, what in {
        ("agent",): "agents",
        ("task",): "tasks",
        ("family", "level"): "shifts",
        ("train_seed",): "training seeds",
        ("episode",): "episodes",
    }.items():
        ours, theirs = (
            set(side[list(columns)].drop_duplicates().itertuples(index=False, name=None))
            for side in (baseline, candidate)
        )
        if ours & theirs and theirs - ours:
            names = sorted(":".join(map(str, key)) for key in theirs - ours)
            more = [*names[:4], f"… ({len(names)})"] if len(names) > 5 else names
            found.append(f"not compared, since the baseline has none: {what} {', '.join(more)}")
    return found
