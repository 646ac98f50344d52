"""The lower end of the score scale: what the uniform random policy gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from shiftbench.agents.random import RandomPolicy
from shiftbench.evaluate import evaluation_seeds, rollout
from shiftbench.specs import Shift, Task


def measure(tasks: Sequence[Task], episodes: int, *, progress: bool = True) -> list[dict[str, Any]]:
    """Play the uniform random policy on clean evaluation episodes.

    Args:
        tasks: the tasks.
        episodes: episodes of each, at least 2.
        progress: show a progress bar on stderr.

    Returns:
        one dictionary a task: mean return, its standard error, and what the task file says.
    """
    from shiftbench.envs.pixels import PixelEnv

    rows = []
    bar = tqdm(total=len(tasks) * episodes, unit="episode", disable=not progress)
    try:
        for task in tasks:
            bar.set_description(task.name)
            env = PixelEnv(task, blind=True)  # the random policy does not look
            try:
                policy = RandomPolicy(task.name, env.action_dim, seed=0)
                seeds, _ = evaluation_seeds(task.name, task.version, Shift.clean(), episodes)
                played = rollout(policy, env, seeds, on_episode=bar.update)
            finally:
                env.close()
            returns = np.array([episode.episode_return for episode in played])
            rows.append(
                {
                    "task": task.name,
                    "task_version": task.version,
                    "episodes": episodes,
                    "mean": float(returns.mean()),
                    "standard_error": float(returns.std(ddof=1) / np.sqrt(episodes)),
                    "in_file": task.anchors.random.value,
                }
            )
    finally:
        bar.close()
    return rows
