"""What an update of our learner takes, beside TorchRL's own parts put together plainly.

    python benchmarks/learner.py [--out docs/performance.md] [--json results.json]
    python benchmarks/learner.py --threads 2 [--agent scratch] [--out docs/performance.md]

Both learners have the same networks, first weights, trainable parts of the encoder, batches,
horizons and optimiser (``recipe.py``). They differ in how an update is computed, in the decoder,
and in that ours stores what frozen blocks give for a frame. TorchRL's learner is timed with its own
decoder, of the encoder's depth, which is what the goal is about, and with ours, which says what
the decoder's share of the difference is.

All of a case's learners do updates in turn, block by block, so that whatever else the machine does
hits all. It is the time of the processor, on one thread, so that it matters little what else that
is; with `--threads` it is the time that passes on so many, which asks for an idle machine. A ratio
is the median over blocks of the ratio within a block. TorchRL's learner is eager; where there is a
goal, ours is also timed compiled (`--compile`), against TorchRL's with our decoder.

Where there is a CUDA device the milliseconds of an update there are said as well, ours also
compiled, with products in float32 and in bfloat16 (`--precision`), and those of several runs side
by side with the GPU's use (`beside.py`). `--beside 2` times runs side by side on a CPU.

The exit code is 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pages
import torch
from beside import Learners, updates
from cache import CACHED, HELD, begin, fill, replay_of, scratch_folder, seconds
from recipe import TorchRL
from tqdm import tqdm

from shiftbench import seeding
from shiftbench.accounting import naming_compiler
from shiftbench.agents import resolve
from shiftbench.agents.config import SIZES, Config
from shiftbench.errors import ShiftBenchError

#: The agents that are timed, and how many times faster than TorchRL's learner each must be.
AGENTS = {"scratch": 1.5, "pvm-frozen": 0.0, "pvm-partial": 0.0, "pvm-full": 0.0}
#: What is timed on the processor, and "compiled" where there is a goal.
ARMS = ("ours", "torchrl", "our decoder")
#: The arms that compile, and the precision of each.
PRECISION = {"compiled": "float32", "compiled, bfloat16": "bfloat16"}
ON_CUDA_ARMS = ("ours", "torchrl", *PRECISION)
#: Updates of a case that are timed on a CUDA device, after as many that warm up.
ON_CUDA = 20
#: Runs side by side on a CUDA device, and seconds for which they are watched.
BESIDE, WATCHED = 8, 20.0


def learners(
    name: str, size: str, folder: Path, device: str, arms: Sequence[str] = ARMS
) -> dict[str, Callable[[], Any]]:
    """Return what does one update of each learner; each has networks and a replay of its own."""
    work = {}
    for arm in arms:
        peer = arm in ("torchrl", "our decoder")
        agent = begin(resolve(name, size=size, precision=PRECISION.get(arm)), device)
        replay = replay_of(agent, folder / arm, HELD, None if peer else CACHED)
        fill(agent, replay, HELD)
        if arm in PRECISION:
            agent.compile()
        learner: Any = TorchRL(agent, ours=arm == "our decoder") if peer else agent
        rng = seeding.rng(0)
        work[arm] = lambda learner=learner, replay=replay, rng=rng: learner.learn(replay, rng)
    return work


def measure(
    name: str,
    size: str,
    blocks: int,
    least: float,
    folder: Path,
    eager: bool = False,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """Return medians of the seconds of an update of each learner, and the ratios to ours."""
    compiled = ("compiled",) if AGENTS[name] and not eager else ()
    work = learners(name, size, folder, "cpu", (*ARMS, *compiled))
    with naming_compiler():
        for once in work.values():  # warms up
            once()
    times: dict[str, list[float]] = {arm: [] for arm in work}
    for _ in tqdm(range(blocks), desc=f"{name} {size}", unit="block", leave=False, disable=None):
        for arm, once in work.items():
            times[arm].append(seconds(once, least, clock))
    ratios = {arm: np.divide(times[arm], times["ours"]) for arm in ("torchrl", "our decoder")}
    bare = np.array(times["our decoder"])
    return {
        "agent": name,
        "size": size,
        "goal": AGENTS[name],
        "seconds": {arm: float(np.median(values)) for arm, values in times.items()},
        "speedup": float(np.median(ratios["torchrl"])),
        "speedup_of_blocks": ratios["torchrl"].tolist(),
        "speedup_with_our_decoder": float(np.median(ratios["our decoder"])),
        "speedup_compiled": float(np.median(bare / times["compiled"])) if compiled else None,
    }


def milliseconds(name: str, size: str, folder: Path) -> dict[str, float]:
    """Return the milliseconds of an update of each learner on the CUDA device."""
    found = {}
    for arm, once in learners(name, size, folder, "cuda", ON_CUDA_ARMS).items():
        for timed in (False, True):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(ON_CUDA):
                once()
            torch.cuda.synchronize()
            if timed:
                found[arm] = 1e3 * (time.perf_counter() - start) / ON_CUDA
    return found


def table(rows: list[dict[str, Any]]) -> str:
    head = [
        "agent and size", "updates/s", "TorchRL", "faster", "goal", "blocks", "with our decoder",
        "faster", "faster, ours compiled",
    ]  # fmt: skip
    cuda = "cuda_ms" in rows[0]
    head += ["CUDA, ms an update", "TorchRL", *PRECISION] if cuda else []
    lines = []
    for row in rows:
        spent, each = row["seconds"], row["speedup_of_blocks"]
        line = [
            f"{row['agent']} {row['size']}", f"{1 / spent['ours']:.2f}",
            f"{1 / spent['torchrl']:.2f}", f"{row['speedup']:.2f}×",
            f"≥ {row['goal']:g}×" if row["goal"] else "–", f"{min(each):.2f} to {max(each):.2f}",
            f"{1 / spent['our decoder']:.2f}", f"{row['speedup_with_our_decoder']:.2f}×",
            f"{row['speedup_compiled']:.2f}×" if row["speedup_compiled"] else "–",
        ]  # fmt: skip
        line += [f"{row['cuda_ms'][arm]:.1f}" for arm in ON_CUDA_ARMS] if cuda else []
        lines.append(line)
    return pages.markdown(head, lines)


def side_by_side(
    name: str, size: str, device: str, count: int, watched: float, folder: Path
) -> list[dict[str, Any]]:
    """Return what `updates` says of one run and of ``count``, plain and on a GPU compiled too."""
    found = []
    for compiled in (False, True) if device == "cuda" else (False,):
        what = Learners(name, size, device, compiled)
        for runs in dict.fromkeys((1, count)):
            at = folder / f"{compiled}-{runs}"
            found.append({**what._asdict(), **updates(what, runs, watched, at)})
    return found


def table_beside(found: list[dict[str, Any]]) -> str:
    head = ["agent and size", "runs", "ms an update of each", "updates/s of all", "GPU use"]
    lines = []
    for row in found:
        where = row["device"] + (", compiled" if row["compiled"] else "")
        use = "–" if row["use"] is None else f"{row['use']:.0f} %"
        lines.append([
            f"{row['name']} {row['size']} ({where})", f"{row['runs']}", f"{row['ms']:.1f}",
            f"{row['per_second']:.2f}", use,
        ])  # fmt: skip
    return pages.markdown(head, lines)


def missed(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for every goal that is missed."""
    for row in rows:
        if row["speedup"] < row["goal"]:
            yield (
                f"{row['agent']} {row['size']}: {row['speedup']:.2f} times TorchRL's updates, "
                f"the goal is {row['goal']:g}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", action="append", choices=list(AGENTS),
                        help="repeatable; default: all")  # fmt: skip
    parser.add_argument("--size", action="append", choices=list(SIZES),
                        help="repeatable; default: xs and s, with CUDA s and m")  # fmt: skip
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each case [5]")
    parser.add_argument("--seconds", type=float, default=2.0,
                        help="a learner's in a block, at least one update [2]")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1,
                        help="of each; with more than one, time that passes [1]")  # fmt: skip
    parser.add_argument("--eager", action="store_true",
                        help="leave out our compiled learner, on a CPU")  # fmt: skip
    parser.add_argument("--beside", type=int,
                        help=f"runs side by side [{BESIDE} on CUDA, else 0: none]")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path,
                        help="page with a section learner or learner-threads to fill")  # fmt: skip
    options = parser.parse_args()
    if options.blocks < 1 or not options.seconds >= 0.0:
        parser.error("--blocks must be at least 1, --seconds at least 0")
    if options.beside is not None and options.beside < 0:
        parser.error("--beside must be at least 0")
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    torch.set_num_threads(options.threads)
    clock, section, what = time.process_time, "learner", "processor time of one thread"
    if options.threads > 1:
        clock, section = time.perf_counter, "learner-threads"
        what = f"time that passes, {options.threads} threads"
    on_cuda = torch.cuda.is_available()
    runs = options.beside if options.beside is not None else BESIDE * on_cuda
    rows, beside = [], []
    try:
        if options.out:
            pages.check(options.out, section)
        for size in dict.fromkeys(options.size or (("s", "m") if on_cuda else ("xs", "s"))):
            for name in dict.fromkeys(options.agent or AGENTS):
                with scratch_folder() as folder:
                    at = folder / "cpu"
                    row = measure(
                        name, size, options.blocks, options.seconds, at, options.eager, clock
                    )
                    if on_cuda:
                        row["cuda_ms"] = milliseconds(name, size, folder / "cuda")
                    if runs:
                        device = "cuda" if on_cuda else "cpu"
                        beside += side_by_side(name, size, device, runs, WATCHED, folder)
                rows.append(row)
        machine = pages.machine()
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    text = (
        f"{machine}; {what}, {Config().batch} × {Config().length} frames an "
        f"update, {options.blocks} blocks.\n\n{table(rows)}"
    )
    if beside:
        text += f"\n\nRuns side by side, one thread each:\n\n{table_beside(beside)}"
    print(text)
    if options.out:
        pages.fill(options.out, section, text)
    if options.json:
        record = {"machine": machine, "rows": rows, "beside": beside}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    lines = list(missed(rows))
    print("\n".join(lines), file=sys.stderr, end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
