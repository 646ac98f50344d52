"""How much memory one process gains while it draws frames under every registered family.

    python benchmarks/memory.py [--out docs/performance.md] [--json results.json]

Episodes of `--per-reset` frames, a thousand where nothing else is asked for, pass through all
families in turn, each at all its levels (presets are levels of their own), in one environment. What
the first `WARM_UP` frames needed is not counted: each family has been seen then. The exit code is 1
where `MAX_GROWTH` megabytes or more were gained afterwards, at any time.
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

import pages
from tqdm import tqdm

from shiftbench import seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import FAMILIES
from shiftbench.specs import CLEAN, LEVELS, Shift, Task, get_task, levels_of, load_tasks

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


def shifts_of(family: str) -> list[Shift]:
    """Return a family at every level but ``none``, or at each of its own."""
    levels = levels_of(family, LEVELS).items()
    return [Shift(family, level, severity) for level, severity in levels if level != CLEAN]


def measure(task: Task, frames: int, per_reset: int) -> dict[str, Any]:
    """Draw ``frames`` frames and return what that did to the memory."""
    # Families change fastest, so that each comes up early; the strongest levels come first.
    rows = itertools.zip_longest(*(reversed(shifts_of(family)) for family in FAMILIES))
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


def report(found: dict[str, Any]) -> str:
    """Return what `measure` found as Markdown."""
    rows = [(family, f"{growth:+.1f}") for family, growth in found["families"].items()]
    return (
        f"`{found['task']}`, {found['resets']:,} resets and {found['frames']:,} frames in one "
        f"process: {found['start']:.0f} MB after the first {WARM_UP:,} frames, at most "
        f"{found['growth']:.1f} MB more from then on (goal: under {MAX_GROWTH:g} MB). Of that, by "
        f"the family that was shown:\n\n{pages.markdown(('family', 'MB'), rows)}"
    )


def main() -> int:
    most = min(100, WARM_UP // len(FAMILIES.names()))  # so that the warm-up sees every family
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cartpole_balance")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--per-reset", type=int, default=most, help=f"frames a reset [{most}]")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="a page whose section 'memory' is filled")
    options = parser.parse_args()
    if not 1 <= options.per_reset <= most:
        parser.error(f"--per-reset: 1 to {most}")
    if options.frames <= WARM_UP:
        parser.error(f"--frames must be above {WARM_UP}")
    try:
        task = get_task(options.task, load_tasks())
        if options.out:
            pages.check(options.out, "memory")
        found = measure(task, options.frames, options.per_reset)
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    text = report(found)
    print(text)
    if options.out:
        pages.fill(options.out, "memory", f"{text}\n\nMachine: {pages.machine()}.")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if found["growth"] >= MAX_GROWTH:
        print(f"{found['growth']:.1f} MB, the goal is under {MAX_GROWTH:g}", file=sys.stderr)
    return int(found["growth"] >= MAX_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
