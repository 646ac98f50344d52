"""Environments for the tests of the shift families."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from shiftbench import seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.specs import Shift


@pytest.fixture(scope="session")
def shift_envs(tasks, mini) -> Iterator[dict[str, PixelEnv]]:
    """One environment for each task of the suite ``mini``."""
    made = {name: PixelEnv(tasks[name], image_size=mini.image_size) for name in mini.tasks}
    yield made
    for env in made.values():
        env.close()


@pytest.fixture(scope="session")
def first_frame() -> Callable[..., np.ndarray]:
    """Return the first frame of an evaluation episode, with the seeds that evaluation uses."""

    def draw(env: PixelEnv, episode: int, shift: Shift | None = None) -> np.ndarray:
        task, shift = env.task, shift or Shift.clean()
        return env.reset(
            seeding.episode_seed(task.name, task.version, episode),
            shift,
            seeding.shift_seed(task.name, shift.family, shift.level, episode),
        )

    return draw
