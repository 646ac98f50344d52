"""What another setting does to the agent, learned from the frames of one training.

    python benchmarks/settings.py TRAINING HELD_OUT [--set "batch=4 length=32"] [--set size=s]
        [--seed 0 --seed 1] [--jobs 2] [--out docs/dreamer.md] [--json results.json]

A whole training with another setting collects other frames, and one seed says little. Here every
case learns from the same ones: the first of those that ``TRAINING`` collected (the folder of a
seed, as `shiftbench train` leaves it), as many times each as the settings that ship. Another seed's
frames, ``HELD_OUT``, judge the world model: the image error, and how much of the rewards' variance
it explains, of frames it has seen and some steps ahead of them. The last column is the return of
the policy that learned in it, in episodes of `shiftbench train`'s evaluations.

A case is a list of fields of `shiftbench.agents.config.Config`, and ``size``; the first is always
none, the settings that ship. ``--json`` has the rows of what is done, each as soon as it is; the
same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pages
import torch
from cache import scratch_folder
from torch import Tensor
from tqdm import tqdm

from shiftbench import checkpoints, device_replay, seeding, train
from shiftbench.agents import resolve
from shiftbench.agents.config import Config
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.agents.networks import sample_one_hot
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.halt import Halt
from shiftbench.replay import LATENT, Replay
from shiftbench.specs import get_task, load_tasks

#: Steps ahead of the last frame seen, 0 for that frame, at which rewards are compared.
AHEAD = (0, 1, 4)
#: Frames in a batch of the encoder's.
ENCODED = 250


def parsed(text: str) -> dict[str, Any]:
    """Return a case, such as ``batch=4 length=32``, as options of an agent.

    Raises:
        ValueError: it is none, or a field does not exist.
    """
    options: dict[str, Any] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: '{word}' is not NAME=VALUE")
        if name != "size" and name not in Config.__struct_fields__:
            raise unknown("setting", name, [*Config.__struct_fields__, "size"], "--set")
        try:
            options[name] = value if name == "size" else msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ValueError(f"--set {text}: {value!r} is no value: {error}") from error
    return options


def frames_of(folder: Path, most: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what a training's checkpoint says, and the first ``most`` of its frames.

    Raises:
        ShiftBenchError: there is no complete checkpoint.
        ValueError: it has too few frames, or has lost the first.
    """
    meta = checkpoints.read_meta(folder / checkpoints.TRAINING)
    config = msgspec.convert(meta["config"], Config)
    held = meta["counters"]["replay"]
    if not most <= held <= config.replay_capacity:
        raise ValueError(f"{folder}: {most} frames are asked for, the first of {held} collected")
    replay = Replay(
        folder / "replay", config.replay_capacity, meta["image_size"], meta["action_dim"],
        config.belief, config.categoricals, config.classes, held,
    )  # fmt: skip
    return meta, {k: array[:most] for k, array in replay.arrays.items() if k not in LATENT}


def begun(meta: dict[str, Any], case: dict[str, Any], seed: int) -> DreamerAgent:
    """Return the agent of a training, with other settings, ready to learn."""
    spec = resolve(meta["agent"]["name"])
    spec = msgspec.structs.replace(spec, options={**spec.options, **case})
    task = get_task(meta["task"], load_tasks())
    agent = DreamerAgent(spec, task, meta["action_dim"], meta["image_size"], device="cpu")
    agent.begin(seed)
    return agent


def learn(
    agent: DreamerAgent, frames: dict[str, np.ndarray], replayed: int, folder: Path, seed: int
) -> float:
    """Do updates until so many frames were replayed; return the seconds of each."""
    count, config = len(frames["first"]), agent.config
    replay = device_replay.make(agent, folder, count, count)
    for name, values in frames.items():
        replay.arrays[name][:] = values
    replay.count = count  # their latents are zero, as at an episode's beginning
    rng, start = seeding.rng(seeding.seed_of("settings", seed)), time.process_time()
    updates = max(1, round(replayed / (config.batch * config.length)))
    for _ in range(updates):
        agent.learn(replay, rng)
    return (time.process_time() - start) / updates


def explained(predicted: Tensor, true: Tensor) -> float:
    """Return the share of the variance of ``true`` that is explained, at most 1."""
    return 1.0 - float((true - predicted).square().mean() / true.var(correction=0))


@torch.no_grad()
def judge(agent: DreamerAgent, frames: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the image error of held-out frames, what of their rewards is explained at each of
    `AHEAD`, and the least probability, on any of them, that the episode goes on."""
    model, config, steps = agent.model, agent.config, agent.task.agent_steps + 1
    episodes = len(frames["first"]) // steps
    whole = {k: torch.from_numpy(v[: episodes * steps]) for k, v in frames.items()}
    embedding = torch.cat([model.acting.encode(part) for part in whole["pixels"].split(ENCODED)])
    grid = {k: v.unflatten(0, (episodes, steps)) for k, v in whole.items()}
    generator = torch.Generator().manual_seed(seeding.seed_of("settings"))
    shape = episodes, steps, config.categoricals
    zeros = torch.zeros(episodes, config.categoricals * config.classes)
    _, state, belief = model.observe(
        embedding.unflatten(0, (episodes, steps)), grid["action"], grid["first"], zeros,
        torch.zeros(episodes, config.belief), torch.rand(shape, generator=generator),
    )  # fmt: skip
    features = torch.cat([state, belief], -1)
    parts = zip(features.unbind(0), grid["pixels"].unbind(0), strict=True)
    found = {
        "image_error": float(np.mean([float(model.decoder.loss(*part)) for part in parts])),
        "least_alive": float(torch.sigmoid(model.continuation(features)).min()),
    }
    for ahead in range(max(AHEAD) + 1):
        if ahead:  # one step on from every frame, as long as its episode has one
            state, belief = state[:, :-1], belief[:, :-1]
            belief = model.acting.advance(state, belief, grid["action"][:, ahead:])
            uniform = torch.rand(belief.shape[0], belief.shape[1], shape[-1], generator=generator)
            state = sample_one_hot(model.acting.prior_logits(belief), config.unimix, uniform)
        if ahead in AHEAD:
            reward = model.reward.decode(model.reward(torch.cat([state, belief], -1)))
            found[f"reward_{ahead}"] = explained(reward, grid["reward"][:, ahead:])
    return found


def measure(
    case: str, seed: int, source: Path, held_out: Path, frames: int, judged: int, replayed: int
) -> dict[str, Any]:
    """Return a row: what one case with one seed learns, and what it takes."""
    torch.set_num_threads(1)
    meta, seen = frames_of(source, frames)
    agent = begun(meta, parsed(case), seed)
    with scratch_folder() as folder:
        took = learn(agent, seen, replayed, folder, seed)
    env = PixelEnv(agent.task, image_size=agent.image_size)
    try:
        achieved = train.validation_return(agent, env, 5, Halt())
    finally:
        env.close()
    return {
        "settings": case,
        "seed": seed,
        "training": str(source),
        "held_out": str(held_out),
        "frames": frames,
        "judged": judged,
        "replayed": replayed,
        "seconds": took,
        "return": achieved,
        **judge(agent, frames_of(held_out, judged)[1]),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as Markdown: a case's mean, and in brackets the least and the largest."""
    columns = {"image error": ("image_error", 2)}
    columns |= {f"reward, {k} ahead": (f"reward_{k}", 2) for k in AHEAD}
    columns |= {"return": ("return", 0), "seconds an update": ("seconds", 2)}
    lines = []
    for case in dict.fromkeys(row["settings"] for row in rows):
        own = [row for row in rows if row["settings"] == case]
        line = [f"`{case}`" if case else "as they are", f"{len(own)}"]
        for key, digits in columns.values():
            values = [row[key] for row in own]
            spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
            line.append(f"{np.mean(values):.{digits}f}" + (spread if len(own) > 1 else ""))
        lines.append(line)
    return pages.markdown(["settings", "seeds", *columns], lines)


def rows_of(todo: Sequence[tuple[str, int]], jobs: int, *args: Any) -> Iterator[dict]:
    """Yield the row of every case and seed, as it is done, from ``jobs`` processes."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        work = [pool.submit(measure, *one, *args) for one in todo]
        for done in tqdm(as_completed(work), total=len(work), unit="training", disable=None):
            yield done.result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", type=Path, help="folder of a seed, to learn from")
    parser.add_argument("held_out", type=Path, help="that of another seed, to be judged by")
    parser.add_argument("--set", action="append", default=[], dest="cases", metavar="SETTINGS",
                        help='such as "batch=4 length=32", repeatable')  # fmt: skip
    parser.add_argument("--seed", type=int, action="append", help="repeatable [0]")
    parser.add_argument("--frames", type=int, default=10_000, help="to learn from [10000]")
    parser.add_argument("--judged", type=int, default=5_000, help="held-out frames [5000]")
    parser.add_argument("--replayed", type=int, default=128_000,
                        help="frames that a case's updates replay in all [128000]")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time [1]")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--out", type=Path, help="page with a section settings to fill")
    options = parser.parse_args()
    if min(options.jobs, options.frames, options.judged, options.replayed) < 1:
        parser.error("--jobs, --frames, --judged and --replayed must be at least 1")
    cases, seeds = list(dict.fromkeys(["", *options.cases])), options.seed or [0]
    try:
        if options.out:
            pages.check(options.out, "settings")
        for case in cases:
            parsed(case)
        meta, _ = frames_of(options.training, options.frames)
        frames_of(options.held_out, options.judged)
        wanted = [(case, seed) for seed in seeds for case in cases]
        keys = "training", "held_out", "frames", "judged", "replayed"
        rows, given = [], [getattr(options, key) for key in keys]
        if options.json and options.json.exists():
            stored = json.loads(options.json.read_text(encoding="utf-8"))
            same = [*map(str, given[:2]), *given[2:]]
            rows = [row for row in stored if [row.get(key) for key in keys] == same]
        done = {(row["settings"], row["seed"]) for row in rows}
        todo = [one for one in wanted if one not in done]
        for row in rows_of(todo, options.jobs, *given):
            rows.append(row)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        rows = [row for row in rows if (row["settings"], row["seed"]) in wanted]
    except (ShiftBenchError, ValueError) as error:
        parser.error(str(error))
    rows.sort(key=lambda row: (cases.index(row["settings"]), row["seed"]))
    text = (
        f"`{meta['agent']['name']}` on `{meta['task']}`, {options.frames:,} frames, "
        f"{options.replayed:,} replayed; {options.judged:,} held out.\n\n{table(rows)}\n\n"
        f"Least probability that an episode goes on, on any held-out frame: "
        f"{min(row['least_alive'] for row in rows):.5f}."
    )
    print(text)
    if options.out:
        pages.fill(options.out, "settings", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
