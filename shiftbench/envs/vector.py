"""Environments side by side, each in a process of its own, with frames in shared memory.

```python
from shiftbench.envs.vector import make_vec

if __name__ == "__main__":  # the processes are spawned: each imports the script anew
    envs = make_vec("finger_spin", 4, shift="texture:mild")
    frames, info = envs.reset(seed=0)
    envs.close()
```
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState

from shiftbench.envs.gym import ShiftEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import Task


class VectorEnv(AsyncVectorEnv):
    """gymnasium's own, but `close` neither hangs nor lets a process complain."""

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """End the processes, whatever they are at.

        A Ctrl-C may strike when part of a step was asked for, or part of its answers read.
        gymnasium would wait for ever for an answer that was read already, or take the answer to a
        step for that to its own farewell and shut the door on the process that still speaks. They
        hold nothing that their end does not free.
        """
        self._state = AsyncState.DEFAULT
        super().close_extras(terminate=True)


def make_vec(
    task: str | Task,
    count: int,
    *,
    autoreset: AutoresetMode = AutoresetMode.NEXT_STEP,
    copy: bool = True,
    **options: Any,
) -> VectorEnv:
    """Return ``count`` environments of one task that step at the same time.

    Frames are uint8 (count, S, S, 3), actions float32 (count, A). ``reset(seed=s)`` seeds
    environment i with ``s + i`` and ``reset(options={"episode": e})`` starts evaluation episode
    ``e + i`` in it; both give the frames that `ShiftEnv` gives alone.

    Args:
        task: name of the task, or the task itself.
        count: number of environments, each a process. Twice as many as there are cores keep the
            cores busy while answers are collected.
        autoreset: when an environment starts its next episode. ``NEXT_STEP``, gymnasium's default:
            the step after an episode's last one ignores its action and returns the first frame of
            the next episode. ``SAME_STEP``: the last step returns that frame at once, and its own
            in ``info["final_obs"]``. ``DISABLED``: never; ``reset`` does it.
        copy: return a copy of the frames. Without it the next step overwrites what this one
            returned, which saves a little time.
        options: those of `ShiftEnv`: ``shift``, ``image_size``, ``render``, ``tasks_dir``.

    Raises:
        ShiftBenchError: fewer than one environment, or what `ShiftEnv` raises.
    """
    if count < 1:
        raise ShiftBenchError(f"{count} environments: at least 1 is needed")
    makers = [partial(_make, task, index=index, **options) for index in range(count)]
    return VectorEnv(makers, context="spawn", autoreset_mode=autoreset, copy=copy)


class Collector:
    """Environments of one task that step while something else is done; clean frames.

    Args:
        task: the protocol.
        count: number of environments N, each a process.
        image_size: height and width of a frame in pixels.
        render: render profile.
    """

    def __init__(self, task: Task, count: int, image_size: int = 64, render: str = "fast") -> None:
        self.count = count
        self._envs = make_vec(task, count, image_size=image_size, render=render)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Start an episode in each, from a seed as `PixelEnv.reset` takes it.

        Returns:
            uint8 (N, S, S, 3).
        """
        return self._envs.reset(options={"seeds": list(seeds)})[0]

    def begin(self, actions: np.ndarray) -> None:
        """Let each take a step; actions float32 (N, A) in [-1, 1]. What it gives, `finish` says.

        The action of one whose episode is over does nothing.
        """
        self._envs.step_async(actions)

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Wait for all.

        Returns:
            Frames uint8 (N, S, S, 3), rewards float64 (N,), whether the episodes are over bool
            (N,), discounts float64 (N,), and environment steps of the episodes so far int (N,).
            What comes after an episode's end means nothing.
        """
        frames, rewards, terminated, truncated, info = self._envs.step_wait()
        return frames, rewards, terminated | truncated, info["discount"], info["steps"]

    def close(self) -> None:
        """End the processes; twice does no harm."""
        self._envs.close()


def _make(task: str | Task, **options: Any) -> ShiftEnv:
    """Make one environment: in a process of its own, and once more here to learn the spaces."""
    if multiprocessing.current_process().daemon:
        # Ctrl-C reaches every process of a terminal. Only the one that called `make_vec` answers
        # it, and takes these with it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return ShiftEnv(task, **options)
