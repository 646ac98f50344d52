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
from functools import partial
from typing import Any

from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState

from shiftbench.envs.gym import ShiftEnv
from shiftbench.errors import ShiftBenchError


class VectorEnv(AsyncVectorEnv):
    """gymnasium's own, but `close` does not hang in the middle of a step."""

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """End the processes.

        After a Ctrl-C part of a step's answers may have been read already; waiting for them once
        more, as gymnasium does, would wait for ever.
        """
        if self._state is not AsyncState.DEFAULT:
            self._state, terminate = AsyncState.DEFAULT, True
        super().close_extras(timeout, terminate)


def make_vec(
    task: str,
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
        task: name of the task.
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


def _make(task: str, **options: Any) -> ShiftEnv:
    """Make one environment: in a process of its own, and once more here to learn the spaces."""
    if multiprocessing.current_process().daemon:
        # Ctrl-C reaches every process of a terminal. Only the one that called `make_vec` answers
        # it, and takes these with it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return ShiftEnv(task, **options)
