import subprocess
import sys

import numpy as np

from shiftbench import seeding


def test_seeds_depend_on_every_part():
    seeds = {
        seeding.episode_seed("t", 1, 0),
        seeding.episode_seed("t", 1, 1),
        seeding.episode_seed("t", 2, 0),
        seeding.episode_seed("u", 1, 0),
        seeding.shift_seed("t", "texture", "mild", 0),
        seeding.shift_seed("t", "texture", "severe", 0),
        seeding.train_seed("t", 1, 0, 0),
    }
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_equal_in_another_process_with_other_hash_seed():
    code = "from shiftbench import seeding; print(seeding.episode_seed('t', 1, 3))"
    for hash_seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert int(out) == seeding.episode_seed("t", 1, 3)


def test_random_state_uses_all_bits():
    low, high = seeding.random_state(5), seeding.random_state(5 + (1 << 40))
    assert low.random_sample() != high.random_sample()
    assert np.array_equal(seeding.rng(9).random(3), seeding.rng(9).random(3))
