"""The agent that does nothing: some tasks give more for that than for random actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shiftbench.agents.base import Agent


class ZeroPolicy:
    """The middle of every action's range.

    Args:
        action_dim: number of action dimensions A.
    """

    def __init__(self, action_dim: int) -> None:
        self._action_dim = action_dim

    def reset(self, mask: np.ndarray) -> None:
        """Nothing to forget."""

    def act(self, pixels: np.ndarray) -> np.ndarray:
        return np.zeros((len(pixels), self._action_dim), np.float32)


class ZeroAgent(Agent):
    """Needs no training and has no checkpoint. Every shift leaves its score as it is."""

    trainable = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device = "cpu"

    def policy(self) -> ZeroPolicy:
        return ZeroPolicy(self.action_dim)

    def load(self, path: Path) -> None:
        """Nothing to load."""
