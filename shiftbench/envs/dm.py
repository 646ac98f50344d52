"""The dm_env face of a task.

```python
from shiftbench.envs import dm

env = dm.Environment("finger_spin", shift="texture:mild")
```
"""

from __future__ import annotations

from pathlib import Path

import dm_env
import numpy as np
from dm_env import specs

from shiftbench import seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.specs import CLEAN, Shift, get_task, load_tasks


class Environment(dm_env.Environment):
    """One task under one shift.

    Observations are ``{"pixels": uint8 (S, S, 3)}``, actions float32 (A,) in [-1, 1]; a step holds
    the action for the task's action repeat and rewards the sum. The discount of an episode's last
    step is 0 only where the task itself ends, and 1 at the task's length.

    Args:
        task: name of the task.
        shift: ``none`` or ``FAMILY:LEVEL``.
        seed: of all episodes, physics and appearance; the gymnasium face, reset with the same seed
            once, plays the same ones.
        image_size: height and width of a frame in pixels.
        render: render profile.
        tasks_dir: folder with further task files.
        backgrounds: folder with images, GIFs or videos for the shifts that show pictures:
            ``background``, ``combined`` and some presets.

    Raises:
        ShiftBenchError: an unknown task, family, level or profile, no picture in ``backgrounds``,
            or no OpenGL backend works.
    """

    def __init__(
        self,
        task: str,
        *,
        shift: str = CLEAN,
        seed: int = 0,
        image_size: int = 64,
        render: str = "fast",
        tasks_dir: str | Path | None = None,
        backgrounds: str | Path | None = None,
    ) -> None:
        folders = (Path(tasks_dir),) if tasks_dir else ()
        self.task = get_task(task, load_tasks(folders), "task")
        self.shift = Shift.one(shift, backgrounds or "")
        self._env = PixelEnv(self.task, image_size=image_size, render=render)
        self._rng = seeding.rng(seed)
        self._frame_shape = (image_size, image_size, 3)
        self._over = True

    def reset(self) -> dm_env.TimeStep:
        """Start the next episode."""
        physics, look = (int(n) for n in self._rng.integers(2**63, size=2))
        self._over = False
        return dm_env.restart({"pixels": self._env.reset(physics, self.shift, look)})

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Hold ``action`` for the action repeat; after the last step of an episode, start anew."""
        if self._over:
            return self.reset()
        frame, reward, self._over, discount = self._env.step(action)
        kind = dm_env.StepType.LAST if self._over else dm_env.StepType.MID
        return dm_env.TimeStep(kind, reward, discount, {"pixels": frame})

    def observation_spec(self) -> dict[str, specs.BoundedArray]:
        """Return the shape, type and range of ``pixels``."""
        return {"pixels": specs.BoundedArray(self._frame_shape, np.uint8, 0, 255, "pixels")}

    def action_spec(self) -> specs.BoundedArray:
        """Return the shape, type and range of an action."""
        return specs.BoundedArray((self._env.action_dim,), np.float32, -1.0, 1.0, "action")

    @property
    def physics(self):
        """The physics, as on the environments of dm_control."""
        return self._env.physics

    def close(self) -> None:
        """Free the environment."""
        self._env.close()
