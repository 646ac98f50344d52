"""What the cache of frozen activations saves in time, and takes in memory.

    python benchmarks/cache.py [--out docs/performance.md] [--json results.json]

*Time.* One agent does updates from two replays of the same frames, one with the cache and one
without, in turn, block by block, so that whatever else the machine does hits both. It is the time
of the processor, on one thread, so that it matters little what else that is. A ratio is the median
over blocks of the ratio within a block, and it is one of whole updates. What of an update is the
encoder's is measured beside it: the rest, which no cache can save, limits the ratio. Weights of
timm models are random files, made on the spot and loaded as real ones are.

*Memory.* A process a mode fills a replay with `--frames` frames, reads sequences all over it and
does updates. Pages of the files' maps that lie in main memory are counted apart, by the kernel's
own account of the process (Linux alone has one); it takes them back when others need room.

The exit code is 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pages
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from shiftbench import device_replay, feature_cache, finetune, seeding
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.encoders import TIMM
from shiftbench.errors import ShiftBenchError
from shiftbench.replay import Replay
from shiftbench.specs import AgentSpec, get_task, load_tasks

#: Height and width of the frames in pixels.
SIZE = 64
#: Seconds after which no other block of a case is begun.
MOST = 30.0
#: Frames of the replays that updates are timed on.
HELD = 40
#: Megabytes for their cache of frozen activations, more than it needs.
CACHED = 1000


class Case(NamedTuple):
    """What is timed, and how many times faster it must be with the cache, 0 for no goal."""

    encoder: str
    mode: str
    goal: float = 0.0
    blocks: int | None = None

    @property
    def name(self) -> str:
        return f"{self.encoder} {self.mode}" + (f" {self.blocks}" if self.blocks else "")


CASES = (
    Case("timm:convnext_atto", "partial", 3.0),
    Case("timm:convnext_atto", "partial", blocks=2),
    Case("timm:vit_small_patch14_dinov2", "frozen", 10.0),
    Case("synth", "frozen"),
    Case("synth", "partial"),
)
SCRATCH = Case("cnn", "scratch")
#: Least updates a second of `synth` frozen with the cache, in those of `scratch`.
MIN_SCRATCH = 1.0


def spec_of(case: Case, folder: Path) -> AgentSpec:
    """Return the agent of a case; weights that a timm model needs are drawn into ``folder``."""
    options = {"finetune_blocks": case.blocks} if case.blocks else {}
    weights = ""
    if case.encoder.startswith(TIMM) and finetune.MODES[case.mode].pretrained:
        from shiftbench.encoders.timm_models import timm

        name = case.encoder.removeprefix(TIMM)
        path = folder / f"{name}.safetensors"
        if not path.exists():
            torch.manual_seed(0)
            save_file(timm.create_model(name).state_dict(), path)
        weights = str(path)
    return AgentSpec("timed", "dreamer", case.encoder, case.mode, weights, options=options)


def begin(spec: AgentSpec, device: str = "cpu") -> DreamerAgent:
    """Return an agent of the real size, ready to learn."""
    agent = DreamerAgent(spec, get_task("cartpole_balance", load_tasks()), 1, SIZE, device=device)
    agent.begin(0)
    return agent


def replay_of(agent: DreamerAgent, folder: Path, capacity: int, budget: int | None) -> Replay:
    """Return an empty replay, with the cache where a budget in megabytes is given for it."""
    replay = device_replay.make(agent, folder, capacity, capacity)
    if budget is not None:
        cache = feature_cache.make(budget, agent, folder, capacity, capacity, quiet=True)
        if cache is not None:
            replay.use(cache, agent.activations)
    return replay


def fill(agent: DreamerAgent, replay: Replay, count: int) -> None:
    """Add ``count`` random frames, out of 32, with their activations."""
    rng = seeding.rng(0)
    frames = rng.integers(0, 256, (32, SIZE, SIZE, 3), dtype=np.uint8)
    rows = agent.activations(frames) if replay.cache else None
    config = agent.config
    state, belief = np.zeros(config.categoricals), np.zeros(config.belief)
    for i in tqdm(range(count), unit="frame", leave=False, disable=None if count > HELD else True):
        extra = {} if rows is None else {"activations": rows[i % 32]}
        replay.add(
            pixels=frames[i % 32], action=0.1, reward=0.5, first=False, terminal=False,
            state=state, belief=belief, **extra,
        )  # fmt: skip


# -- time ----------------------------------------------------------------------------------------


def seconds(
    work: Callable[[], Any], least: float = 1.0, clock: Callable[[], float] = time.process_time
) -> float:
    """Return the seconds of ``clock`` that ``work`` takes, as often as fills ``least`` seconds."""
    start, count = clock(), 0
    while count == 0 or clock() - start < least:
        work()
        count += 1
    return (clock() - start) / count


def encoder_part(agent: DreamerAgent, replay: Replay) -> Callable[[], None]:
    """Return the encoder's work in one update from a replay with the cache."""
    sample, _ = replay.sample(agent.config.batch, agent.config.length, seeding.rng(0))
    activations, acting = sample["activations"], agent.model.acting

    def work() -> None:
        acting.embed(activations, agent.model.cut).sum().backward()
        agent.optimizer.zero_grad()

    return work


def measure(case: Case, blocks: int, folder: Path) -> dict[str, Any]:
    """Return medians of the seconds of an update and its parts, and the ratios."""
    agent = begin(spec_of(case, folder))
    with_cache = replay_of(agent, folder / f"{case.name} with", HELD, 1000)
    without = replay_of(agent, folder / f"{case.name} without", HELD, None)
    if with_cache.cache is None:
        raise ValueError(f"{case.name}: there is no cache; is the disk of {folder} full?")
    arms = {"with": (agent, with_cache), "without": (agent, without)}
    if case == Case("synth", "frozen"):
        scratch = begin(spec_of(SCRATCH, folder))
        arms["scratch"] = (scratch, replay_of(scratch, folder / "scratch", HELD, None))
    for learner, replay in arms.values():
        fill(learner, replay, HELD)
    rng = seeding.rng(0)
    work = {arm: lambda pair=pair: pair[0].learn(pair[1], rng) for arm, pair in arms.items()}
    work["encoder"] = encoder_part(agent, with_cache)
    for arm in ("with", "encoder"):  # warms up
        work[arm]()
    times = {arm: np.array([]) for arm in work}
    for _ in tqdm(range(blocks), desc=case.name, unit="block", leave=False, disable=None):
        if sum(map(sum, times.values())) > MOST:
            break
        for arm, once in work.items():
            times[arm] = np.append(times[arm], seconds(once))
    middle = {arm: float(np.median(values)) for arm, values in times.items()}
    rest = middle["with"] - middle["encoder"]
    found = {
        "case": case.name,
        "goal": case.goal,
        "seconds": middle,
        "speedup": float(np.median(times["without"] / times["with"])),
        # Updates differ in the encoder's work alone.
        "encoder_without": middle["without"] - rest,
        "encoder_speedup": (middle["without"] - rest) / middle["encoder"],
        "kilobytes_per_frame": 2 * agent.model.cut.size / 1e3,
    }
    if "scratch" in times:
        found["of_scratch"] = float(np.median(times["scratch"] / times["with"]))
    return found


# -- memory --------------------------------------------------------------------------------------


def resident(names: str) -> float:
    """Return the megabytes of this process's maps of files, by a pattern of their names."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = bool(re.search(rf"/{names}$", line))
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total * 1024 / 1e6


def status(key: str) -> float:
    """Return a number of megabytes from the kernel's account of this process."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / 1e6


def memory_of(mode: str, frames: int, budget: int, updates: int, folder: Path) -> dict[str, Any]:
    """Return the peaks in megabytes of one mode, in a process that has done nothing else."""
    agent = begin(spec_of(SCRATCH if mode == "scratch" else Case("synth", mode), folder))
    replay = replay_of(agent, folder / "replay", frames, budget)
    before = status("VmRSS")
    fill(agent, replay, frames)
    rng = seeding.rng(1)
    peaks = {"activations": 0.0, "frames": 0.0, "private": 0.0}
    for i in range(50 + updates):
        if i < 50:  # reads several times what a budget may hold
            replay.sample(64, 16, rng)
        else:
            agent.learn(replay, rng)
        now = resident("activations.bin"), resident(r"\w+\.bin"), status("RssAnon")
        now = now[0], now[1] - now[0], now[2]
        peaks = {key: max(peaks[key], value) for key, value in zip(peaks, now, strict=True)}
    stored = 2 * agent.model.cut.size * frames / 1e6 if replay.cache else 0.0
    return {"mode": mode, "before": before, "stored": stored, "peak": status("VmHWM"), **peaks}


def in_a_process(mode: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what `memory_of` finds in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", mode, "--frames", str(options.frames)]
    command += ["--budget", str(options.budget), "--updates", str(options.updates)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


# -- what is said --------------------------------------------------------------------------------


def speed_table(rows: list[dict[str, Any]]) -> str:
    head = (
        "encoder and mode", "updates/s with", "without", "faster", "goal", "encoder ms with",
        "without", "faster", "all else, ms", "kB a frame",
    )  # fmt: skip
    lines = []
    for row in rows:
        spent, goal = row["seconds"], f"≥ {row['goal']:g}×" if row["goal"] else "–"
        lines.append([
            row["case"], f"{1 / spent['with']:.2f}", f"{1 / spent['without']:.2f}",
            f"{row['speedup']:.2f}×", goal, f"{1e3 * spent['encoder']:.0f}",
            f"{1e3 * row['encoder_without']:.0f}", f"{row['encoder_speedup']:.1f}×",
            f"{1e3 * (spent['with'] - spent['encoder']):.0f}", f"{row['kilobytes_per_frame']:.1f}",
        ])  # fmt: skip
    text = pages.markdown(head, lines)
    for row in rows:
        if "of_scratch" in row:
            text += (
                f"\n\n`{row['case']}` with the cache does {row['of_scratch']:.2f} times the "
                f"updates of `scratch`, {1 / row['seconds']['scratch']:.2f} a second (goal: at "
                f"least {MIN_SCRATCH:g} times)."
            )
    return text


def memory_table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    head = (
        "mode", "activations on disk", "of them in memory", "frames and all else mapped",
        "private memory", "peak of all",
    )  # fmt: skip
    keys = ("stored", "activations", "frames", "private", "peak")
    lines = [[row["mode"], *(f"{row[key]:.0f}" for key in keys)] for row in rows]
    return (
        f"Megabytes at most, with {options.frames:,} frames in replay and `--feature-cache "
        f"{options.budget}`, which the third column must stay under:\n\n"
        f"{pages.markdown(head, lines)}"
    )


def missed(speed: list[dict], memory: list[dict], budget: int) -> Iterator[str]:
    """Yield a line for every goal that is missed."""
    for row in speed:
        if row["speedup"] < row["goal"]:
            yield f"{row['case']}: {row['speedup']:.2f} times faster, the goal is {row['goal']:g}"
        times = row.get("of_scratch", MIN_SCRATCH)
        if times < MIN_SCRATCH:
            yield f"{row['case']}: {times:.2f} times scratch, the goal is {MIN_SCRATCH:g}"
    for row in memory:
        held = row["activations"]
        if held > budget:
            yield f"{row['mode']}: {held:.0f} MB of activations in memory, the budget is {budget}"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="shiftbench-") as folder:
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [case.name for case in CASES]
    parser.add_argument("--case", action="append", choices=names, help="repeatable; default: all")
    parser.add_argument("--blocks", type=int, default=3, help="blocks of each case [3]")
    parser.add_argument("--frames", type=int, default=100_000, help="in replay [100000]")
    parser.add_argument("--budget", type=int, default=256, help="megabytes for the cache [256]")
    parser.add_argument("--updates", type=int, default=10, help="of the memory test [10]")
    parser.add_argument("--no-memory", action="store_true", help="measure time alone")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="a page whose section 'cache' is filled")
    parser.add_argument("--memory-of", choices=list(finetune.MODES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.blocks, options.budget, options.updates) < 1 or options.frames < 1100:
        parser.error("--blocks, --budget and --updates must be at least 1, --frames 1100")
    torch.set_num_threads(1)
    try:
        with scratch_folder() as folder:
            if options.memory_of:
                sizes = options.frames, options.budget, options.updates
                print(json.dumps(memory_of(options.memory_of, *sizes, folder)))
                return 0
            if options.out:
                pages.check(options.out, "cache")
            chosen = [case for case in CASES if not options.case or case.name in options.case]
            speed = [measure(case, options.blocks, folder) for case in chosen]
        modes = () if options.no_memory or sys.platform != "linux" else finetune.MODES
        memory = [in_a_process(mode, options) for mode in tqdm(modes, desc="memory", disable=None)]
        machine = pages.machine()
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    text = (
        f"{machine}; processor time of one thread, 8 × 16 frames an update.\n\n{speed_table(speed)}"
    )
    if memory:
        text += f"\n\n{memory_table(memory, options)}"
    print(text)
    if options.out:
        pages.fill(options.out, "cache", text)
    if options.json:
        record = {"machine": machine, "speed": speed, "memory": memory, "budget": options.budget}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    lines = list(missed(speed, memory, options.budget))
    print("\n".join(lines), file=sys.stderr, end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
