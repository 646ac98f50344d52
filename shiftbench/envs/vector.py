"""Environments side by side, a share of them in each of a few processes, with shared frames.

```python
from shiftbench.envs.vector import make_vec

if __name__ == "__main__":  # the processes are spawned: each imports the script anew
    envs = make_vec("finger_spin", 8, shift="texture:mild")
    frames, info = envs.reset(seed=0)
    envs.close()
```
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from ctypes import Array
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from shiftbench.envs.gym import ShiftEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.halt import deaf, ignore
from shiftbench.specs import Task


class VectorEnv(gymnasium.vector.VectorEnv):
    """Environments of one kind, shared out among processes that each hold a `SyncVectorEnv`.

    What they give is what gymnasium's `AsyncVectorEnv` gives, which has a process for each and so
    wakes as many for every step; here the cost of waking one is shared by all that it steps. A
    process steps the physics of all its environments before it draws any: what does the one does
    not fit into a core's caches beside what does the other.

    Args:
        makers: makes a `ShiftEnv`, each in the process where it will live; the first is called in
            this one too, to learn the spaces.
        processes: number of processes P, at most one an environment.
        autoreset, copy: those of `make_vec`.

    Raises:
        Exception: what a maker raises.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], ShiftEnv]],
        processes: int,
        autoreset: AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
    ) -> None:
        self.processes: list[multiprocessing.Process] = []
        self.pipes: list[Connection] = []
        # Also when this is forgotten, or Python ends: its own way to end processes is SIGTERM.
        self._end = Finalize(self, _end, (self.processes, self.pipes), exitpriority=0)
        self._waiting = ""
        self._copy = copy
        env = makers[0]()
        try:
            self.single_observation_space = env.observation_space
            self.single_action_space = env.action_space
            self.metadata = {**env.metadata, "autoreset_mode": autoreset}
            self.render_mode = env.render_mode
        finally:
            env.close()
        self.num_envs = len(makers)
        batch = partial(gymnasium.vector.utils.batch_space, n=self.num_envs)
        self.observation_space = batch(self.single_observation_space)
        self.action_space = batch(self.single_action_space)
        context = multiprocessing.get_context("spawn")
        shape = self.observation_space.shape
        memory = context.RawArray("B", int(np.prod(shape)))
        self._frames = np.frombuffer(memory, np.uint8).reshape(shape)
        shares = np.array_split(np.arange(self.num_envs), processes)
        #: Where the environments of each process are among all.
        self._shares = [slice(int(share[0]), int(share[-1]) + 1) for share in shares]
        for share in self._shares:
            here, there = context.Pipe()
            arguments = (there, makers[share], autoreset, memory, shape, share)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            with deaf():
                process.start()
                there.close()
                self.pipes.append(here)
                self.processes.append(process)
        self._waiting = "start"
        self._answers("start")

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in each, or in those alone that ``options["reset_mask"]`` names.

        Args:
            seed: of the first; those of the others follow it. Or one for each.
            options: for each environment; ``reset_mask`` bool (N,) is taken out.

        Returns:
            Frames uint8 (N, S, S, 3) and info.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} environments")
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(f"reset_mask: bool ({self.num_envs},) is needed")
        given = [
            {"seed": list(seed[share]), "options": {**options, "reset_mask": mask[share]}}
            for share in self._shares
        ]
        self._ask("reset", given)
        (infos,) = zip(*self._answers("reset"), strict=True)
        return self._seen(), self._joined(infos)

    def step_async(self, actions: np.ndarray) -> None:
        """Let each take a step; actions float32 (N, A). `step_wait` gives what comes of it."""
        self._ask("step", [{"actions": actions[share]} for share in self._shares])

    def step_wait(
        self,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Return the frames, rewards, ends, truncations and info of the step that was begun."""
        *results, infos = zip(*self._answers("step"), strict=True)
        rewards, terminated, truncated = (np.concatenate(result) for result in results)
        return self._seen(), rewards, terminated, truncated, self._joined(infos)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Let each take a step; actions float32 (N, A)."""
        self.step_async(actions)
        return self.step_wait()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of each, or return an attribute of each."""
        self._ask("call", [{"name": name, "args": args, "kwargs": kwargs}] * len(self._shares))
        return tuple(result for results in self._answers("call") for result in results)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of each."""
        return self.call(name)

    def render(self) -> tuple[Any, ...]:
        """Return the present frame of each."""
        return self.call("render")

    def close_extras(self, **kwargs: Any) -> None:
        """End the processes, whatever they are at.

        A Ctrl-C may strike when part of a step was asked for, or part of its answers read, so
        nothing is said and nothing waited for.
        """
        self._end()

    def _ask(self, name: str, arguments: list[dict[str, Any]]) -> None:
        if self.closed:
            raise ClosedEnvironmentError(f"{name}: the environments were closed")
        if self._waiting:
            raise AlreadyPendingCallError(f"{name}: a {self._waiting} is under way", self._waiting)
        self._waiting = name
        for pipe, given in zip(self.pipes, arguments, strict=True):
            # One that is gone gives no answer either.
            with contextlib.suppress(ConnectionError):
                pipe.send((name, given))

    def _answers(self, name: str) -> list[Any]:
        """Return what the processes answer; after an error only `close` is left."""
        if self._waiting != name:
            raise NoAsyncCallError(f"no {name} is under way", name)
        results = []
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            try:
                done, result = pipe.recv()
            except (EOFError, ConnectionError):
                process.join()
                raise ShiftBenchError(
                    f"a process of the environments ended with exit code {process.exitcode}"
                ) from None
            if not done:
                raise result
            results.append(result)
        self._waiting = ""
        return results

    def _seen(self) -> np.ndarray:
        return self._frames.copy() if self._copy else self._frames

    def _joined(self, infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return one info for all: arrays (N, ...), where a process may lack a key."""
        joined: dict[str, Any] = {}
        for key in dict.fromkeys(key for info in infos for key in info):
            values = [info.get(key) for info in infos]
            one = next(value for value in values if value is not None)
            if isinstance(one, dict):
                joined[key] = self._joined([value or {} for value in values])
                continue
            empty = None if one.dtype == object else 0
            for i, share in enumerate(self._shares):
                if values[i] is None:
                    shape = (share.stop - share.start, *one.shape[1:])
                    values[i] = np.full(shape, empty, one.dtype)
            joined[key] = np.concatenate(values)
        return joined


def make_vec(
    task: str | Task,
    count: int,
    *,
    processes: int | None = None,
    autoreset: AutoresetMode = AutoresetMode.NEXT_STEP,
    copy: bool = True,
    **options: Any,
) -> VectorEnv:
    """Return ``count`` environments of one task that step at the same time.

    Frames are uint8 (count, S, S, 3), actions float32 (count, A). ``reset(seed=s)`` seeds
    environment i with ``s + i`` and ``reset(options={"episode": e})`` starts evaluation episode
    ``e + i`` in it; both give the frames that `ShiftEnv` gives alone, whatever ``processes`` is.

    Args:
        task: name of the task, or the task itself.
        count: number of environments. The more there are, the less the processes wait for each
            other; see ``docs/performance.md``.
        processes: number of processes, each of which steps its share one after the other; as many
            as this process may use cores, where it is None.
        autoreset: when an environment starts its next episode. ``NEXT_STEP``, gymnasium's default:
            the step after an episode's last one ignores its action and returns the first frame of
            the next episode. ``SAME_STEP``: the last step returns that frame at once, and its own
            in ``info["final_obs"]``. ``DISABLED``: never; ``reset`` does it.
        copy: return a copy of the frames. Without it the next step overwrites what this one
            returned, which saves a little time.
        options: those of `ShiftEnv`: ``shift``, ``image_size``, ``render``, ``tasks_dir``.

    Raises:
        ShiftBenchError: fewer than one environment or process, or what `ShiftEnv` raises.
    """
    if count < 1:
        raise ShiftBenchError(f"{count} environments: at least 1 is needed")
    if processes is None:
        linux = hasattr(os, "sched_getaffinity")
        processes = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    if processes < 1:
        raise ShiftBenchError(f"{processes} processes: at least 1 is needed")
    makers = [partial(ShiftEnv, task, index=index, **options) for index in range(count)]
    return VectorEnv(makers, min(processes, count), autoreset, copy)


class Collector:
    """Environments of one task that step while something else is done; clean frames.

    Args:
        task: the protocol.
        count: number of environments N.
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


def _end(processes: list[multiprocessing.Process], pipes: list[Connection]) -> None:
    """End processes that hold nothing which their end does not free."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    for pipe in pipes:
        pipe.close()


def _serve(
    pipe: Connection,
    makers: Sequence[Callable[[], ShiftEnv]],
    autoreset: AutoresetMode,
    memory: Array,
    shape: tuple[int, ...],
    share: slice,
) -> None:
    """Make environments and do with them what is asked through ``pipe``, until it is shut."""
    # Ctrl-C reaches every process of a terminal. Only the one that called `make_vec` answers it,
    # and takes these with it.
    ignore()
    frames = np.frombuffer(memory, np.uint8).reshape(shape)[share]

    def answer(name: str, given: dict[str, Any]) -> Any:
        if name == "call":
            return envs.call(given["name"], *given["args"], **given["kwargs"])
        if name == "reset" and not given["options"]["reset_mask"].any():
            return ({},)
        for view in views:
            view.late = True
        frames[:], *rest = getattr(envs, name)(**given)
        left = [(i, view) for i, view in enumerate(views) if view.behind]
        for _, view in left:
            view.compose()
        for i, view in left:
            frames[i] = view.capture()
        for view in views:
            view.late = False
        return tuple(rest)

    try:
        envs = SyncVectorEnv(makers, copy=False, autoreset_mode=autoreset)
        views = [env.pixels for env in envs.envs]
        pipe.send((True, None))
        while True:
            name, given = pipe.recv()
            pipe.send((True, answer(name, given)))
    except (EOFError, ConnectionError):
        pass  # who asked is gone
    except Exception as error:
        error.add_note(f"In a process of the environments:\n{traceback.format_exc()}")
        try:
            pipe.send((False, error))
        except (TypeError, AttributeError, pickle.PicklingError):
            pipe.send((False, RuntimeError(f"{type(error).__name__}: {error}")))
