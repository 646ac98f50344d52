"""How often the regression gate errs, by simulation with the noise of an agent's own rows.

A trial is two sides of made-up rows and one verdict. An episode's score is a mean, plus the offset
of its training seed (normal, of a stated standard deviation), plus what an episode of the suite's
clean rows lies off its run's mean: a stated share of its variance is drawn once for both sides, as
pairing has it, the rest anew for each.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pages
from tqdm import tqdm

from shiftbench import check, results
from shiftbench.check.cells import Comparison
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import CLEAN
from shiftbench.stats import Sides

#: Ten clean episodes of a `pvm-partial` after 41,000 environment steps of `cartpole_balance`. Those
#: of an agent that has learned its task are alike, and make a gate look better than it is.
ROWS = Path(__file__).resolve().with_name("half_trained.csv")

#: Points of score, the tolerance of the gate.
MAX_DROP = 5.0
#: Most trials with a false alarm, without a change and with a drop of the tolerance itself.
MAX_ALARMS = 0.05
#: Fewest trials in which a drop of twice the tolerance is caught; else the gate must have said that
#: what it could have caught is larger.
MIN_CAUGHT = 0.9
#: Share of the episodes' variance that both sides have in common. Over 20 episodes the shipped
#: `pvm-partial` of cartpole_balance had a correlation of 0.43 between clean and texture:mild.
SHARED = 0.4


class Design(NamedTuple):
    """How much is compared, and how it spreads.

    Attributes:
        comparisons: questions that are asked together.
        tasks, seeds, episodes: on how much data each stands.
        spread: standard deviation of the seeds' offsets, drawn for each side, in points; 0 for the
            same checkpoints on both sides.
        shared: share of the episodes' variance that both sides have in common.
    """

    comparisons: int
    tasks: int = 3
    seeds: int = 3
    episodes: int = 10
    spread: float = 0.0
    shared: float = SHARED


#: The design of the goal alone and among others, at several spreads, and one with one seed.
DESIGNS = (
    *(
        Design(comparisons, spread=spread, shared=shared)
        for comparisons in (1, 9)
        for spread, shared in ((0.0, SHARED), (0.0, 0.0), (2.0, SHARED), (5.0, SHARED))
    ),
    Design(1, tasks=1, seeds=1),
)


def episode_noise(rows: Path) -> np.ndarray:
    """Return what episodes of clean runs lie off their run's mean, in points of score, float (n,).

    Stretched so that its variance is the unbiased estimate of the episodes'.
    """
    clean = results.read_rows([rows])
    clean = clean[clean["family"] == CLEAN]
    parts = [
        (run["score"] - run["score"].mean()).to_numpy() * np.sqrt(len(run) / (len(run) - 1))
        for _, run in clean.groupby(["agent", "task", "train_seed"])
        if len(run) > 1
    ]
    if not parts:
        raise ShiftBenchError(f"{rows}: no run has two clean episodes")
    return np.concatenate(parts)


def trial(
    design: Design, drops: np.ndarray, noise: np.ndarray, rng: np.random.Generator
) -> check.Verdict:
    """Judge made-up sides of which comparison i truly drops by ``drops[i]``, float (comparisons,).

    Args:
        design: how much is compared.
        drops: points of score.
        noise: float (n,), what episodes are drawn from.
        rng: source of everything that is drawn.
    """
    shape = (design.seeds, design.episodes)

    def sides(lost: float) -> Sides:
        common = np.sqrt(design.shared) * rng.choice(noise, shape)
        own = np.sqrt(1.0 - design.shared) * rng.choice(noise, (2, *shape))
        offsets = rng.normal(0.0, design.spread, (2, design.seeds, 1))
        baseline, candidate = 50.0 + offsets + common + own
        return Sides(baseline, candidate - lost, True, True)

    tasks = tuple(f"task{index}" for index in range(design.tasks))
    found = [
        Comparison("made-up", f"family{i}", "severe", tasks, tuple(sides(lost) for _ in tasks))
        for i, lost in enumerate(drops)
    ]
    return check.judge(found, max_drop=MAX_DROP)


def measure(design: Design, noise: np.ndarray, trials: int, seed: int) -> dict[str, Any]:
    """Return the error rates of one design.

    ``unchanged`` and ``at_tolerance`` are shares of trials with any false alarm, all comparisons
    dropping by nothing or by the tolerance itself; ``caught`` is the share in which a drop of twice
    the tolerance in the first comparison alone is caught, ``detectable`` the median drop that the
    gate then says it could have caught in 80 % of cases, and ``caught_there`` the share in which
    a drop of that size is.
    """

    def verdicts(drops: np.ndarray) -> list[check.Verdict]:
        return [trial(design, drops, noise, rng) for _ in range(trials)]

    def alarms(drop: float) -> float:
        found = verdicts(np.full(design.comparisons, drop))
        return float(np.mean([verdict.verdict == "regression" for verdict in found]))

    def first(drop: float) -> list[check.Line]:
        found = verdicts(np.eye(1, design.comparisons)[0] * drop)
        return [verdict.lines[0] for verdict in found]

    def caught(lines: list[check.Line]) -> float:
        return float(np.mean([line.verdict == "regression" for line in lines]))

    rng = np.random.default_rng(seed)
    twice = first(2.0 * MAX_DROP)
    detectable = float(np.median([line.detectable for line in twice]))
    return {
        **design._asdict(),
        "unchanged": alarms(0.0),
        "at_tolerance": alarms(MAX_DROP),
        "caught": caught(twice),
        "detectable": detectable,
        "caught_there": caught(first(detectable)),
    }


def failures(found: list[dict[str, Any]], trials: int) -> list[str]:
    """Return which goals are missed; at the tolerance by more than chance (two standard errors)."""
    slack = 2.0 * np.sqrt(MAX_ALARMS * (1.0 - MAX_ALARMS) / trials)
    lines = []
    for row in found:
        where = f"{row['comparisons']} comparisons, seeds ± {row['spread']:g}"
        if row["unchanged"] > MAX_ALARMS:
            lines.append(f"{where}: {row['unchanged']:.1%} false alarms without a change")
        if row["at_tolerance"] > MAX_ALARMS + slack:
            lines.append(f"{where}: {row['at_tolerance']:.1%} false alarms at the tolerance")
        if row["caught"] < MIN_CAUGHT and row["detectable"] <= 2.0 * MAX_DROP - 1.0:
            lines.append(f"{where}: {row['caught']:.1%} caught, and the gate promised more")
    return lines


def report(found: list[dict[str, Any]], noise: np.ndarray, trials: int, rows: str) -> str:
    """Return the table with what it was made from."""
    head = (
        "comparisons; tasks × seeds × episodes", "seeds ±", "shared", "false alarms, no change",
        "… all drop by 5", "one drops by 10: caught", "could catch", "… caught",
    )  # fmt: skip
    lines = [
        (
            f"{row['comparisons']}; {row['tasks']} × {row['seeds']} × {row['episodes']}",
            f"{row['spread']:g}",
            f"{row['shared']:g}",
            *(f"{100 * row[key]:.1f} %" for key in ("unchanged", "at_tolerance", "caught")),
            f"{row['detectable']:.1f}",
            f"{100 * row['caught_there']:.0f} %",
        )
        for row in found
    ]
    return (
        f"{pages.markdown(head, lines)}\n\n{trials:,} trials each, tolerance {MAX_DROP:g}; the "
        f"noise is that of the {len(noise)} clean episodes in `{rows}`, {noise.std():.1f} points."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, help="rows whose clean ones give the noise")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="a page whose section 'errors' is filled")
    options = parser.parse_args()
    if options.trials < 1:
        parser.error("--trials must be at least 1")
    rows = options.rows or ROWS
    try:
        if options.out:
            pages.check(options.out, "errors")
        noise = episode_noise(rows)
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    found = [
        measure(design, noise, options.trials, options.seed)
        for design in tqdm(DESIGNS, file=sys.stderr)
    ]
    name = str(options.rows) if options.rows else f"benchmarks/{ROWS.name}"
    text = report(found, noise, options.trials, name)
    print(text)
    if options.out:
        pages.fill(options.out, "errors", text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    missed = failures(found, options.trials)
    for line in missed:
        print(line, file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
