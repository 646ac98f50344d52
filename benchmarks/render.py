"""Milliseconds a frame: ours, clean and under each family, beside dm_control's own renderer.

    python benchmarks/render.py [--out results.md] [--json results.json]

Both draw the same states of the same tasks at the same size. dm_control draws in a process of its
own (two renderers in one process spoil each other's frames), and blocks of frames alternate between
ours and its, so that whatever else the machine does hits both. Medians over all frames. The exit
code is 1 where a frame is blank, shows something else than dm_control's, or a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from shiftbench import seeding
from shiftbench.envs import gl
from shiftbench.envs.loading import load
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import Shift, Suite, Task, get_suite, get_task, load_tasks

#: How many times faster than dm_control a clean frame must be.
MIN_SPEEDUP = 8.0

#: Most that a frame under a family may cost, in clean frames.
MAX_FAMILY = 1.6

#: Least standard deviation of the pixels of a frame that shows something, of 255.
NOT_BLANK = 5.0

#: Least correlation of our clean frame with dm_control's of the same state. They differ by shadows,
#: reflections and smoothed edges.
SAME_SCENE = 0.8


def dm_control_renders(connection: Connection) -> None:
    """Answer each (task, size, states) with (seconds a frame, frames)."""
    loaded: dict[str, Any] = {}
    while (request := connection.recv()) is not None:
        task, size, states = request
        if task.name not in loaded:
            random = seeding.random_state(0)
            loaded[task.name] = load(task, random)[0]
            # A target's place is no part of the state: it must be that of `draw_block`'s episode.
            random.set_state(seeding.random_state(0).get_state())
            loaded[task.name].reset()
        physics = loaded[task.name].physics
        times, frames = [], []
        for state in states:
            physics.set_state(state)
            physics.forward()
            start = time.perf_counter()
            frames.append(physics.render(size, size, camera_id=task.camera))
            times.append(time.perf_counter() - start)
        connection.send((times, np.array(frames)))


def states_of(env: PixelEnv, count: int) -> np.ndarray:
    """Return ``count`` states of a random episode, float64 (count, n)."""
    rng = seeding.rng(seeding.seed_of("benchmark", env.task.name))
    env.reset(seeding.seed_of("benchmark", env.task.name, "episode"))
    states = []
    for _ in range(count):
        env.step(rng.uniform(-1, 1, env.action_dim))
        states.append(env.state())
    return np.array(states)


def draw_block(
    env: PixelEnv, states: np.ndarray, shift: Shift, seed: int
) -> tuple[list[float], np.ndarray]:
    """Return the seconds of each frame and the frames of ``states`` under one shift."""
    env.reset(0, shift, seed)
    times, frames = [], []
    for t, state in enumerate(states):
        env.physics.set_state(state)
        env.physics.forward()
        env.agent_steps = t
        start = time.perf_counter()
        frames.append(env.draw())
        times.append(time.perf_counter() - start)
    return times, np.array(frames)


def measure(
    task: Task, suite: Suite, level: str, blocks: int, frames: int, other: Connection
) -> dict[str, Any]:
    """Return the row of one task: medians in milliseconds, and what is wrong with its frames."""
    env = PixelEnv(task, image_size=suite.image_size, render=suite.render)
    arms = {"clean": Shift.clean()}
    arms |= {name: Shift(name, level, suite.levels[level]) for name in suite.families}
    states = states_of(env, frames)
    seconds: dict[str, list[float]] = defaultdict(list)
    faults: list[str] = []
    for block in range(-1, blocks):  # the first one warms up
        drawn = {}
        for name, shift in arms.items():
            times, drawn[name] = draw_block(env, states, shift, block + 1)
            seconds[name] += times if block >= 0 else []
        other.send((task, suite.image_size, states))
        times, drawn["dm_control"] = other.recv()
        seconds["dm_control"] += times if block >= 0 else []
        faults += [
            f"{task.name}: a frame of '{name}' is blank"
            for name, images in drawn.items()
            if images.std(axis=(1, 2, 3)).min() < NOT_BLANK
        ]
        alike = np.corrcoef(drawn["clean"].ravel(), drawn["dm_control"].ravel())[0, 1]
        if alike < SAME_SCENE:
            faults.append(f"{task.name}: our frames correlate {alike:.2f} with dm_control's")
    env.close()
    ms = {name: 1e3 * float(np.median(times)) for name, times in seconds.items()}
    speedup = ms["dm_control"] / ms["clean"]
    ratios = {name: ms[name] / ms["clean"] for name in suite.families}
    if speedup < MIN_SPEEDUP:
        faults.append(f"{task.name}: {speedup:.1f} times faster, the goal is {MIN_SPEEDUP:g}")
    faults += [
        f"{task.name}: '{name}' costs {ratio:.2f} clean frames, the goal is {MAX_FAMILY:g}"
        for name, ratio in ratios.items()
        if ratio > MAX_FAMILY
    ]
    return {
        "task": task.name,
        "ms": ms,
        "speedup": speedup,
        "ratios": ratios,
        "correlation": float(alike),
        "faults": list(dict.fromkeys(faults)),
    }


def table(rows: list[dict[str, Any]], suite: Suite, level: str) -> str:
    """Return the rows as a Markdown table, milliseconds a frame."""
    head = ["task", "dm_control", "clean", "faster", *(f"{f}:{level}" for f in suite.families)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        ms = row["ms"]
        cells = [row["task"], f"{ms['dm_control']:.1f}", f"{ms['clean']:.2f}"]
        cells += [f"{row['speedup']:.0f}×"]
        cells += [f"{ms[f]:.2f} ({row['ratios'][f]:.2f}×)" for f in suite.families]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="mini", help="tasks, families, size and render profile")
    parser.add_argument("--level", default="severe", help="level of the shifted frames")
    parser.add_argument("--blocks", type=int, default=10, help="blocks of each kind of frame")
    parser.add_argument("--frames", type=int, default=20, help="frames in a block")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="write the table there")
    options = parser.parse_args()
    try:
        suite = get_suite(options.suite)
        if suite.levels.get(options.level, 0.0) == 0.0:
            parser.error(f"--level {options.level}: one of {', '.join(suite.levels)}, not none")
        tasks = load_tasks()
        chosen = [get_task(name, tasks) for name in suite.tasks]
        machine = f"{platform.machine()}, {os.cpu_count()} cores, {gl.backend()}: {gl.driver()}"
    except ShiftBenchError as error:
        parser.error(str(error))

    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=dm_control_renders, args=(there,), daemon=True)
    worker.start()
    there.close()  # so that a worker that dies ends `recv` with EOFError
    rows = [
        measure(task, suite, options.level, options.blocks, options.frames, here) for task in chosen
    ]
    here.send(None)
    worker.join()

    size = suite.image_size
    text = (
        f"Milliseconds a frame of {size}×{size}, median of {options.blocks * options.frames} "
        f"({machine}).\n\n{table(rows, suite, options.level)}"
    )
    print(text)
    faults = [fault for row in rows for fault in row["faults"]]
    for fault in faults:
        print(fault, file=sys.stderr)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    if options.json:
        record = {"machine": machine, "size": size, "level": options.level, "rows": rows}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
