"""What it saves to keep freed memory while an agent learns, as `shiftbench.allocator` does.

    python benchmarks/freed.py [--out docs/performance.md] [--json results.json]

A process that keeps it and one that does not, each with its own networks and replay, do the updates
of one agent by turns, on one thread and by the clock. The ratio is the median of the rounds'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import pages
from beside import Learners, updates
from cache import scratch_folder
from tqdm import tqdm

from shiftbench.errors import ShiftBenchError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", default="scratch", help="[scratch]")
    parser.add_argument("--size", default="xs", help="[xs]")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--seconds", type=float, default=10.0, help="a process's in a round [10]")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="a page whose section 'freed' is filled")
    options = parser.parse_args()
    if options.rounds < 1 or not options.seconds >= 0.0:
        parser.error("--rounds must be at least 1, --seconds at least 0")
    found: dict[bool, list[dict]] = {True: [], False: []}
    try:
        if options.out:
            pages.check(options.out, "freed")
        for _ in tqdm(range(options.rounds), unit="round", leave=False, disable=None):
            for kept, rounds in found.items():
                what = Learners(options.agent, options.size, "cpu", kept=kept)
                with scratch_folder() as folder:
                    rounds.append(updates(what, 1, options.seconds, folder))
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    ratios = [
        given["ms"] / kept["ms"] for kept, given in zip(found[True], found[False], strict=True)
    ]
    lines = [
        [
            "kept" if kept else "given back",
            *(f"{statistics.median(one[key] for one in rounds):,.0f}" for key in ("ms", "faults")),
        ]
        for kept, rounds in found.items()
    ]
    text = (
        f"{pages.machine()}; `{options.agent}` `{options.size}`, one thread, {options.rounds} "
        f"rounds.\n\n{pages.markdown(['freed memory', 'ms an update', 'page faults'], lines)}\n\n"
        f"Kept, an update takes {statistics.median(ratios):.2f} times less time "
        f"({min(ratios):.2f} to {max(ratios):.2f})."
    )
    print(text)
    if options.out:
        pages.fill(options.out, "freed", text)
    if options.json:
        named = {"kept" if kept else "given back": rounds for kept, rounds in found.items()}
        record = {"machine": pages.machine(), **named}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
