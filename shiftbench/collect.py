"""Collecting episodes, and learning meanwhile."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from shiftbench import accounting, seeding
from shiftbench.errors import ShiftBenchError
from shiftbench.halt import Halt, Halted

if TYPE_CHECKING:
    from shiftbench.accounting import Clock
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.envs.vector import Collector
    from shiftbench.replay import Replay
    from shiftbench.train import Learner

#: How the names of metrics end that a training stops for where they are not finite.
FINITE = ("_loss", "_norm")


def episode(
    agent: Learner,
    env: PixelEnv,
    replay: Replay,
    rng: np.random.Generator,
    counters: dict[str, Any],
    clock: Clock,
    bar: tqdm,
    halt: Halt,
) -> dict[str, Any]:
    """Collect one episode, step and update in turn, and return its row of the curve."""
    task, config = agent.task, agent.config
    began, lessons = time.perf_counter(), _Lessons(agent, replay, rng, counters, clock, halt)
    with clock("environment"):
        seed = seeding.train_seed(task.name, task.version, agent.seed, counters["episodes"])
        pixels = env.reset(seed)
    agent.new_episodes(1)
    action = np.zeros(agent.action_dim, dtype=np.float32)
    reward = total = 0.0
    discount, done, length = 1.0, False, 0
    while True:
        halt.check()
        with clock("acting"):
            random = agent.train_steps < config.prefill_env_steps
            steps = agent.explore(pixels[None], random, keep=replay.cache is not None)
        step = {name: value[0] for name, value in steps.items()}
        # The action of this step leads to the next frame.
        following, step["action"] = step["action"], action
        replay.add(
            pixels=pixels, reward=reward, first=length == 0, terminal=discount == 0.0, **step
        )
        if done:
            break
        action = following
        with clock("environment"):
            pixels, reward, done, discount = env.step(action)
        total += reward
        length += 1
        before, agent.train_steps = agent.train_steps, counters["env_steps"] + env.steps
        bar.update(agent.train_steps - before)
        lessons.until(agent.train_steps)
    return lessons.row(1, total, began, bar)


def episodes(
    agent: Learner,
    envs: Collector,
    replay: Replay,
    rng: np.random.Generator,
    counters: dict[str, Any],
    clock: Clock,
    bar: tqdm,
    halt: Halt,
) -> dict[str, Any]:
    """Collect one episode in each of several environments; the agent learns while they step.

    All of them take a step, then as many updates are done as these steps are worth, whoever is
    done first: a seed and a number of environments give one result. What is collected enters replay
    when all episodes are over, one after the other, so updates do not see it before. A round that
    begins before the prefill is complete acts at random to its end.

    Returns:
        The row of the curve, with the mean return of the episodes.
    """
    task, config, count = agent.task, agent.config, envs.count
    began, lessons = time.perf_counter(), _Lessons(agent, replay, rng, counters, clock, halt)
    random = agent.train_steps < config.prefill_env_steps
    with clock("environment"):
        first = counters["episodes"]
        pixels = envs.reset(
            [
                seeding.train_seed(task.name, task.version, agent.seed, first + place)
                for place in range(count)
            ]
        )
    agent.new_episodes(count)
    action = np.zeros((count, agent.action_dim), dtype=np.float32)
    reward, discount, total = np.zeros(count), np.ones(count), np.zeros(count)
    taken = np.zeros(count, dtype=int)
    playing, done = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    kept: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    while True:
        halt.check()
        with clock("acting"):
            steps = agent.explore(pixels, random, keep=replay.cache is not None)
        following, steps["action"] = steps["action"], action
        for place in np.flatnonzero(playing):
            kept[place].append(
                {
                    "pixels": pixels[place],
                    "reward": reward[place],
                    "first": not kept[place],
                    "terminal": discount[place] == 0.0,
                    **{name: value[place] for name, value in steps.items()},
                }
            )
        playing &= ~done
        if not playing.any():
            break
        action = following
        with clock("environment"):
            envs.begin(action)
        try:
            lessons.until(agent.train_steps + int(playing.sum()) * task.action_repeat)
        except Halted:
            envs.finish()  # else nobody could begin anything with them any more
            raise
        with clock("environment"):
            pixels, reward, done, discount, now = envs.finish()
        total += np.where(playing, reward, 0.0)
        taken = np.where(playing, now, taken)
        before, agent.train_steps = agent.train_steps, counters["env_steps"] + int(taken.sum())
        bar.update(agent.train_steps - before)
    for steps in kept:
        for step in steps:
            replay.add(**step)
    return lessons.row(count, float(total.mean()), began, bar)


class _Lessons:
    """The updates of a round of episodes, and what they measured."""

    def __init__(
        self,
        agent: Learner,
        replay: Replay,
        rng: np.random.Generator,
        counters: dict[str, Any],
        clock: Clock,
        halt: Halt,
    ) -> None:
        self._halt = halt
        self._agent, self._replay, self._rng = agent, replay, rng
        self._counters, self._clock = counters, clock
        self._losses: dict[str, list[float]] = {}
        self._env_steps = agent.train_steps

    def until(self, env_steps: int) -> None:
        """Do the updates that the environment steps up to ``env_steps`` of training are worth.

        Raises:
            ShiftBenchError: a loss is not finite, or a norm; it is named.
            Halted: time to stop.
        """
        agent, counters = self._agent, self._counters
        every = agent.config.update_env_steps
        turns = env_steps // every - self._env_steps // every
        self._env_steps = env_steps
        prefilled = agent.train_steps >= agent.config.prefill_env_steps
        if not prefilled or len(self._replay) <= agent.config.length:
            return
        # What the prefill put off is made up for, but not at once, from so few episodes.
        owed = env_steps // every - counters["updates"]
        for _ in range(min(owed, agent.config.catch_up * turns)):
            self._halt.check()
            with self._clock("learning"):
                metrics = agent.learn(self._replay, self._rng)
            counters["updates"] += 1
            for name, value in metrics.items():
                self._losses.setdefault(name, []).append(value)
                if name.endswith(FINITE) and not math.isfinite(value):
                    raise ShiftBenchError(
                        f"training {agent.task.name}: {name} is {value} in update "
                        f"{counters['updates']}, at environment step {agent.train_steps}; "
                        + accounting.last_good(counters["env_steps"])
                    )

    def row(self, count: int, total: float, began: float, bar: tqdm) -> dict[str, Any]:
        """Count ``count`` episodes with a mean return of ``total``; return the curve's row."""
        counters, agent = self._counters, self._agent
        counters["episodes"] += count
        counters["env_steps"] = agent.train_steps
        counters["seconds"] += time.perf_counter() - began
        bar.set_postfix_str(f"return {total:.0f}, {counters['updates']} updates")
        return {
            "env_steps": agent.train_steps,
            "updates": counters["updates"],
            "train_return": total,
            **{name: float(np.mean(values)) for name, values in self._losses.items()},
        }
