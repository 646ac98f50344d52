"""From rows to the leaderboard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from shiftbench import bootstrap, stats
from shiftbench.errors import ShiftBenchError
from shiftbench.report.runs import APART, Complete, Every, Runs, group_of, order
from shiftbench.results import shared_policies
from shiftbench.specs import CLEAN, LEVELS

#: The level that plots of one level show, where it was played; see `hardest`.
COMPARED = "severe"

#: Measured coverage of the 95 % intervals under which a report warns.
LEAST_COVERAGE = 0.90

#: Columns of leaderboard.csv and families.csv; ``results/README.md`` documents them.
LEADERBOARD = (
    "rank", "agent", "level", "severity", "score", "low", "high", "clean_score", "retention",
    "retention_low", "retention_high", "mean", "median", "optimality_gap", "overall",
    "overall_low", "overall_high", "robustness", "tasks", "seeds", "episodes",
)  # fmt: skip
FAMILIES = (
    "agent", "task", "family", "level", "severity", "return", "score", "clean_score", "seeds",
    "episodes",
)  # fmt: skip


def leaderboard(every: Every, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Compute one line for each agent and level.

    Per level: a run's episodes are averaged over its families (equal weight), then the IQM is taken
    over tasks × seeds, with a 95 % stratified bootstrap interval. Only runs that have every family
    of the level (those that any agent has) on the same episodes count; the others are named.

    Args:
        every: the rows.
        seed: of the bootstrap.

    Returns:
        The leaderboard: agents with more tasks × levels first, then by falling overall number, then
        by their mean score; levels by severity. Ranks are of agents alone that have an overall
        number and every task that any such agent has. And one line for each thing that is missing.

    Raises:
        ShiftBenchError: not one run is complete.
    """
    return _board(every.complete(), every.severities, seed)


def breakdown(every: Every, column: str, seed: int = 0) -> pd.DataFrame:
    """Return a leaderboard for each ``family`` or ``task``, named in a first column.

    A family's has the clean arm beside it; where not one run is complete it has no lines.
    """
    if column == "family":
        chosen = {name: {"families": {name, CLEAN}} for name in every.families if name != CLEAN}
    else:
        chosen = {name: {"task": name} for name in every.tasks}
    parts = []
    for name, part in chosen.items():
        found = every.complete(**part)
        try:
            board, _ = _board(found, every.severities, seed)
        except ShiftBenchError:
            continue
        board.insert(0, column, name)
        parts.append(board)
    return pd.concat(parts) if parts else pd.DataFrame(columns=[column, *LEADERBOARD])


def _board(
    complete: Complete, severities: dict[str, float], seed: int
) -> tuple[pd.DataFrame, list[str]]:
    found, missing = complete
    lines: list[dict[str, Any]] = []
    for agent, runs in found.items():
        lines += _agent_lines(agent, runs, severities, seed)
    if not lines:
        why = f": {missing[0]}" if missing else f" outside '{APART}'"
        raise ShiftBenchError(f"nothing to rank, no run is complete{why}")
    board = pd.DataFrame(lines, columns=LEADERBOARD)
    agents = board.groupby("agent").agg(
        {"tasks": "sum", "overall": "first", "score": "mean", "overall_low": "first",
         "overall_high": "first"}
    )  # fmt: skip
    ranked = agents.sort_values(["tasks", "overall", "score"], ascending=False, kind="stable")
    told = ranked[ranked["overall"].notna()]
    tasks = [{task for here in found[agent].values() for task, _ in here} for agent in told.index]
    all_tasks = set().union(*tasks)
    ranks = _ranks(told.loc[[own == all_tasks for own in tasks]])
    board["rank"] = board["agent"].map(ranks).astype("Int64")
    board["agent"] = pd.Categorical(board["agent"], ranked.index)
    board = board.sort_values(["agent", "severity"], kind="stable").reset_index(drop=True)
    return board.astype({"agent": str}), list(dict.fromkeys(missing))


def _ranks(comparable: pd.DataFrame) -> dict[str, int]:
    """Return the rank of each agent: one more than there are whose interval lies above its own."""
    lows, highs = comparable["overall_low"].to_numpy(), comparable["overall_high"].to_numpy()
    above = (lows[None, :] > highs[:, None]).sum(axis=1)
    return {agent: 1 + int(count) for agent, count in zip(comparable.index, above, strict=True)}


def _agent_lines(
    agent: str, runs: dict[str, Runs], severities: dict[str, float], seed: int
) -> list[dict[str, Any]]:
    """Return the lines of one agent, one for each level with a complete run."""
    clean = runs.get(CLEAN, {})
    sampled = {
        level: bootstrap.Sampled(group_of(here), seed) for level, here in runs.items() if here
    }
    lines: list[dict[str, Any]] = []
    for level, own in sampled.items():
        here = runs[level]
        means = [task.mean(axis=1) for task in own.group]
        low, high = own.interval()
        beside = _beside(here, clean)
        clean_score, kept = float("nan"), (float("nan"), float("nan"))
        if beside is not None:
            same = beside is clean
            clean_ = sampled[CLEAN] if same else bootstrap.Sampled(group_of(beside), seed)
            clean_score = clean_.score
            kept = bootstrap.retention_interval(own, clean_)
        lines.append(
            {
                "agent": agent,
                "level": level,
                "severity": severities[level],
                "score": own.score,
                "low": low,
                "high": high,
                "clean_score": clean_score,
                "retention": stats.retention(own.score, clean_score),
                "retention_low": kept[0],
                "retention_high": kept[1],
                "mean": float(stats.mean_of(means)),
                "median": float(stats.median_of(means)),
                "optimality_gap": float(stats.optimality_gap_of(means)),
                "tasks": len({task for task, _ in here}),
                "seeds": len({train_seed for _, train_seed in here}),
                "episodes": sum(len(run.episodes) for run in here.values()),
            }
        )
    whole: dict[str, float] = {}
    if all(here and here.keys() == clean.keys() for here in runs.values()):
        scores = {line["level"]: line["score"] for line in lines}
        low, high = bootstrap.mean_interval(list(sampled.values()))
        whole = {
            "overall": float(np.mean(list(scores.values()))),
            "overall_low": low,
            "overall_high": high,
            "robustness": stats.robustness(scores, list(LEVELS)),
        }
    return [{**line, **whole} for line in lines]


def _beside(here: Runs, clean: Runs) -> Runs | None:
    """Return the clean runs of the same tasks, seeds and episodes: ``clean`` itself where it is.

    None where one is missing.
    """
    if not (here.keys() <= clean.keys()):
        return None
    beside = {key: clean[key].of(run.episodes) for key, run in here.items()}
    if any(run is None for run in beside.values()):
        return None
    return clean if list(beside.items()) == list(clean.items()) else beside


def remarks(rows: pd.DataFrame, board: pd.DataFrame) -> list[str]:
    """Return what a reader of the leaderboard should know of the rows, one line each."""
    found = []
    trained = rows[rows["train_steps"].fillna(0) > 0].groupby("agent")["train_steps"]
    steps = {agent: sorted(set(values)) for agent, values in trained}
    if len({step for values in steps.values() for step in values}) > 1:
        text = "; ".join(
            f"{agent} {', '.join(map(str, values))}" for agent, values in steps.items()
        )
        found.append(f"trained for different numbers of environment steps: {text}")
    for level, own in rows[rows["family"] != APART].groupby("level", sort=False):
        per_agent = own.groupby(["task", "agent"])["episode"].nunique().groupby("task").nunique()
        if (per_agent > 1).any():
            names = ", ".join(per_agent[per_agent > 1].index)
            found.append(f"{level}: the agents have different numbers of episodes on {names}")
    found += shared_policies(rows)
    told = rows[rows["shift_hash"] != ""]
    sources = told.groupby(["family", "level"], sort=False)["shift_hash"].nunique()
    if (sources > 1).any():
        names = ", ".join(f"{family}:{level}" for family, level in sources[sources > 1].index)
        found.append(f"drawn by different versions of the shift's source: {names}")
    unpaired = board[(board["level"] != CLEAN) & board["clean_score"].isna()]
    found += [
        f"{line.agent}: no clean arm of the same episodes, so no retention at {line.level}"
        for line in unpaired.itertuples()
    ]
    return [*found, *_on_intervals(rows[rows["agent"].isin(board["agent"])], board)]


def _on_intervals(rows: pd.DataFrame, board: pd.DataFrame) -> list[str]:
    """Return what the numbers of seeds and episodes say of the intervals."""
    found = []
    rows = rows[rows["family"] != APART]
    counts = rows.groupby(["agent", "task"])[["train_seed", "episode"]].nunique()
    seeds = counts["train_seed"].groupby("agent", sort=False).min()
    # Not all that there are count: the board says of how many a level is.
    seeds = seeds.clip(upper=board.groupby("agent")["seeds"].min())
    several = seeds[seeds > 1]
    if len(several):
        fewest = int(several.min())
        known = max((n for n in bootstrap.COVERAGE if n <= fewest), default=0)
        measured = bootstrap.COVERAGE.get(known)
        if (measured or 0.0) < LEAST_COVERAGE:
            share = "not measured" if measured is None else f"{100 * measured:.0f} % at worst"
            found.append(
                f"with {fewest} training seeds the coverage of the 95 % intervals is {share}: "
                "docs/statistics.md"
            )
    trained = set(rows.loc[rows["train_steps"].fillna(1) > 0, "agent"])
    single = [agent for agent in seeds[seeds == 1].index if agent in trained]
    if single:
        # Named where there are more, of other agents or on other tasks.
        more = (counts["train_seed"] > 1).any()
        where = f" of {', '.join(single)} on some task" if more else ""
        found.append(
            f"one training seed{where}: the intervals speak of these checkpoints on further "
            "episodes, not of the training method"
        )
    episodes = counts["episode"].groupby("agent", sort=False).max()
    bare = [agent for agent in episodes[episodes == 1].index if seeds[agent] == 1]
    if bare:
        found.append(
            f"one training seed and one episode of {', '.join(bare)}: nothing tells how far the "
            "scores may be off, and the intervals have no width"
        )
    return found


def by_family(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean return and score for each agent, task, family and level, columns `FAMILIES`.

    The clean score is that of the same seeds and episodes, NaN where one of them is missing.
    """
    episode = ["agent", "task", "train_seed", "episode"]
    clean = rows[rows["level"] == CLEAN].set_index(episode)["score"]
    rows = rows.join(clean.rename("clean_score"), on=episode)
    grouped = rows.groupby(["agent", "task", "family", "level", "severity"])
    table = grouped.agg(
        **{
            "return": ("return", "mean"),
            "score": ("score", "mean"),
            "seeds": ("train_seed", "nunique"),
            "episodes": ("return", "size"),
            "clean_score": ("clean_score", "mean"),
        }
    )
    whole = grouped["clean_score"].count() == table["episodes"]
    table["clean_score"] = table["clean_score"].where(whole)
    table = table.reset_index().sort_values(["agent", "task", "family", "severity"])
    return table[list(FAMILIES)].reset_index(drop=True)


def hardest(board: pd.DataFrame) -> str:
    """Return the level at which agents are compared: severe, else the last of the board's."""
    levels = order(board)
    return COMPARED if COMPARED in levels else levels[-1]
