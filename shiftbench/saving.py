"""The files of a training run: what each checkpoint writes, and going on from it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shiftbench import checkpoints
from shiftbench.checkpoints import POLICY, TRAINING
from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing

if TYPE_CHECKING:
    from shiftbench.replay import Replay
    from shiftbench.train import Learner

CURVE = "curve.csv"

#: The curve's first columns; losses follow by name.
LEADING = ("env_steps", "updates", "minutes", "train_return", "eval_return")

#: What must not change when a run is resumed, as keys of its description.
FIXED = ("agent", "task", "task_version", "image_size", "seed", "config", "envs", "render")


def resume(
    agent: Learner, run_dir: Path, facts: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Restore ``agent`` from the run's checkpoint, if there is one.

    Raises:
        ShiftBenchError: the run was started with other settings, or with other ``facts``, see
            `checkpoint`, than this one, or what going on needs is lost.
    """
    fresh = {
        "episodes": 0,
        "env_steps": 0,
        "updates": 0,
        "seconds": 0.0,
        "replay": 0,
        "rng": None,
    }
    path, policy = run_dir / TRAINING, run_dir / POLICY
    if not path.exists():
        if policy.exists():
            raise ShiftBenchError(
                f"{path}: is lost, without which the training of {POLICY} beside it cannot go on; "
                "--fresh begins anew and moves it aside"
            )
        return [], fresh
    tensors, meta = checkpoints.read(path)
    now = json.loads(json.dumps({**agent.training_meta(), **facts}))
    meta.setdefault("envs", 1)  # of files from before there was a choice
    meta.setdefault("render", facts["render"])  # of files that say nothing of it
    for key in FIXED:
        difference = _first_difference(meta.get(key), now[key], key)
        if difference:
            raise ShiftBenchError(
                f"{run_dir}: the run there was started with {difference}; "
                "give another --out, or --fresh to begin anew"
            )
    agent.restore(tensors, meta)
    # Stopped between two files, or somebody took the policy away.
    if not policy.exists() or checkpoints.read_meta(policy)["train_steps"] != agent.train_steps:
        _write_results(agent, run_dir, meta["curve"])
    return meta["curve"], meta["counters"]


def _first_difference(old: Any, new: Any, name: str) -> str:
    """Return ``"<name> <old>, not <new>"`` for the first leaf that differs, or ``""``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            found = _first_difference(old.get(key), new.get(key), f"{name}.{key}")
            if found:
                return found
        return ""
    return "" if old == new else f"{name} {old!r}, not {new!r}"


def checkpoint(
    agent: Learner,
    run_dir: Path,
    rows: list[dict[str, Any]],
    counters: dict[str, Any],
    replay: Replay,
    rng: np.random.Generator,
    facts: dict[str, Any],
) -> None:
    """Write the training state, then the policy and the curve: each whole or not at all.

    ``facts`` are noted with the state: ``budget``, the environment steps that were asked for, tells
    later who was stopped short; ``envs``, the environments side by side, and ``render``, the render
    profile, how it is gone on with.
    """
    replay.settle()
    replay.flush()  # else a power cut could take steps that the checkpoint counts
    counters.update(replay=replay.count, rng=rng.bit_generator.state)
    meta = {**agent.training_meta(), "counters": counters, "curve": rows, **facts}
    replay.journal.pending = counters["episodes"]
    checkpoints.write(run_dir / TRAINING, agent.training_state(), meta)
    replay.journal.commit(len(replay))
    # Last, so that there is no policy without the training that it came from.
    _write_results(agent, run_dir, rows)


def _write_results(agent: Learner, run_dir: Path, rows: list[dict[str, Any]]) -> None:
    found = {name for row in rows for name in row}
    names = [name for name in LEADING if name in found]  # resumed rows come in another order
    names += sorted(found.difference(names))
    with replacing(run_dir / CURVE) as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    agent.save(run_dir / POLICY)  # last: it tells how far all three are


def forget_unsaved(run_dir: Path, replay: Replay) -> None:
    """Give replay back what it held at the last checkpoint, wherever the training was stopped."""
    path = run_dir / TRAINING
    saved = checkpoints.read_meta(path)["counters"]["episodes"] if path.exists() else 0
    # Equal where the stop came after the checkpoint was whole and before this was noted.
    if saved != replay.journal.pending:
        replay.journal.undo()
