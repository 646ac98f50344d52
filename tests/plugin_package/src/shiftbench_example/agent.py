"""An agent that acts by the mean brightness of the frame. It does not import torch."""

from __future__ import annotations

import numpy as np

from shiftbench.agents.base import Agent
from shiftbench.specs import AgentSpec

SPEC = AgentSpec(name="example", algorithm="constant", encoder="none", mode="scratch")


class BrightnessPolicy:
    def __init__(self, action_dim: int) -> None:
        self._action_dim = action_dim

    def reset(self, mask: np.ndarray) -> None:
        pass

    def act(self, pixels: np.ndarray) -> np.ndarray:
        level = pixels.mean(axis=(1, 2, 3), keepdims=False)[:, None] / 127.5 - 1.0
        return np.repeat(level, self._action_dim, axis=1).astype(np.float32)


class ConstantAgent(Agent):
    trainable = False

    def policy(self) -> BrightnessPolicy:
        return BrightnessPolicy(self.action_dim)
