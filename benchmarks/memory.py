"""How much memory one process gains while it draws frames under every registered family.

    python benchmarks/memory.py [--frames 100000] [--task finger_spin] [--json results.json]

Episodes of `--per-reset` frames pass through all families and levels in turn, in one environment.
What the first `WARM_UP` frames needed is not counted: each family has been seen then. The exit code
is 1 where more than `MAX_GROWTH` megabytes were gained afterwards, at any time.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import resource
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from shiftbench import seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import FAMILIES
from shiftbench.specs import Shift, Task, get_suite, get_task, load_tasks

#: Frames after which memory is measured for the first time.
WARM_UP = 1000

#: Most that it may gain from then on, in megabytes (10^6 bytes).
MAX_GROWTH = 20.0


def resident() -> float:
    """Return the megabytes of main memory that this process holds."""
    gc.collect()
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    # Elsewhere only the most it ever held is known: that cannot shrink, which serves as well.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(task: Task, frames: int, per_reset: int) -> dict[str, Any]:
    """Draw ``frames`` frames and return what that did to the memory."""
    suite = get_suite("mini")
    levels = [reversed(Shift.parse(family, suite)) for family in FAMILIES]
    # Families change fastest, so that each comes up early.
    rows = itertools.zip_longest(*levels)
    shifts = itertools.cycle(shift for row in rows for shift in row if shift)
    rng = seeding.rng(seeding.seed_of("benchmark", "memory", task.name))
    env = PixelEnv(task)
    drawn = resets = 0
    now = start = most = 0.0
    gained: dict[str, float] = defaultdict(float)
    with tqdm(total=frames, unit="frame", disable=None) as bar:
        while drawn < frames:
            shift = next(shifts)
            env.reset(resets, shift, resets)
            count = 1
            while count < min(per_reset, frames - drawn):
                _, _, done, _ = env.step(rng.uniform(-1, 1, env.action_dim))
                count += 1
                if done:
                    break
            drawn, resets = drawn + count, resets + 1
            bar.update(count)
            before, now = now, resident()
            if drawn <= WARM_UP:
                start = most = now
            else:
                most = max(most, now)
                gained[shift.family] += now - before
    env.close()
    return {
        "task": task.name,
        "frames": drawn,
        "resets": resets,
        "start": start,
        "growth": most - start,
        "families": dict(gained),
    }


def main() -> int:
    most = min(100, WARM_UP // len(FAMILIES.names()))  # so that the warm-up sees every family
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cartpole_balance")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--per-reset", type=int, default=most, help=f"frames a reset [{most}]")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    options = parser.parse_args()
    if not 1 <= options.per_reset <= most:
        parser.error(f"--per-reset: 1 to {most}")
    if options.frames <= WARM_UP:
        parser.error(f"--frames must be above {WARM_UP}")
    try:
        task = get_task(options.task, load_tasks())
        found = measure(task, options.frames, options.per_reset)
    except ShiftBenchError as error:
        parser.error(str(error))
    print(
        f"{found['task']}: {found['resets']} resets, {found['frames']} frames, "
        f"{found['start']:.0f} MB after the first {WARM_UP}, at most {found['growth']:.1f} MB more"
    )
    for family, growth in found["families"].items():
        print(f"  {family:12} {growth:+.1f} MB")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if found["growth"] >= MAX_GROWTH:
        print(f"{found['growth']:.1f} MB, the goal is under {MAX_GROWTH:g}", file=sys.stderr)
    return int(found["growth"] >= MAX_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
