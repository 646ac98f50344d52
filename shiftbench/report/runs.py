"""Which runs count: those that have every family of a level on the same episodes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

#: Shown apart, never averaged with the single families.
APART = "combined"


@dataclass(frozen=True, eq=False)
class Run:
    """An agent trained with one seed on one task, at one level.

    Attributes:
        episodes: int (n,), sorted.
        scores: float (n,), of each of them, averaged over the families.
    """

    episodes: np.ndarray
    scores: np.ndarray

    def of(self, episodes: np.ndarray) -> Run | None:
        """Return the part of these episodes, sorted, and None where one is missing."""
        if np.array_equal(episodes, self.episodes):
            return self
        places = np.searchsorted(self.episodes, episodes)
        if not np.array_equal(self.episodes.take(places, mode="clip"), episodes):
            return None
        return Run(episodes, self.scores[places])


#: (task, training seed) → its run.
Runs = dict[tuple[str, int], Run]
#: Agent → level → runs that are complete, and a line for each thing that is missing.
Complete = tuple[dict[str, dict[str, Runs]], list[str]]


class Every:
    """All rows, sorted once, whatever part of them a table asks for.

    Args:
        rows: what `shiftbench.results.read_rows` returns.

    Attributes:
        severities: of the levels, in that order.
        tasks, families: their names, sorted.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        codes, names = {}, {}
        for column in ("agent", "level", "task", "family"):
            codes[column], names[column] = pd.factorize(rows[column], sort=True)
        self.tasks, self.families = (
            [str(name) for name in names[column]] for column in ("task", "family")
        )
        self.severities = {
            level: float(severity)
            for level, severity in rows.groupby("level")["severity"].first()[order(rows)].items()
        }
        cell = codes["agent"]
        for column in ("level", "task"):
            cell = cell * len(names[column]) + codes[column]
        by_cell = np.argsort(cell, kind="stable")
        columns = [rows["train_seed"], codes["family"], rows["episode"], rows["score"]]
        columns = [np.asarray(column)[by_cell] for column in columns]
        starts = np.flatnonzero(np.diff(cell[by_cell], prepend=-1))
        stops = [*starts[1:], len(rows)]
        #: Agent → level → task → its scores.
        self._cells: dict[str, dict[str, dict[str, _Cell]]] = {}
        for start, stop in zip(starts, stops, strict=True):
            row = by_cell[start]
            agent, level, task = (
                str(names[column][codes[column][row]]) for column in ("agent", "level", "task")
            )
            own = _Cell(*(column[start:stop] for column in columns))
            self._cells.setdefault(agent, {}).setdefault(level, {})[task] = own

    def complete(
        self, task: str | None = None, families: Collection[str] | None = None
    ) -> Complete:
        """Return the runs that count, of a task and of some families where that is said.

        Args:
            task: leaves all others out.
            families: leaves all others out; None leaves `APART` out.

        Returns:
            Agent → level → runs, by name of the agent and by severity; and what is missing.
        """
        wanted = np.array(
            [name in families if families else name != APART for name in self.families], bool
        )
        parts = [
            (agent, level, name, part)
            for agent, levels in self._cells.items()
            for level, cells in levels.items()
            for name, cell in cells.items()
            if task in (None, name) and (part := cell.of(wanted)) is not None
        ]
        tasks = {name for _, _, name, _ in parts}
        played = {level: set() for level in self.severities}
        for _, level, _, part in parts:
            played[level].update(part.families.tolist())
        found: dict[str, dict[str, Runs]] = {}
        missing: list[str] = []
        uneven: list[str] = []
        for agent, own in groupby(parts, key=lambda entry: entry[0]):
            own = list(own)
            here: dict[str, dict[str, _Cell]] = {}
            seeds: dict[str, set[int]] = {}
            for _, level, name, part in own:
                here.setdefault(level, {})[name] = part
                seeds.setdefault(name, set()).update(part.seeds.tolist())
            missing += [f"{agent}: nothing on {name}" for name in sorted(tasks - set(seeds))]
            counts = {name: len(seeds[name]) for name in sorted(seeds)}
            most = max(counts.values())
            uneven += [
                f"{agent}: {name} has {count} of {most} training seeds, each of which weighs more"
                for name, count in counts.items()
                if count < most
            ]
            runs = [(name, seed) for name in sorted(seeds) for seed in sorted(seeds[name])]
            found[agent] = {
                level: self._runs(agent, level, here.get(level), runs, of_level, missing)
                for level, of_level in played.items()
                if of_level
            }
        return found, missing + uneven

    def _runs(
        self,
        agent: str,
        level: str,
        here: dict[str, _Cell] | None,
        wanted: list[tuple[str, int]],
        families: set[int],
        missing: list[str],
    ) -> Runs:
        """Return the runs of an agent that are complete at a level, and name what is missing."""
        runs: Runs = {}
        if here is None:
            missing.append(f"{agent}: nothing at {level}")
            return runs
        for task, seed in wanted:
            where = f"{agent} on {task}, seed {seed}, {level}"
            cell = here.get(task)
            place = None if cell is None else cell.place(seed)
            if cell is None or place is None:
                missing.append(f"{where}: nothing")
                continue
            played = cell.played[place]
            some = played.any(axis=1)
            if lacking := families - set(cell.families[some].tolist()):
                missing.append(f"{where}: no {self._names(lacking)}")
            elif not played[some].all():
                fewer = cell.families[some & ~played.all(axis=1)].tolist()
                missing.append(f"{where}: not all episodes of {self._names(fewer)}")
            else:
                runs[task, seed] = Run(cell.episodes, cell.scores[place].mean(axis=0))
        return runs

    def _names(self, families: Collection[int]) -> str:
        return ", ".join(self.families[family] for family in sorted(families))


class _Cell:
    """The scores of an agent on a task at a level.

    Attributes:
        seeds, families, episodes: those that any run has, int, sorted; families by number.
        scores: float (seeds, families, episodes).
        played: bool of the same shape, whether there is a score.
    """

    def __init__(self, seed: Any, family: Any, episode: Any, score: Any) -> None:
        self.seeds, seed = np.unique(seed, return_inverse=True)
        self.families, family = np.unique(family, return_inverse=True)
        self.episodes, episode = np.unique(episode, return_inverse=True)
        self.scores = np.zeros((len(self.seeds), len(self.families), len(self.episodes)))
        self.played = np.zeros(self.scores.shape, dtype=bool)
        self.scores[seed, family, episode] = score
        self.played[seed, family, episode] = True

    def place(self, seed: int) -> int | None:
        """Return where a training seed stands, None where it does not."""
        place = int(np.searchsorted(self.seeds, seed))
        return place if place < len(self.seeds) and self.seeds[place] == seed else None

    def of(self, wanted: np.ndarray) -> _Cell | None:
        """Return the part of some families, None where there is none.

        Args:
            wanted: bool, one for every family there is.
        """
        own = wanted[self.families]
        if own.all():
            return self
        if not own.any():
            return None
        seed, family, episode = np.nonzero(self.played & own[:, None])
        score = self.scores[seed, family, episode]
        return _Cell(self.seeds[seed], self.families[family], self.episodes[episode], score)


def group_of(runs: Runs) -> list[np.ndarray]:
    """Return one array (seeds, episodes) a task; complete runs of a task have equal episodes."""
    return [
        np.array([run.scores for (name, _), run in runs.items() if name == task])
        for task in dict.fromkeys(task for task, _ in runs)
    ]


def order(table: pd.DataFrame) -> list[str]:
    """Return the levels of a table with ``level`` and ``severity``, by severity, then by name."""
    return list(table.sort_values(["severity", "level"], kind="stable")["level"].unique())
