"""The uniform random agent: score 0 of every task, and the least an agent must beat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shiftbench import seeding
from shiftbench.agents.base import Agent


class RandomPolicy:
    """Uniform actions; each episode of an environment draws from a stream of its own.

    Args:
        task: name of the task, part of the seeds.
        action_dim: number of action dimensions A.
        seed: training seed.
    """

    def __init__(self, task: str, action_dim: int, seed: int) -> None:
        self._task, self._action_dim, self._seed = task, action_dim, seed
        self._streams: list[np.random.Generator] = []
        self._episodes = 0

    def reset(self, mask: np.ndarray) -> None:
        if len(self._streams) != len(mask):
            self._streams = [seeding.rng(0)] * len(mask)
        for index in np.flatnonzero(mask):
            seed = seeding.seed_of("random-agent", self._task, self._seed, self._episodes)
            self._streams[index] = seeding.rng(seed)
            self._episodes += 1

    def act(self, pixels: np.ndarray) -> np.ndarray:
        draws = [stream.uniform(-1.0, 1.0, self._action_dim) for stream in self._streams]
        return np.asarray(draws, dtype=np.float32)


class RandomAgent(Agent):
    """Needs no training and has no checkpoint."""

    trainable = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device = "cpu"

    def policy(self) -> RandomPolicy:
        return RandomPolicy(self.task.name, self.action_dim, self.seed)

    def load(self, path: Path) -> None:
        """Nothing to load."""
