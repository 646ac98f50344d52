"""From the rows of two sides to arrays that can be compared, and what is missing for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.stats import Sides

if TYPE_CHECKING:
    import pandas as pd

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
    if baseline.empty and candidate.empty:
        raise ShiftBenchError("nothing to compare: neither side has a row that was asked for")
    if baseline.empty:
        raise ShiftBenchError("nothing to compare: the baseline has no row that was asked for")
    keys = ["agent", "family", "level", *(["task"] if selection.per_task else [])]
    notes = _notes(baseline, candidate)
    ordered = baseline.sort_values(["agent", "severity", "family", "task"], kind="stable")
    theirs = _by_cell(candidate)
    groups = ordered.groupby(keys, sort=False, observed=True)
    found = [_comparison(own, theirs, min_seeds) for _, own in groups]
    return [*found, *_not_there(baseline, selection)], notes


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

_Cells = dict[tuple[str, str, str, str], "pd.DataFrame"]


def _by_cell(side: pd.DataFrame) -> _Cells:
    keys = ["agent", "family", "level", "task"]
    return {tuple(key): part for key, part in side.groupby(keys, sort=False, observed=True)}


def _comparison(baseline: pd.DataFrame, candidate: _Cells, min_seeds: int) -> Comparison:
    first = baseline.iloc[0]
    agent, family, level = (str(first[name]) for name in ("agent", "family", "level"))
    missing: list[str] = []
    sides = []
    tasks = tuple(str(task) for task in baseline["task"].unique())
    for task in tasks:
        own = baseline[baseline["task"] == task]
        where = f"{agent} on {task}, {family}:{level}"
        other = candidate.get((agent, family, level, task))
        if other is None:
            missing.append(f"{where}: the candidate has nothing")
            continue
        matched, lacking = _match(own, other, min_seeds)
        missing += [f"{where}: {line}" for line in lacking]
        sides += [matched] if matched else []
    return Comparison(agent, family, level, tasks, () if missing else tuple(sides), missing)


def _match(
    baseline: pd.DataFrame, candidate: pd.DataFrame, min_seeds: int
) -> tuple[Sides | None, list[str]]:
    """Return the scores of both sides on one task under one shift, or what is missing.

    Where they share seeds, or episodes, those are compared, and the candidate must have all that
    the baseline has; where they share none, all are.
    """
    differ = _differences(baseline, candidate)
    if differ:
        return None, differ
    sides = {"baseline": baseline, "candidate": candidate}
    lacking, paired = [], {}
    for column, word in {"train_seed": "seed", "episode": "episode"}.items():
        ours, theirs = (set(side[column]) for side in sides.values())
        shared = ours & theirs
        paired[column] = bool(shared)
        if shared:
            if ours - theirs:
                lacking.append(f"the candidate lacks {word} {_numbers(ours - theirs)}")
            sides = {name: side[side[column].isin(shared)] for name, side in sides.items()}
    tables = {}
    for name, side in sides.items():
        table = side.pivot(index="train_seed", columns="episode", values="score").sort_index(axis=1)
        tables[name] = table.sort_index().to_numpy(float)
        seeds, episodes = table.shape
        holes = table.index[table.isna().any(axis=1)]
        if len(holes):
            lacking.append(f"the {name} has not all episodes of seed {_numbers(holes)}")
        if seeds < min_seeds:
            lacking.append(f"the {name} has {seeds} of the {min_seeds} training seeds asked for")
        if episodes < LEAST_EPISODES:
            lacking.append(f"the {name} has {episodes} episode, {LEAST_EPISODES} are needed")
    if lacking:
        return None, list(dict.fromkeys(lacking))
    return Sides(*tables.values(), paired["train_seed"], paired["episode"]), []


def _differences(baseline: pd.DataFrame, candidate: pd.DataFrame) -> list[str]:
    found = []
    for column in ALIKE:
        ours, theirs = (
            {str(value) for value in side[column].dropna().unique()} - {""}
            for side in (baseline, candidate)
        )
        if ours and theirs and ours != theirs:
            pair = " and ".join(", ".join(sorted(side)) for side in (ours, theirs))
            found.append(f"{column} is {pair}: not comparable")
    return found


def _numbers(values: Sequence[int] | set[int]) -> str:
    """Return numbers as text, a long list cut."""
    texts = [str(value) for value in sorted(values)]
    return ", ".join(texts if len(texts) <= 5 else [*texts[:4], f"… ({len(texts)})"])


def _notes(baseline: pd.DataFrame, candidate: pd.DataFrame) -> list[str]:
    """Return a line for each kind of rows that the candidate alone has."""
    found = []
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
