"""From rows to the leaderboard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from shiftbench import stats
from shiftbench.specs import CLEAN, LEVELS

#: Shown apart, never averaged with the single families.
APART = "combined"

#: Columns of leaderboard.csv, in order; ``results/README.md`` documents them.
LEADERBOARD = (
    "agent",
    "level",
    "severity",
    "score",
    "low",
    "high",
    "clean_score",
    "retention",
    "robustness",
    "tasks",
    "seeds",
    "episodes",
)


def leaderboard(rows: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Compute one line for each agent and level.

    Per level: a run's episodes are averaged over its families (equal weight), then the IQM is taken
    over tasks × seeds, with a 95 % stratified bootstrap interval. Only runs that have every family
    and the clean arm of the same episodes count; the others are named.

    Args:
        rows: what `shiftbench.results.read_rows` returns.
        seed: of the bootstrap.

    Returns:
        The leaderboard, agents by falling robustness (mean over the levels where that is not
        known), levels by severity; and one line for each missing cell.
    """
    rows = rows[rows["family"] != APART]
    levels = _levels(rows)
    missing: list[str] = []
    lines: list[dict[str, Any]] = []
    tasks = set(rows["task"])
    for agent, own in rows.groupby("agent", sort=False):
        for task in sorted(tasks - set(own["task"])):
            missing.append(f"{agent}: nothing on {task}")
        lines += _agent_lines(str(agent), own, rows, levels, seed, missing)
    board = pd.DataFrame(lines, columns=LEADERBOARD)
    if board.empty:
        return board, missing
    rank = board.groupby("agent")[["robustness", "score"]].mean()
    rank = rank.sort_values(["robustness", "score"], ascending=False, na_position="last")
    board["_rank"] = board["agent"].map({agent: i for i, agent in enumerate(rank.index)})
    board = board.sort_values(["_rank", "severity"]).drop(columns="_rank")
    return board.reset_index(drop=True), missing


def _levels(rows: pd.DataFrame) -> dict[str, float]:
    """Return the levels that occur, by severity."""
    known = {
        level: LEVELS.get(level, np.nan if values.isna().all() else float(values.dropna().iloc[0]))
        for level, values in rows.groupby("level")["severity"]
    }
    return dict(sorted(known.items(), key=lambda item: item[1]))


def _agent_lines(
    agent: str,
    own: pd.DataFrame,
    rows: pd.DataFrame,
    levels: dict[str, float],
    seed: int,
    missing: list[str],
) -> list[dict[str, Any]]:
    clean = _runs(own[own["level"] == CLEAN])
    lines: list[dict[str, Any]] = []
    scores: dict[str, float] = {}
    for level, severity in levels.items():
        families = sorted(set(rows[rows["level"] == level]["family"]))
        shifted = own[own["level"] == level]
        runs = _complete_runs(agent, level, shifted, families, missing)
        if not runs:
            continue
        group = _group(runs)
        value = scores[level] = stats.score(group)
        low, high = stats.interval(group, seed=seed)
        same = {key: clean[key][runs[key].index] for key in runs if _has(clean, key, runs[key])}
        paired = stats.score(_group(same)) if len(same) == len(runs) else float("nan")
        lines.append(
            {
                "agent": agent,
                "level": level,
                "severity": severity,
                "score": value,
                "low": low,
                "high": high,
                "clean_score": paired,
                "retention": stats.retention(value, paired),
                "tasks": len({task for task, _ in runs}),
                "seeds": len({train_seed for _, train_seed in runs}),
                "episodes": sum(len(run) for run in runs.values()),
            }
        )
    whole = stats.robustness(scores, list(LEVELS))
    return [{**line, "robustness": whole} for line in lines]


def _runs(rows: pd.DataFrame) -> dict[tuple[str, int], pd.Series]:
    """Return (task, seed) → score of each episode, averaged over the families."""
    return {
        key: run.groupby("episode")["score"].mean()
        for key, run in rows.groupby(["task", "train_seed"])
    }


def _complete_runs(
    agent: str, level: str, rows: pd.DataFrame, families: list[str], missing: list[str]
) -> dict[tuple[str, int], pd.Series]:
    """Return the runs that have every family on the same episodes, and name the others."""
    runs = {}
    for (task, train_seed), run in rows.groupby(["task", "train_seed"]):
        counts = run.groupby("family")["episode"].agg(set)
        lacking = [family for family in families if family not in counts.index]
        where = f"{agent} on {task}, seed {train_seed}, {level}"
        if lacking:
            missing.append(f"{where}: no {', '.join(lacking)}")
        elif any(episodes != counts.iloc[0] for episodes in counts):
            missing.append(f"{where}: the families have different episodes")
        else:
            runs[task, train_seed] = run.groupby("episode")["score"].mean()
    return runs


def _has(clean: dict, key: tuple, run: pd.Series) -> bool:
    return key in clean and run.index.isin(clean[key].index).all()


def _group(runs: dict[tuple[str, int], pd.Series]) -> list[np.ndarray]:
    """Return one array (seeds, episodes) a task, cut to the episodes that all seeds have."""
    group = []
    for task in dict.fromkeys(task for task, _ in runs):
        seeds = [run for (name, _), run in runs.items() if name == task]
        shared = sorted(set.intersection(*(set(run.index) for run in seeds)))
        group.append(np.array([run[shared].to_numpy() for run in seeds]))
    return group


def by_family(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean return and score for each agent, task, family and level.

    Columns: agent, task, family, level, return, score, seeds, episodes.
    """
    grouped = rows.groupby(["agent", "task", "family", "level"], sort=True)
    table = grouped.agg(
        **{
            "return": ("return", "mean"),
            "score": ("score", "mean"),
            "seeds": ("train_seed", "nunique"),
            "episodes": ("return", "size"),
        }
    )
    return table.reset_index()


def cells(board: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return headings and text cells of the leaderboard as people read it: agents × levels."""
    levels = list(board.drop_duplicates("level").sort_values("severity", kind="stable")["level"])
    headings = ["agent", *levels, "retention", "robustness", "tasks × seeds"]
    lines = []
    for agent, own in board.groupby("agent", sort=False):
        by_level = own.set_index("level")
        line = [str(agent)]
        for level in levels:
            if level in by_level.index:
                entry = by_level.loc[level]
                line.append(f"{entry['score']:.1f} [{entry['low']:.1f}, {entry['high']:.1f}]")
            else:
                line.append("missing")
        worst = own[own["level"] != CLEAN].tail(1)
        kept = worst["retention"].iloc[0] if len(worst) else float("nan")
        line.append("–" if np.isnan(kept) else f"{100 * kept:.0f} % ({worst['level'].iloc[0]})")
        whole = own["robustness"].iloc[0]
        line.append("–" if np.isnan(whole) else f"{whole:.1f}")
        line.append(f"{own['tasks'].max()} × {own['seeds'].max()}")
        lines.append(line)
    return headings, lines
