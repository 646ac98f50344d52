"""How well positions that are read from clean frames are read from shifted ones, by encoder.

    python benchmarks/transfer.py [--out docs/pretraining.md] [--json results.json]

A readout (one hidden layer) is fitted on clean frames of a task, alone or together with the encoder
as the arm says, and tested on other states: the same ones clean and under every shift. All arms see
the same frames equally often, with the same readout, optimiser and schedule. R² is the mean over
the task's positions. Readings are clipped to the range of the positions fitted on, so that no
single frame decides. Intervals are those of the package, over readout seeds and test episodes.

With `--weights NAME=FILE` (repeatable) files stand in place of those of `synth-2`, for example of
several pre-training seeds; arms that do not use them are trained once.

The exit code is 1 where a goal is missed: under every shift, averaged over the tasks, an arm with
`synth-2` is above the arms from scratch without augmented frames, by an interval of 95 % that
excludes 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pages
import torch
from readers import Arm, Reader
from tqdm import tqdm

from shiftbench import bootstrap, seeding, stats
from shiftbench.certify.episodes import EVERY, STEPS
from shiftbench.encoders import synth
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.probe import states
from shiftbench.specs import Shift, get_suite, get_task, load_tasks

SUITE = "mini"
SHIFTS = tuple(f"{name}:severe" for name in ("texture", "lighting", "background", "combined"))
#: What stands for no shift.
CLEAN = "clean"
#: States of a test episode.
LOOKS = STEPS // EVERY

#: Those that are judged, with the weights of `synth-2` or a user's, whose name follows theirs.
PRETRAINED = {
    "synth-2 frozen": Arm("synth-2", "frozen"),
    "synth-2 partial": Arm("synth-2", "partial"),
}
#: Those from scratch that these must be above.
BASELINES = {
    "cnn": Arm("cnn", "scratch"),
    "synth scratch": Arm("synth", "scratch"),
}
#: Those that they are compared with, without a goal.
OTHERS = {
    "synth scratch-aug": Arm("synth", "scratch", "photometric"),
    "synth frozen": Arm("synth", "frozen"),
    "synth partial": Arm("synth", "partial"),
}


class Size(NamedTuple):
    """How much is measured: clean frames fitted on, passes over them, test states, seeds."""

    frames: int
    epochs: int
    states: int
    seeds: int


FULL, QUICK = Size(2000, 16, 200, 3), Size(400, 8, 40, 2)


# -- what is measured ----------------------------------------------------------------------------


def scores(read: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return each episode's share of R², whose mean over the episodes is R².

    Args:
        read: float (N, P), in the order of the episodes.
        true: float (N, P), the positions; those that never vary do not count.

    Returns:
        float64 (N / `LOOKS`,): 1 less the mean squared error in units of each position's variance
        over all N states.
    """
    variance = true.var(0, dtype=np.float64)
    error = np.square(read - true)[:, variance > 0] / variance[variance > 0]
    return 1.0 - error.mean(1).reshape(-1, LOOKS).mean(1)


#: Shift → arm → float (seeds, episodes), of one task.
Table = dict[str, dict[str, np.ndarray]]


def measure(
    name: str, shifts: Sequence[str], arms: dict[str, Arm], size: Size, tick: Callable[[str], Any]
) -> Table:
    """Return the scores of every arm on one task, the clean frames first."""
    suite = get_suite(SUITE)
    task = get_task(name, load_tasks())
    shown = {CLEAN: Shift.clean(), **{text: Shift.one(text) for text in shifts}}
    env = PixelEnv(task, image_size=suite.image_size, render=suite.render)
    try:
        clean = states.draw(env, "transfer fit", 0, size.frames, Shift.clean(), _silent)
        tests = {
            text: states.draw(env, "transfer test", 0, size.states, shift, _silent)
            for text, shift in shown.items()
        }
    finally:
        env.close()
    if any(not np.array_equal(t.positions, tests[CLEAN].positions) for t in tests.values()):
        raise ValueError(f"{name}: the states of clean and shifted frames differ")
    table: dict[str, dict[str, list]] = {text: {arm: [] for arm in arms} for text in tests}
    for label, arm in arms.items():
        for number in range(size.seeds):
            tick(f"{name}, {label}")
            seed = seeding.seed_of("transfer", task.name, arm.encoder, arm.mode, number)
            reader = Reader(arm, clean, size.epochs, seed)
            for text, test in tests.items():
                table[text][label].append(scores(reader.read(test.frames), test.positions))
    return {text: {arm: np.array(own) for arm, own in row.items()} for text, row in table.items()}


def _silent(count: int) -> None:
    """Hear nothing."""


class Goal(NamedTuple):
    """How far one arm is above another under a shift, in R² averaged over the tasks.

    Attributes:
        shift, arm, other: what is compared.
        value, low, high: the difference and its interval of 95 %.
        judged: whether there is a goal.
        tasks: the difference on each task.
    """

    shift: str
    arm: str
    other: str
    value: float
    low: float
    high: float
    judged: bool
    tasks: dict[str, float]

    @property
    def met(self) -> bool:
        return self.low > 0.0


def compare(found: dict[str, Table], pretrained: Sequence[str]) -> list[Goal]:
    """Compare every arm with pre-trained weights with every other one, shift by shift.

    Episodes are paired, seeds are not; the interval is that of the gate (`stats.drop`).
    """
    goals = []
    for shift in next(iter(found.values())):
        if shift == CLEAN:
            continue
        for arm in pretrained:
            for other in (*BASELINES, *OTHERS):
                sides = [
                    stats.Sides(table[shift][arm], table[shift][other], False, True)
                    for table in found.values()
                ]
                apart = stats.drop(sides)
                low = apart.lower(0.025)
                each = [float(s.baseline.mean() - s.candidate.mean()) for s in sides]
                goals.append(
                    Goal(
                        shift, arm, other, apart.value, low, 2.0 * apart.value - low,
                        other in BASELINES, dict(zip(found, each, strict=True)),
                    )
                )  # fmt: skip
    return goals


# -- what is said --------------------------------------------------------------------------------


def report(found: dict[str, Table], goals: Sequence[Goal], pretrained: Sequence[str]) -> str:
    """Return the Markdown: R² of every cell, the mean over tasks, and the differences."""
    first = next(iter(found.values()))
    arms = list(first[CLEAN])
    lines = [
        [task, shift, *(_cell([row[arm]]) for arm in arms)]
        for task, table in found.items()
        for shift, row in table.items()
    ]
    for shift in first:
        means = (np.mean([table[shift][arm].mean() for table in found.values()]) for arm in arms)
        lines.append(["mean over tasks", shift, *(_number(value) for value in means)])
    others = [*BASELINES, *OTHERS]
    apart = {(goal.arm, goal.shift, goal.other): _difference(goal) for goal in goals}
    differences = [
        [arm, shift, *(apart[arm, shift, other] for other in others)]
        for arm in pretrained
        for shift in first
        if shift != CLEAN
    ]
    heads = [f"− {other}" for other in others]
    parts = [
        "R² [95 % interval over readout seeds and test episodes].",
        pages.markdown(["task", "shift", *arms], lines),
        "Differences in R², mean over the tasks [95 % interval]; bold where a goal is missed, no "
        f"goal beside {', '.join(f'`{other}`' for other in OTHERS)}.",
        pages.markdown(["arm", "shift", *heads], differences),
    ]
    return "\n\n".join(parts)


def spread(found: dict[str, Table], names: Sequence[str]) -> str:
    """Return how far the means over tasks differ between files of weights."""
    lines = []
    for arm in PRETRAINED:
        for shift in next(iter(found.values())):
            values = [
                float(np.mean([table[shift][_label(arm, name)].mean() for table in found.values()]))
                for name in names
            ]
            deviation = _number(float(np.std(values, ddof=1)))
            lines.append([arm, shift, *map(_number, values), _number(np.mean(values)), deviation])
    head = ["arm", "shift", *names, "mean", "deviation"]
    return f"R² by weights, mean over the tasks.\n\n{pages.markdown(head, lines)}"


def _cell(group: list[np.ndarray]) -> str:
    low, high = bootstrap.interval(group, stats.mean_of)
    return f"{_number(group[0].mean())} [{_number(low)}, {_number(high)}]"


def _difference(goal: Goal) -> str:
    text = f"{_number(goal.value)} [{_number(goal.low)}, {_number(goal.high)}]"
    return text if goal.met or not goal.judged else f"**{text}**"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def missed(goals: Sequence[Goal]) -> Iterator[str]:
    """Yield a line for every goal that is missed."""
    for goal in goals:
        if goal.judged and not goal.met:
            yield (
                f"{goal.shift}: {goal.arm} is {goal.value:.2f} above {goal.other}, "
                f"from {goal.low:.2f} to {goal.high:.2f}"
            )


def _rows(found: dict[str, Table]) -> list[dict[str, Any]]:
    rows = []
    for task, table in found.items():
        for shift, row in table.items():
            for arm, own in row.items():
                low, high = bootstrap.interval([own], stats.mean_of)
                cell = {"task": task, "shift": shift, "arm": arm, "r2": float(own.mean())}
                seeds = own.mean(1).tolist()
                rows.append(cell | {"low": low, "high": high, "seeds": seeds})
    return rows


# -- the command ---------------------------------------------------------------------------------


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and Path(path).is_file()):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=FILE with a file that exists")
    return name, Path(path)


def _label(arm: str, name: str) -> str:
    return f"{arm}, {name}" if name else arm


def parse() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = get_suite(SUITE).tasks
    parser.add_argument("--task", action="append", choices=tasks, help="repeatable [all of these]")
    parser.add_argument("--shift", action="append", help=f"repeatable [{' '.join(SHIFTS)}]")
    parser.add_argument("--weights", action="append", type=_named, metavar="NAME=FILE",
                        help="weights in place of synth-2's; repeatable")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="sizes for development, below")
    for key, full, quick in zip(Size._fields, FULL, QUICK, strict=True):
        parser.add_argument(f"--{key}", type=int, help=f"[{full}; {quick} with --quick]")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="a page whose section 'transfer' is filled")
    options = parser.parse_args()
    options.task, options.shift = options.task or tasks, options.shift or SHIFTS
    chosen = {key: value for key in Size._fields if (value := getattr(options, key)) is not None}
    options.size = (QUICK if options.quick else FULL)._replace(**chosen)
    if min(options.size) < 1 or options.size.states % LOOKS or options.size.states < 2 * LOOKS:
        parser.error(f"sizes must be at least 1, --states a multiple of {LOOKS} above it")
    names = [name for name, _ in options.weights or []]
    if len(set(names)) < len(names):
        parser.error("--weights: every file needs a name of its own")
    try:
        for text in options.shift:
            Shift.one(text)
        if options.out:
            pages.check(options.out, "transfer")
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    return parser, options


def main() -> int:
    parser, options = parse()
    torch.set_num_threads(1)
    files = dict(options.weights or [("", synth.WEIGHTS["synth-2"])])
    pretrained = {
        _label(arm, name): spec._replace(weights=path)
        for name, path in files.items()
        for arm, spec in PRETRAINED.items()
    }
    arms = {**pretrained, **BASELINES, **OTHERS}
    size, found = options.size, {}
    try:
        total = len(options.task) * len(arms) * size.seeds
        with tqdm(total=total, unit="readout", disable=None) as bar:

            def tick(text: str) -> None:
                bar.set_postfix_str(text)
                bar.update()

            for task in options.task:
                found[task] = measure(task, options.shift, arms, size, tick)
        machine = pages.machine()
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    goals = compare(found, list(pretrained))
    minutes = time.process_time() / 60
    text = (
        f"{machine}; {minutes:.0f} minutes of one core. {size.frames} clean frames fitted on "
        f"{size.epochs} times, {size.states} states of {size.states // LOOKS} episodes, "
        f"{size.seeds} readout seeds.\n\n{report(found, goals, list(pretrained))}"
    )
    if len(files) > 1:
        text += f"\n\n{spread(found, list(files))}"
    print(text)
    if options.out:
        pages.fill(options.out, "transfer", text)
    if options.json:
        record = {
            "machine": machine,
            "minutes": minutes,
            "size": size._asdict(),
            "weights": {name: str(path) for name, path in files.items()},
            "rows": _rows(found),
            "goals": [goal._asdict() | {"met": goal.met} for goal in goals],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    lines = list(missed(goals))
    print("\n".join(lines), file=sys.stderr, end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
