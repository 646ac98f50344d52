"""Short episodes for the certificate: the same states under every shift, from seeds of their own.

No seed here is one of evaluation, training or the random anchors: levels that were calibrated with
the certificate have not seen the episodes that agents are scored on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from shiftbench import seeding

if TYPE_CHECKING:
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.specs import Shift, Task

#: Agent steps in an episode, and how many of them lie between two of the states that are compared.
STEPS, EVERY = 16, 4

#: Longest stretch of agent steps over which an action is held, or drawn anew in every step. Random
#: actions alone hardly move a body with inertia; held ones bring it to the far ends.
STRETCH = 8


#: Hears how many frames more have been worked on; may raise to stop the work.
Tick = Callable[[int], None]


def no_tick(count: int) -> None:
    """Let work go on unheard."""


class Track(Struct, frozen=True):
    """What was seen and what happened in one episode of T agent steps.

    Attributes:
        frames: uint8 (F, H, W, 3), the frame after each step, or after every so-many-th.
        positions: float32 (F, P), the position features of these frames.
        states: float64 (T + 1, n), the physics at the reset and after each step.
        rewards: float64 (T,).
        ends: float64 (T, 2), whether the episode was over, and the discount.
        length: environment steps.
    """

    frames: np.ndarray
    positions: np.ndarray
    states: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray
    length: int

    def same_physics(self, other: Track) -> bool:
        """Return whether states, rewards, ends and length are equal bit for bit."""
        return self.length == other.length and all(
            getattr(self, name).tobytes() == getattr(other, name).tobytes()
            for name in ("states", "rewards", "ends")
        )

    def digest(self) -> str:
        """Return the SHA-256 of the frames."""
        return hashlib.sha256(self.frames.tobytes()).hexdigest()


def actions(task: Task, purpose: str, episode: int, size: int, steps: int = STEPS) -> np.ndarray:
    """Return actions that are held and random by turns: float64 (steps, size) in [-1, 1]."""
    rng = seeding.rng(_seed("actions", purpose, task, episode))
    rows: list[np.ndarray] = []
    while len(rows) < steps:
        length = int(rng.integers(1, STRETCH + 1))
        drawn = rng.uniform(-1, 1, (length, size))
        rows += list(drawn if rng.uniform() < 0.5 else np.repeat(drawn[:1], length, axis=0))
    return np.array(rows[:steps])


def look_seed(task: Task, purpose: str, shift: Shift, episode: int) -> int:
    """Return the seed of the appearance of an episode under ``shift``."""
    return _seed("look", purpose, task, shift.family, shift.level, episode)


def play(
    env: PixelEnv,
    purpose: str,
    episode: int,
    shift: Shift | None = None,
    *,
    steps: int = STEPS,
    look: int | None = None,
    every: int = 1,
    tick: Tick = no_tick,
) -> Track:
    """Play one episode; it ends after ``steps`` agent steps, or where the task ends it.

    Args:
        env: the environment.
        purpose: names a set of episodes; sets share no seed.
        episode: number of the episode, which gives the physics, the actions and the look.
        shift: None for clean frames.
        look: number of another episode whose look this one takes; frames differ, physics must not.
        every: draw and keep only every so-many-th frame, with its positions.
        tick: called with 1 for every frame.
    """
    task = env.task
    appearance = 0
    if shift is not None:
        appearance = look_seed(task, purpose, shift, episode if look is None else look)
    env.reset(_seed("physics", purpose, task, episode), shift, appearance)
    states, frames, positions, rewards, ends = [env.state()], [], [], [], []
    for i, action in enumerate(actions(task, purpose, episode, env.action_dim, steps), 1):
        env.blind = i % every != 0
        frame, reward, done, discount = env.step(action)
        if not env.blind:
            frames.append(frame)
            positions.append(env.positions())
            tick(1)
        states.append(env.state())
        rewards.append(reward)
        ends.append((done, discount))
        if done:
            break
    env.blind = False
    return Track(
        frames=np.array(frames),
        positions=np.array(positions, np.float32),
        states=np.array(states),
        rewards=np.array(rewards),
        ends=np.array(ends, np.float64),
        length=env.steps,
    )


def _seed(kind: str, purpose: str, task: Task, *names: str | int) -> int:
    return seeding.seed_of("certify", kind, purpose, task.name, task.version, *names)
