"""Training curves that lie beside rows: what the scored agents did while they were trained."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pandas as pd

from shiftbench.checkpoints import sha256
from shiftbench.data import data_dir
from shiftbench.results import file_name

#: Columns of a curve that are shown; ``shiftbench.train`` writes more.
VALUES = ("env_steps", "train_return", "eval_return")
COLUMNS = ("agent", "task", "train_seed", *VALUES)


def read(paths: Iterable[Path], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the training curves of the runs in ``rows``, as far as they are found.

    They are looked for below the folders that rows come from, and in ``train`` beside those, as
    ``<task>-v<version>/<agent>/seed-<n>.csv`` or ``…/seed-<n>/curve.csv``; then among the shipped
    checkpoints, of which rows name the hash. What is not a curve is passed over.

    Args:
        paths: as `shiftbench.results.read_rows`.
        rows: what that returned.

    Returns:
        One row a training episode, columns `COLUMNS`: ``env_steps`` int64; returns float64, NaN in
        ``eval_return`` where nothing was evaluated.
    """
    ids = rows[["agent", "task", "train_seed", "task_version", "checkpoint"]].drop_duplicates()
    known = {
        (task, file_name(agent), seed): (agent, task, seed)
        for agent, task, seed, *_ in ids.itertuples(index=False)
    }
    versions = dict(ids[["task", "task_version"]].dropna().itertuples(index=False, name=None))
    found: dict[tuple, pd.DataFrame] = {}
    for path in chain(_candidates(paths), _shipped(set(ids["checkpoint"]))):
        *address, version = _address(path) or (None, None)
        key = known.get(tuple(address))
        if key is not None and versions.get(key[1], version) != version:
            continue
        if key is not None and key not in found and (curve := _curve(path)) is not None:
            found[key] = curve.assign(**dict(zip(COLUMNS, key, strict=False)))
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat([found[key] for key in sorted(found)], ignore_index=True)[list(COLUMNS)]


def _candidates(paths: Iterable[Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        found = [path] if path.exists() else map(Path, sorted(glob.glob(str(path), recursive=True)))
        yield from _beside(found)


def _beside(matches: Iterable[Path]) -> Iterator[Path]:
    for match in matches:
        folder = match if match.is_dir() else match.parent
        for below in (folder, folder.parent / "train"):
            yield from sorted(below.glob("**/*-v*/*/seed-*.csv"))
            yield from sorted(below.glob("**/*-v*/*/seed-*/curve.csv"))


def _shipped(hashes: set[str]) -> Iterator[Path]:
    """Give the curves of the shipped checkpoints with one of these SHA-256."""
    for path in sorted(data_dir("results").glob("*/checkpoints/*/*/seed-*.csv")):
        policy = path.with_suffix(".safetensors")
        if policy.is_file() and sha256(policy) in hashes:
            yield path


def _address(path: Path) -> tuple[str, str, int, int] | None:
    """Return task, name of the agent's folder, seed and the task's version, or None."""
    place = path.parent if path.name == "curve.csv" else path.with_suffix("")
    seed = re.fullmatch(r"seed-(\d+)", place.name)
    task = re.fullmatch(r"(.+)-v(\d+)", place.parent.parent.name)
    if not (seed and task):
        return None
    return task[1], place.parent.name, int(seed[1]), int(task[2])


def _curve(path: Path) -> pd.DataFrame | None:
    try:
        curve = pd.read_csv(path, usecols=list(VALUES), dtype=float)
    except (OSError, ValueError):  # unreadable, or not a curve
        return None
    curve = curve.dropna(subset=["env_steps", "train_return"])
    return curve.astype({"env_steps": int}) if len(curve) else None
