"""Milliseconds a frame: ours, clean and under each family, beside dm_control's own renderer.

    python benchmarks/render.py [--out docs/performance.md] [--json results.json]

Both draw the same states of the same tasks at the same size. dm_control draws in a process of its
own (two renderers in one process spoil each other's frames), and blocks of frames alternate between
ours and its, so that whatever else the machine does hits both. Each block shows another look of
every shift, in another order. Medians over all frames, and over all resets. `peers` says what else
is drawn beside them, `goals` what is asked of them. The exit code is 1 where a goal is missed, a
frame is blank or shows something else than dm_control's, or a reset compiles a model.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import goals
import numpy as np
import pages
import peers
from tqdm import tqdm

from shiftbench import seeding
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import Shift, Suite, Task, get_suite, get_task, load_tasks

#: Least standard deviation of the pixels of a frame that shows something, of 255.
NOT_BLANK = 5.0

#: Least correlation of our clean frame with dm_control's of the same state. They differ by shadows,
#: reflections and smoothed edges.
SAME_SCENE = 0.8

#: States of each block that the other suites' ways are taken with: they are slow.
PEER_FRAMES = 2


def states_of(env: PixelEnv, count: int) -> np.ndarray:
    """Return ``count`` states of a random episode, float64 (count, n)."""
    rng = seeding.rng(seeding.seed_of("benchmark", env.task.name))
    env.reset(seeding.seed_of("benchmark", env.task.name, "episode"))
    states = []
    for _ in range(count):
        env.step(rng.uniform(-1, 1, env.action_dim))
        states.append(env.state())
    return np.array(states)


def reset(env: PixelEnv, shift: Shift, seed: int) -> float:
    """Start an episode after a clean one.

    Returns:
        The seconds from where the scene is made clean, which follows the reset of the physics, to
        the first frame.
    """
    env.reset(0)  # so that nothing has to be put back that another family has edited
    restore, start = env.scene.restore, [0.0]

    def watched() -> None:
        start[0] = time.perf_counter()
        restore()

    env.scene.restore = watched
    try:
        env.reset(0, shift, seed)
        return time.perf_counter() - start[0]
    finally:
        del env.scene.restore


def draw(env: PixelEnv, states: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Return the seconds of each frame and the frames of ``states`` in the present episode."""
    times, frames = [], []
    for t, state in enumerate(states):
        env.physics.set_state(state)
        env.physics.forward()
        env.agent_steps = t + 1
        start = time.perf_counter()
        frames.append(env.draw())
        times.append(time.perf_counter() - start)
    return times, np.array(frames)


def measure(
    task: Task,
    suite: Suite,
    size: int,
    arms: dict[str, Shift],
    counts: tuple[int, int],
    other: Connection,
) -> dict[str, Any]:
    """Measure one task at one size.

    Args:
        task: what is drawn.
        suite: gives the render profile.
        size: height and width of a frame in pixels.
        arms: name → shift; one is called ``clean``.
        counts: blocks, and frames in a block.
        other: the process of `peers.serve`.

    Returns:
        Medians in milliseconds (``ms`` a frame, ``reset_ms`` from the clean scene to the first
        frame, ``change_ms`` what that is more than of a clean episode), frames in clean ones
        (``ratios``), the other suites' ways (``peers``; empty where the arms lack what they are
        compared with), and what is wrong with the frames (``faults``).
    """
    env = PixelEnv(task, image_size=size, render=suite.render)
    models = env.scene.model, env.physics.model.ptr
    states = states_of(env, counts[1])
    order = seeding.rng(seeding.seed_of("benchmark", task.name, "order"))
    compared = {kind: _first(arms, name) for kind, name in _COMPARED.items()}
    beside = all(compared.values())
    seconds: dict[str, list[float]] = defaultdict(list)
    resets: dict[str, list[float]] = defaultdict(list)
    edits: dict[str, list[float]] = defaultdict(list)
    faults: list[str] = []
    for block in range(-1, counts[0]):  # the first one warms up
        frames, times = {}, {}
        for name in order.permutation(list(arms)).tolist():
            took = reset(env, arms[name], seeding.seed_of("benchmark", name, block + 1))
            times[name], frames[name] = draw(env, states)
            if block >= 0:
                resets[name].append(took)
        for asked in (False, True) if beside else (False,):
            other.send((task, size, states[:PEER_FRAMES] if asked else states, asked))
            drawn = other.recv()
            times |= drawn.seconds
            frames |= drawn.frames
            for name, found in drawn.edits.items():
                edits[name] += found if block >= 0 else []
        for name, found in times.items():
            seconds[name] += found if block >= 0 else []
        faults += _faults(frames)
    if models != (env.scene.model, env.physics.model.ptr):
        faults.append("a reset compiled a model")
    env.close()
    ms, reset_ms, edit_ms = (
        {name: 1e3 * float(np.median(found)) for name, found in kind.items()}
        for kind in (seconds, resets, edits)
    )
    shifts = [name for name in arms if name != "clean"]
    ways = [*peers.BACKGROUNDS, *peers.RESETS]
    found = {**compared, "ms": {n: ms[n] for n in ways}, "edit_ms": edit_ms} if beside else {}
    return {
        "task": task.name,
        "size": size,
        "ms": {name: ms[name] for name in ("dm_control", *arms)},
        "reset_ms": reset_ms,
        "change_ms": {name: reset_ms[name] - reset_ms["clean"] for name in shifts},
        "speedup": ms["dm_control"] / ms["clean"],
        "ratios": {name: ms[name] / ms["clean"] for name in shifts},
        "peers": found,
        "faults": [f"{task.name} at {size} px: {fault}" for fault in dict.fromkeys(faults)],
    }


#: What the other suites' ways are compared with → the family of ours that does the same.
_COMPARED = {"frame": "background", "reset": "texture"}


def _first(arms: dict[str, Shift], family: str) -> str:
    """Return the first arm of a family, or an empty text."""
    return next((name for name, shift in arms.items() if shift.family == family), "")


def _faults(frames: dict[str, np.ndarray]) -> list[str]:
    """Return what is wrong with the frames of one block, in words."""
    faults = [
        f"a frame of '{name}' is blank"
        for name, images in frames.items()
        if images.std(axis=(1, 2, 3)).min() < NOT_BLANK
    ]
    alike = np.corrcoef(frames["clean"].ravel(), frames["dm_control"].ravel())[0, 1]
    if alike < SAME_SCENE:
        faults.append(f"our frames correlate {alike:.2f} with dm_control's")
    faults += [
        f"'{name}' changes nothing"
        for name in frames.keys() & {*peers.BACKGROUNDS, *peers.RESETS}
        if (frames[name] == frames["dm_control"][: len(frames[name])]).all()
    ]
    return faults


def arms_of(suite: Suite, levels: list[str]) -> dict[str, Shift]:
    """Return what is drawn, by name: ``clean`` and every family of the suite at the levels.

    Raises:
        ShiftBenchError: an unknown level.
    """
    arms = {"clean": Shift.clean()}
    for level in levels:
        for family in suite.families:
            arms[f"{family}:{level}"] = Shift.parse(f"{family}:{level}", suite, "--level")[0]
    return arms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="core", help="tasks, families and render profile")
    parser.add_argument("--task", action="append", help="repeatable; default: all of the suite")
    parser.add_argument("--level", action="append", help="repeatable; default: severe, extreme")
    parser.add_argument("--size", type=int, action="append", help="repeatable; default: 64, 84")
    parser.add_argument("--blocks", type=int, default=20, help="blocks, each with other looks")
    parser.add_argument("--frames", type=int, default=10, help="frames of each arm in a block")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="a page whose section 'render' is filled")
    options = parser.parse_args()
    sizes = options.size or [64, 84]
    if min(options.blocks, options.frames) < 1:
        parser.error("--blocks and --frames must be at least 1")
    try:
        suite = get_suite(options.suite)
        arms = arms_of(suite, options.level or ["severe", "extreme"])
        if sum(shift.is_clean for shift in arms.values()) > 1:
            parser.error(f"--level none: one of {', '.join(suite.levels)}, not none")
        tasks = load_tasks()
        chosen = [get_task(name, tasks) for name in options.task or suite.tasks]
        if options.out:
            pages.check(options.out, "render")
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))

    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=peers.serve, args=(there,), daemon=True)
    worker.start()
    there.close()  # so that a worker that dies ends `recv` with EOFError
    try:
        # Only now: what our own OpenGL context wants of the environment is not to reach the worker.
        machine = pages.machine()
    except ShiftBenchError as error:
        parser.error(str(error))
    counts = options.blocks, options.frames
    pairs = [(task, size) for size in sizes for task in chosen]
    rows = []
    try:
        for task, size in tqdm(pairs, unit="task", disable=None):
            rows.append(measure(task, suite, size, arms, counts, here))
    except ShiftBenchError as error:
        parser.error(str(error))
    here.send(None)
    worker.join()

    judged = goals.judge(rows)
    text = (
        f"Suite `{suite.id}`; medians of {counts[0] * counts[1]} frames and {counts[0]} resets, "
        f"each with a look of its own ({machine}).\n\n{goals.report(rows, judged)}"
    )
    print(text)
    faults = [fault for row in rows for fault in row["faults"]]
    for fault in faults:
        print(fault, file=sys.stderr)
    if options.out:
        pages.fill(options.out, "render", text)
    if options.json:
        found = [goal._asdict() for goal in judged]
        record = {"machine": machine, "suite": suite.id, "rows": rows, "goals": found}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(bool(faults) or not all(goal.met for goal in judged))


if __name__ == "__main__":
    sys.exit(main())
