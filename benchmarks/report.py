"""What a report of very many rows costs, and whether that grows with the rows.

    python benchmarks/report.py [--out docs/report.md] [--json results.json]

`shiftbench report --html` reads made-up rows of eight agents on ten tasks under nine families at
four levels, with ever more training seeds and episodes, in a process of its own on at most two
cores. The exit code is 1 where the largest report takes more than `MAX_SECONDS` or `MAX_GIGABYTES`,
or where a further row costs more than `MAX_GROWTH` times what it does in the smaller one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pandas as pd

from shiftbench.specs import CLEAN, get_suite

#: Rows → training seeds and episodes of each cell; there are 8 × 10 × 37 cells.
SIZES = {10_000: (1, 3), 100_000: (3, 11), 1_000_000: (10, 34)}
AGENTS = (
    "scratch", "scratch-aug", "pvm-frozen", "pvm-partial", "pvm-full", "pvm-lowlr", "pvm-lora",
    "random",
)  # fmt: skip
MAX_SECONDS, MAX_GIGABYTES, MAX_GROWTH = 60.0, 2.0, 1.5
CORES = 2


def rows(seeds: int, episodes: int) -> pd.DataFrame:
    """Return made-up rows of suite ``core`` with every column that a run would write."""
    suite = get_suite("core")
    shifts = [(CLEAN, CLEAN, 0.0)] + [(s.family, s.level, s.severity) for s in suite.shifts()
                                      if not s.is_clean]  # fmt: skip
    rng = np.random.default_rng(0)
    cells = list(itertools.product(AGENTS, suite.tasks, shifts, range(seeds)))
    table = pd.DataFrame(
        [(agent, task, *shift, seed) for agent, task, shift, seed in cells],
        columns=["agent", "task", "family", "level", "severity", "train_seed"],
    )
    ability = {agent: 80.0 - 9.0 * place for place, agent in enumerate(AGENTS)}
    table["score"] = table["agent"].map(ability) * (1.0 - 0.8 * table["severity"])
    table["score"] += rng.normal(0.0, 5.0, len(table))
    table = table.loc[table.index.repeat(episodes)].reset_index(drop=True)
    table["episode"] = np.tile(np.arange(episodes), len(cells))
    table["score"] += rng.normal(0.0, 8.0, len(table))
    table["return"] = 10.0 * table["score"]
    return table.assign(
        schema=1, suite=suite.name, suite_version=suite.version, task_version=1, length=1000,
        image_size=suite.image_size, render=suite.render, train_steps=60_000, checkpoint="ab" * 32,
        shift_hash=table["family"].where(table["family"] != CLEAN, "").str[:12],
        shiftbench="0.1.0", mujoco="3.17.0", dm_control="1.0.50", torch="2.13.0",
        python="3.11.7", gl="egl", device="cpu", commit="cd" * 20,
    )  # fmt: skip


def measure(file: Path, out: Path) -> dict[str, float]:
    """Report ``file`` in a process of its own; seconds and gigabytes (10^9 bytes)."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "shiftbench", "report", file, "--out", out, "--html", out],
        stdout=subprocess.DEVNULL,
        preexec_fn=_two_cores if hasattr(os, "sched_setaffinity") else None,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "shiftbench report")
    unit = 1024 if sys.platform == "linux" else 1
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "gigabytes": used.ru_maxrss * unit / 1e9,
        "page_megabytes": (out / "index.html").stat().st_size / 1e6,
    }


def _two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def judge(found: list[dict[str, Any]]) -> list[str]:
    """Return one line for each goal that the largest report misses."""
    largest = found[-1]
    missed = [
        f"{largest['rows']:,} rows: {largest[name]:.1f} {name}, allowed are {limit:g}"
        for name, limit in (("seconds", MAX_SECONDS), ("gigabytes", MAX_GIGABYTES))
        if largest[name] > limit
    ]
    # What a report costs whatever its rows is taken away: only differences are compared.
    costs = [
        (b["cpu_seconds"] - a["cpu_seconds"]) / (b["rows"] - a["rows"])
        for a, b in itertools.pairwise(found)
    ]
    if any(later > MAX_GROWTH * earlier for earlier, later in itertools.pairwise(costs)):
        each = ", then ".join(f"{1e6 * cost:.1f}" for cost in costs)
        missed.append(f"a further row costs {each} µs: more than {MAX_GROWTH:g} times as much")
    return missed


def markdown(found: list[dict[str, Any]]) -> str:
    """Return what was measured as Markdown."""
    head = ("rows", "s", "processor s", "GB of memory", "MB of page")
    names = ("seconds", "cpu_seconds", "gigabytes", "page_megabytes")
    lines = [[f"{entry['rows']:,}", *(f"{entry[name]:.1f}" for name in names)] for entry in found]
    missed = judge(found)
    verdict = f"**Missed**: {'; '.join(missed)}" if missed else "Met"
    goal = (
        f"Goal: {MAX_SECONDS:g} s and {MAX_GIGABYTES:g} GB for the last line on {CORES} cores, and "
        f"a cost that grows with the rows. {verdict}."
    )
    return "\n\n".join([f"On {pages.machine()}.", pages.markdown(head, lines), goal])


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, help="page whose section is filled")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    parser.add_argument("--rows", type=int, action="append", choices=SIZES, help="[default: all]")
    options = parser.parse_args()
    if options.out:
        try:
            pages.check(options.out, "report: benchmarks/report.py")
        except ValueError as error:
            parser.error(str(error))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.rows or SIZES:
            file = Path(folder) / "rows.csv"
            made = rows(*SIZES[size])
            made.to_csv(file, index=False)
            count = len(made)
            del made
            found.append({"rows": count, **measure(file, Path(folder) / "out")})
            print(json.dumps(found[-1]), file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    if options.out:
        pages.fill(options.out, "report: benchmarks/report.py", markdown(found))
    print(markdown(found))
    return int(bool(judge(found)))


if __name__ == "__main__":
    sys.exit(main())
