"""The lower end of the score scale: what the uniform random policy gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shiftbench import progress
from shiftbench.agents.random import RandomPolicy
from shiftbench.evaluate import evaluation_seeds, rollout
from shiftbench.halt import Halt
from shiftbench.specs import Shift, Task


def measure(tasks: Sequence[Task], episodes: int) -> list[dict[str, Any]]:
    """Play the uniform random policy on clean evaluation episodes.

    Args:
        tasks: the tasks.
        episodes: episodes of each, at least 2.

    Returns:
        one dictionary a task: mean return, its standard error, and what the task file says.
    """
    from shiftbench.envs.pixels import PixelEnv

    rows = []
    bar, halt = progress.bar(total=len(tasks) * episodes, unit="episode"), Halt()

    def counted() -> None:
        bar.update()
        halt.check()

    try:
        for task in tasks:
            bar.set_description(task.name, refresh=False)
            env = PixelEnv(task, blind=True)  # the random policy does not look
            try:
                policy = RandomPolicy(task.name, env.action_dim, seed=0)
                seeds, _ = evaluation_seeds(task.name, task.version, Shift.clean(), episodes)
                played = rollout(policy, env, seeds, on_episode=counted)
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
