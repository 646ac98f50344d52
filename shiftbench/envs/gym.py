"""The gymnasium face of a task. Importing this module registers every task.

```python
import gymnasium
import shiftbench.envs.gym

env = gymnasium.make("shiftbench/finger_spin-v1", shift="texture:mild")
```

``gymnasium.make("shiftbench.envs.gym:shiftbench/finger_spin-v1")`` does both at once. Further
processes must be spawned, not forked, once a process has drawn a frame, as
`shiftbench.envs.vector.make_vec` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

from shiftbench import seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import CLEAN, Shift, Task, get_task, load_tasks


class ShiftEnv(gymnasium.Env):
    """One task under one shift.

    Observations are uint8 (S, S, 3), actions float32 (A,) in [-1, 1]. An episode is truncated at
    the task's length and terminated only where the task itself ends. ``info`` holds ``steps``
    (environment steps so far) and ``discount``.

    Attributes:
        task: the protocol.
        shift: what changes in the picture.
        pixels: the task and its picture, without gymnasium.

    Args:
        task: name of the task, or the task itself.
        shift: ``none`` or ``FAMILY:LEVEL``.
        image_size: height and width of a frame in pixels.
        render: render profile.
        tasks_dir: folder with further task files.
        backgrounds: folder with images, GIFs or videos for the shifts that show pictures:
            ``background``, ``combined`` and some presets.
        render_mode: only ``rgb_array``.
        index: number of this environment among several side by side; see `reset`.

    Raises:
        ShiftBenchError: an unknown task, family, level or profile, no picture in ``backgrounds``,
            or no OpenGL backend works.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        task: str | Task,
        *,
        shift: str = CLEAN,
        image_size: int = 64,
        render: str = "fast",
        tasks_dir: str | Path | None = None,
        backgrounds: str | Path | None = None,
        render_mode: str | None = "rgb_array",
        index: int = 0,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ShiftBenchError(f"render_mode '{render_mode}': allowed is rgb_array")
        folders = (Path(tasks_dir),) if tasks_dir else ()
        named = isinstance(task, str)
        self.task = get_task(task, load_tasks(folders), "task") if named else task
        self.shift = Shift.one(shift, backgrounds or "")
        self.render_mode = render_mode
        self._index = index
        self.pixels = PixelEnv(self.task, image_size=image_size, render=render)
        self.metadata = {**self.metadata, "render_fps": self.pixels.frames_per_second}
        self.observation_space = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.pixels.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seeds `np_random`, from which the physics and the appearance are drawn.
            options: ``{"episode": e}`` starts evaluation episode e + ``index`` of the benchmark
                instead: the one that every agent sees. ``{"seeds": [...]}`` starts from the seed
                at place ``index``, as `PixelEnv.reset` does.
        """
        super().reset(seed=seed)
        options = options or {}
        episode = options.get("episode")
        if "seeds" in options:
            physics = look = options["seeds"][self._index]
        elif episode is None:
            physics, look = (int(n) for n in self.np_random.integers(2**63, size=2))
        else:
            episode += self._index
            physics = seeding.episode_seed(self.task.name, self.task.version, episode)
            look = seeding.shift_seed(self.task.name, self.shift.family, self.shift.level, episode)
        frame = self.pixels.reset(physics, self.shift, look)
        return frame, {"steps": 0, "discount": 1.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold ``action`` for the task's action repeat."""
        frame, reward, done, discount = self.pixels.step(action)
        terminated = done and discount == 0.0
        info = {"steps": self.pixels.steps, "discount": discount}
        return frame, reward, terminated, done and not terminated, info

    def render(self) -> np.ndarray:
        """Return the present frame, uint8 (S, S, 3)."""
        return self.pixels.render()

    def close(self) -> None:
        """Free the environment."""
        self.pixels.close()


for _task in load_tasks().values():
    gymnasium.register(
        id=f"shiftbench/{_task.name}-v{_task.version}",
        entry_point="shiftbench.envs.gym:ShiftEnv",
        kwargs={"task": _task.name},
    )
