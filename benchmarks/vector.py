"""Frames a second of environments side by side, against one alone.

    python benchmarks/vector.py [--out docs/performance.md] [--json results.json]

One environment in this process and `shiftbench.envs.vector.make_vec` with each ``--count`` step in
turn, block by block, so that whatever else the machine does hits all of them; who does not step
waits and costs nothing. The speed-up is the median over blocks of the ratio within a block. The
exit code is 1 where no count reaches the goal, of any task under any shift.

What the machine's cores give is measured beside it in the same blocks: as many processes as the
cores carry, each with one environment, that run through their steps and exchange nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pages
from gymnasium.vector import AutoresetMode

from shiftbench import seeding
from shiftbench.envs.gym import ShiftEnv
from shiftbench.envs.vector import VectorEnv, make_vec
from shiftbench.errors import ShiftBenchError

#: Least speed-up on two cores.
MIN_SPEEDUP = 1.7


class Runner(ShiftEnv):
    """An environment that takes many steps by itself."""

    def run(self, actions: np.ndarray) -> None:
        alone(self, actions)


def alone(env: ShiftEnv, actions: np.ndarray) -> None:
    """Take the steps ``actions`` (T, A), over the ends of episodes."""
    for action in actions:
        if env.step(action)[3]:
            env.reset()


def measure(
    task: str, counts: list[int], blocks: int, steps: int, shift: str, size: int
) -> dict[str, Any]:
    """Return frames a second and speed-ups: a dictionary a count, and that of one environment."""
    options = {"shift": shift, "image_size": size}
    env = ShiftEnv(task, **options)
    vectors = {count: make_vec(task, count, **options) for count in counts}
    cores = len(vectors[max(counts)].processes)
    apart = VectorEnv([partial(Runner, task, **options)] * cores, cores, AutoresetMode.DISABLED)
    rng = seeding.rng(seeding.seed_of("benchmark", "vector", task))
    dim = env.action_space.shape[0]
    rates: dict[Any, list[float]] = {name: [] for name in ("alone", "apart", *counts)}
    try:
        for each in (env, apart, *vectors.values()):
            each.reset(seed=0)
        for block in range(-1, blocks):  # the first one warms up
            for name in rates:
                count = {"alone": 1, "apart": cores}.get(name, name)
                actions = rng.uniform(-1, 1, (steps, count, dim)).astype(np.float32)
                start = time.perf_counter()
                if name == "alone":
                    alone(env, actions[:, 0])
                elif name == "apart":
                    apart.call("run", actions[:, 0])
                else:
                    for action in actions:
                        vectors[count].step(action)
                if block >= 0:
                    rates[name].append(steps * count / (time.perf_counter() - start))
    finally:
        for each in (env, apart, *vectors.values()):
            each.close()

    def speedup(name: Any) -> float:
        return float(np.median(np.array(rates[name]) / rates["alone"]))

    return {
        "task": task,
        "shift": shift,
        "alone": float(np.median(rates["alone"])),
        "cores": cores,
        "apart": speedup("apart"),
        "vector": {
            count: {
                "frames_per_second": float(np.median(rates[count])),
                "speedup": speedup(count),
            }
            for count in counts
        },
    }


def report(rows: list[dict[str, Any]]) -> str:
    """Return what `measure` found, once a task and shift, as Markdown."""
    lines = []
    for row in rows:
        line = [row["task"], f"`{row['shift']}`", f"{row['alone']:.0f}", f"{row['apart']:.2f}×"]
        for found in row["vector"].values():
            line += [f"{found['frames_per_second']:.0f}", f"{found['speedup']:.2f}×"]
        lines.append(line)
    head = ["task", "shift", "alone", f"{rows[0]['cores']} apart"]
    for count in rows[0]["vector"]:
        head += [f"{count} together", "faster"]
    return pages.markdown(head, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", help="repeatable; default: cartpole_balance")
    parser.add_argument("--shift", action="append", help="none or FAMILY:LEVEL, repeatable")
    parser.add_argument("--size", type=int, default=64, help="height and width of a frame")
    parser.add_argument("--count", type=int, action="append", help="repeatable; default: 4, 16, 64")
    parser.add_argument("--blocks", type=int, default=10, help="blocks of each")
    parser.add_argument("--steps", type=int, default=60, help="steps in a block")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="a page whose section 'vector' is filled")
    options = parser.parse_args()
    counts = options.count or [4, 16, 64]
    if min(counts) < 2 or min(options.blocks, options.steps) < 1:
        parser.error("--count must be at least 2, --blocks and --steps at least 1")
    rows = []
    try:
        if options.out:
            pages.check(options.out, "vector")
        for task in options.task or ["cartpole_balance"]:
            for shift in options.shift or ["none"]:
                rows.append(
                    measure(task, counts, options.blocks, options.steps, shift, options.size)
                )
        machine = pages.machine()
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    text = (
        f"Frames a second at {options.size} px ({machine}); the goal is at least "
        f"{MIN_SPEEDUP:g} times one environment's.\n\n{report(rows)}"
    )
    print(text)
    if options.out:
        pages.fill(options.out, "vector", text)
    if options.json:
        record = {"machine": machine, "size": options.size, "rows": rows}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    code = 0
    for row in rows:
        best = max(found["speedup"] for found in row["vector"].values())
        if best < MIN_SPEEDUP:
            code = 1
            print(
                f"{row['task']} {row['shift']}: {best:.2f} times, the goal is {MIN_SPEEDUP:g}",
                file=sys.stderr,
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
