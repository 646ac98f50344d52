"""Every seed of the benchmark, derived from names alone.

Seeds come from SHA-256 over the names of what they seed, so they do not depend on the process, the
order of work, Python's hash randomisation or any global generator. The purposes are the first part
of the hashed text, so a training seed cannot collide with an evaluation seed.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(*parts: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on their order."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def episode_seed(task: str, version: int, episode: int) -> int:
    """Seed of the physics of evaluation episode ``episode``: equal for every agent and shift."""
    return seed_of("episode", task, version, episode)


def shift_seed(task: str, family: str, level: str, episode: int) -> int:
    """Seed of the appearance of evaluation episode ``episode`` under one shift."""
    return seed_of("shift", task, family, level, episode)


def train_seed(task: str, version: int, seed: int, episode: int) -> int:
    """Seed of the physics of training episode ``episode`` of the run with seed ``seed``."""
    return seed_of("train", task, version, seed, episode)


def rng(seed: int) -> np.random.Generator:
    """Return an independent generator for ``seed``."""
    return np.random.default_rng(seed)


def random_state(seed: int) -> np.random.RandomState:
    """Return the legacy generator that dm_control tasks want, from all 63 bits of ``seed``."""
    return np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])
