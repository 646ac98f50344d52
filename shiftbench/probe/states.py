"""What the probes look at: states of a task, clean and shifted, and where the agent is in them.

Seeds are the probes' own: no state here is one of evaluation, of training or of the certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from shiftbench import seeding
from shiftbench.certify.episodes import EVERY, STEPS, actions
from shiftbench.errors import ShiftBenchError

if TYPE_CHECKING:
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.specs import Shift

#: Hears how many frames more have been worked on.
Tick = Callable[[int], object]


class States(Struct, frozen=True):
    """N states as one shift shows them, in the order of their episodes.

    Attributes:
        frames: uint8 (N, H, W, 3).
        positions: float32 (N, P), what a clean frame shows of the physics.
        agent: bool (N, H, W), the pixels of a frame that show the agent.
    """

    frames: np.ndarray
    positions: np.ndarray
    agent: np.ndarray


def draw(
    env: PixelEnv,
    purpose: str,
    seed: int,
    count: int,
    shift: Shift,
    tick: Tick,
    *,
    every: int = EVERY,
) -> States:
    """Draw states of short episodes whose actions are random and held by turns.

    Args:
        env: the environment.
        purpose: names a set of episodes; sets share no seed.
        seed: of the probes. Purpose, seed and the number of an episode give its physics and
            actions; these and the shift its look.
        count: N.
        shift: how the frames look.
        tick: hears of every state.
        every: agent steps between two states.

    Raises:
        ShiftBenchError: the task's episodes end before there is a state.
    """
    task = env.task
    names = (purpose, seed, task.name, task.version)
    frames, positions, masks = [], [], []
    for episode in range(-(-count // (STEPS // every))):
        look = seeding.seed_of("probe", "look", *names, shift.family, shift.level, episode)
        env.reset(seeding.seed_of("probe", "physics", *names, episode), shift, look)
        agent = agent_geoms(env.physics)
        steps = actions(task, f"probe {purpose} {seed}", episode, env.action_dim)
        for number, action in enumerate(steps, 1):
            env.blind = number % every != 0  # frames between two states are not drawn
            frame, _, done, _ = env.step(action)
            if not env.blind:
                tick(1)
                frames.append(frame)
                positions.append(env.positions())
                # Where no geom is, the number is -1: the last entry.
                masks.append(agent[env.geoms()])
            if done:
                break
        env.blind = False
    if len(frames) < 2:
        raise ShiftBenchError(f"task '{task.name}': its episodes are too short to be probed")
    return States(*(np.array(part[:count]) for part in (frames, positions, masks)))


def work(count: int, every: int = EVERY) -> int:
    """Return how many ticks `draw` gives, where no episode ends early."""
    return -(-count // (STEPS // every)) * (STEPS // every)


def agent_geoms(physics) -> np.ndarray:
    """Return which geoms are the agent: those of a body that an actuator moves.

    A body is all that hangs together below the world: the cart and its pole, the finger without
    the spinner it turns, the cup without the ball on its string.

    Args:
        physics: dm_control physics; read, never written.

    Returns:
        bool (geoms + 1,); the last entry stands for no geom and is False.
    """
    model, data = physics.model.ptr, physics.data.ptr
    # Rows of the sparse matrix of moments: which degrees of freedom an actuator pulls at.
    moved = [
        data.moment_colind[start : start + length]
        for start, length in zip(data.moment_rowadr, data.moment_rownnz, strict=True)
    ]
    roots = model.body_rootid[model.dof_bodyid[np.concatenate(moved)]]
    return np.append(np.isin(model.body_rootid[model.geom_bodyid], roots), False)
