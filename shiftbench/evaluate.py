"""The only evaluation loop: a deterministic policy on fixed, paired episodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from shiftbench import seeding
from shiftbench.errors import ShiftBenchError

if TYPE_CHECKING:
    from shiftbench.agents.base import Policy
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.specs import Shift


class Episode(Struct, frozen=True):
    """What came out of one episode.

    Attributes:
        episode_return: sum of rewards.
        length: environment steps.
    """

    episode_return: float
    length: int


def rollout(
    policy: Policy,
    env: PixelEnv,
    seeds: Sequence[int],
    shift: Shift | None = None,
    shift_seeds: Sequence[int] | None = None,
    on_episode: Callable[[], object] | None = None,
) -> list[Episode]:
    """Play one episode for every seed.

    Args:
        policy: what acts.
        env: the environment; any episode may have been played in it before.
        seeds: physics seed of each episode.
        shift: visual shift, None for clean frames.
        shift_seeds: appearance seed of each episode, where there is a shift.
        on_episode: called after every episode, for progress.

    Raises:
        ShiftBenchError: the policy returns actions of a wrong shape or that are not finite.
    """
    results = []
    for index, seed in enumerate(seeds):
        appearance = shift_seeds[index] if shift_seeds is not None else 0
        pixels = env.reset(seed, shift, appearance)
        policy.reset(np.ones(1, dtype=bool))
        total, done = 0.0, False
        with _one_thread():
            while not done:
                action = np.asarray(policy.act(pixels[None]))
                if action.shape != (1, env.action_dim) or not np.isfinite(action).all():
                    raise ShiftBenchError(
                        f"the policy returned an action of shape {action.shape}; finite values of "
                        f"shape (1, {env.action_dim}) are needed"
                    )
                pixels, reward, done, _ = env.step(action[0])
                total += reward
        results.append(Episode(total, env.steps))
        if on_episode is not None:
            on_episode()
    return results


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch, where a policy uses it, act on one thread unless ``OMP_NUM_THREADS`` is set.

    For one small frame a second thread gains nothing, and on a busy machine waiting for it costs
    ten times the work. Returns do not depend on the number of cores either.
    """
    torch = sys.modules.get("torch")
    if torch is None or "OMP_NUM_THREADS" in os.environ:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def evaluation_seeds(
    task: str, version: int, shift: Shift, episodes: int
) -> tuple[list[int], list[int]]:
    """Return the physics and the appearance seeds of evaluation episodes 0 … ``episodes`` − 1.

    The physics seeds depend on neither the agent nor the shift: episodes are paired.
    """
    physics = [seeding.episode_seed(task, version, i) for i in range(episodes)]
    looks = [seeding.shift_seed(task, shift.family, shift.level, i) for i in range(episodes)]
    return physics, looks
