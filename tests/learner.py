"""A real learner on made-up episodes: what training does, in a second and without a simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support import TINY

from shiftbench import seeding
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.replay import Replay
from shiftbench.specs import AgentSpec, Task

ACTIONS, SIZE = 2, 64


def learner(spec: AgentSpec, task: Task, seed: int = 0, **config: object) -> DreamerAgent:
    """Return the small agent of ``spec`` with new networks."""
    options = {**TINY, **spec.options, **config}
    small = AgentSpec(
        spec.name, spec.algorithm, spec.encoder, spec.mode, spec.weights, spec.augment, options
    )
    agent = DreamerAgent(small, task, ACTIONS, SIZE, seed=seed, device="cpu")
    agent.begin(seed)
    return agent


def filled(agent: DreamerAgent, folder: Path, steps: int = 30) -> Replay:
    """Return a replay of ``steps`` random agent steps, the same for every agent."""
    config, rng = agent.config, seeding.rng(1)
    shape = (config.belief, config.categoricals, config.classes)
    replay = Replay(folder, 100, SIZE, ACTIONS, *shape)
    for step in range(steps):
        blocks = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        replay.add(
            pixels=blocks.repeat(8, 0).repeat(8, 1),
            action=rng.uniform(-1, 1, ACTIONS).astype(np.float32),
            reward=float(rng.random()),
            first=step % 10 == 0,
            terminal=False,
            state=rng.integers(0, config.classes, config.categoricals),
            belief=np.zeros(config.belief, np.float32),
        )
    return replay


def learn(agent: DreamerAgent, replay: Replay, updates: int, seed: int = 2) -> dict[str, float]:
    """Do some updates and return the last one's metrics."""
    rng = seeding.rng(seed)
    for _ in range(updates):
        metrics = agent.learn(replay, rng)
    return metrics
