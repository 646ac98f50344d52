"""From a plan to finished work: train what must be trained, evaluate the rest.

The unit is the cell: agent × task × training seed × shift. Every finished cell is one file; a run
that is repeated or was stopped goes on with the cells that have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench import checkpoints, feature_cache, progress, provenance, results
from shiftbench.errors import ShiftBenchError
from shiftbench.evaluate import evaluation_seeds, rollout
from shiftbench.files import check_writable
from shiftbench.plan import (
    POLICY,
    Run,
    find_checkpoint,
    lacks_training,
    made_for,
    trained_steps,
    training_command,
)
from shiftbench.registry import ALGORITHMS, FAMILIES
from shiftbench.specs import Shift

if TYPE_CHECKING:
    import pandas as pd
    from tqdm import tqdm

    from shiftbench.agents.base import Agent
    from shiftbench.envs.pixels import PixelEnv


# -- training ------------------------------------------------------------------------------------


def make_agent(run: Run, action_dim: int, device: str) -> Agent:
    """Build the agent of ``run``, neither trained nor loaded."""
    algorithm = ALGORITHMS.get(run.agent.algorithm)
    return algorithm(
        run.agent, run.task, action_dim, run.suite.image_size, seed=run.seed, device=device
    )


def make_env(run: Run) -> PixelEnv:
    """Build the environment of ``run``."""
    from shiftbench.envs.pixels import PixelEnv

    return PixelEnv(run.task, image_size=run.suite.image_size, render=run.suite.render)


def train(
    plan: Sequence[Run],
    steps: int,
    device: str,
    *,
    eval_every: int = 5000,
    cache: feature_cache.Setting = feature_cache.AUTO,
) -> list[Path]:
    """Train every run up to ``steps`` environment steps and return the policies' files.

    Prints the plan, with the hours that it is expected to take, before it starts.

    Args:
        plan: what to train.
        steps: environment steps in total.
        device: torch device.
        eval_every: environment steps between evaluations on clean validation episodes.
        cache: what is stored of what frozen blocks give, and where; a matter of speed.

    Raises:
        ShiftBenchError: an agent needs no training, cannot be built, cannot have the cache that
            was asked for, or its run was started with other settings.
    """
    for run in plan:
        if not ALGORITHMS.get(run.agent.algorithm).trainable:
            raise ShiftBenchError(f"--agent {run.agent.name}: this agent needs no training")
        feature_cache.check(cache, run.agent)
    todo = [run for run in plan if trained_steps(run) < steps]
    for run in todo:
        check_writable(run.folder)
    hours = _expected_hours(todo, steps, device, cache)
    progress.note(
        f"Training plan: {len(todo)} of {len(plan)} runs, up to {steps} environment steps each."
    )
    if todo:
        expected = f"{hours:.1f} hours on this machine" if hours == hours else "time unknown"
        progress.note(f"Expected: {expected}. Ctrl-C stops; the same command goes on.")
    for run in todo:
        progress.note(f"{run} → {run.folder}")
        env = make_env(run)
        try:
            agent = make_agent(run, env.action_dim, device)
            options = {"eval_every": eval_every, "cache": cache}
            agent.train(lambda: env, steps, run.seed, run.folder, **options)  # noqa: B023
        finally:
            env.close()
    return [run.folder / POLICY for run in plan]


def _expected_hours(
    plan: Sequence[Run], steps: int, device: str, cache: feature_cache.Setting
) -> float:
    """Measure a few steps of each very agent on each task, and extrapolate."""
    seconds: dict[tuple[str, str], float] = {}
    for run in plan:
        key = run.agent.id, run.task.name
        if key not in seconds:
            env = make_env(run)
            try:
                agent = make_agent(run, env.action_dim, device)
                seconds[key] = agent.seconds_per_step(env, cache=cache)
            finally:
                env.close()
    return sum(
        seconds[run.agent.id, run.task.name] * (steps - trained_steps(run)) / 3600.0 for run in plan
    )


# -- evaluation ----------------------------------------------------------------------------------


def run(
    plan: Sequence[Run],
    shifts: Sequence[Shift],
    *,
    episodes: int,
    steps: int | None,
    checkpoint: Path | None,
    out: Path,
    device: str,
    cache: feature_cache.Setting = feature_cache.AUTO,
    flags: Sequence[str] = (),
) -> pd.DataFrame:
    """Evaluate every run of the plan under every shift and return all their rows.

    What has no checkpoint is trained where ``steps`` is given, and so is what an earlier training
    left unfinished; else it is left out with one line.

    Args:
        plan: what to evaluate.
        shifts: the shifts, the clean arm among them.
        episodes: episodes of a cell.
        steps: environment steps of the training of what has no checkpoint.
        checkpoint: policy to evaluate in place of those that are found.
        out: folder for what is written.
        device: torch device.
        cache: as for `train`.
        flags: further flags for the commands that the lines name.

    Raises:
        ShiftBenchError: nothing is left to evaluate, or a file does not fit.
    """
    if checkpoint is not None:
        plan = made_for(checkpoint, plan)
    missing = [
        run_
        for run_ in plan
        if checkpoint is None
        and ALGORITHMS.get(run_.agent.algorithm).trainable
        and lacks_training(run_, steps)
    ]
    if missing and steps is not None:
        train(missing, steps, device, cache=cache)
        missing = []
    for run_ in missing:
        command = training_command(run_, out, flags)
        progress.note(f"left out: {run_} has no checkpoint. Train it: {command}")
    left = [run_ for run_ in plan if run_ not in missing]
    if not left:
        raise ShiftBenchError("nothing is left to evaluate: train first, or give --steps N")
    bar = progress.bar(total=len(left) * len(shifts) * episodes, unit="episode", desc="evaluate")
    try:
        files = [
            file
            for run_ in left
            for file in _evaluate(
                run_, shifts, episodes, find_checkpoint(run_, checkpoint), out, device, bar
            )
        ]
    finally:
        bar.close()
    return results.read_rows(files, {run_.task.name: run_.task for run_ in plan})


def _evaluate(
    run: Run,
    shifts: Sequence[Shift],
    episodes: int,
    checkpoint: Path | None,
    out: Path,
    device: str,
    bar: tqdm,
) -> list[Path]:
    """Return the cells' files of one run, evaluating those that are missing."""
    digest = checkpoints.sha256(checkpoint) if checkpoint else ""
    cells = {shift: _cell(run, shift, episodes, digest) for shift in shifts}
    paths = {shift: cell.path(out) for shift, cell in cells.items()}
    todo = [shift for shift in shifts if not paths[shift].exists()]
    if len(todo) < len(shifts):
        bar.update(episodes * (len(shifts) - len(todo)))
    if todo:
        check_writable(paths[todo[0]].parent)
        env = make_env(run)
        try:
            agent = make_agent(run, env.action_dim, device)
            if checkpoint:
                agent.load(checkpoint)
                if checkpoints.sha256(checkpoint) != digest:
                    raise ShiftBenchError(f"{checkpoint}: a training wrote to it: run it again")
            for shift in todo:
                bar.set_postfix_str(f"{run.agent.id} {run.task.name} {shift}", refresh=False)
                results.write_rows(paths[shift], _play(run, cells[shift], shift, agent, env, bar))
        finally:
            env.close()
    return list(paths.values())


def _cell(run: Run, shift: Shift, episodes: int, checkpoint: str) -> results.Cell:
    family = None if shift.is_clean else FAMILIES.get(shift.family)
    return results.Cell(
        suite=run.suite.name,
        suite_version=run.suite.version,
        task=run.task.name,
        task_version=run.task.version,
        agent=run.agent.id,
        train_seed=run.seed,
        checkpoint=checkpoint,
        family=shift.family,
        level=shift.level,
        severity=shift.severity,
        shift_hash=provenance.shift_hash(family, shift.severity, shift.backgrounds),
        image_size=run.suite.image_size,
        render=run.suite.render,
        episodes=episodes,
    )


def _play(
    run: Run, cell: results.Cell, shift: Shift, agent: Agent, env: PixelEnv, bar: tqdm
) -> list[dict[str, Any]]:
    """Play the episodes of a cell and return its rows."""
    from shiftbench.envs import gl

    seeds, looks = evaluation_seeds(run.task.name, run.task.version, shift, cell.episodes)
    played = rollout(agent.policy(), env, seeds, shift, looks, on_episode=bar.update)
    shared = {
        **{name: getattr(cell, name) for name in cell.__struct_fields__ if name in results.KINDS},
        **provenance.versions(),
        "schema": results.SCHEMA,
        "train_steps": getattr(agent, "train_steps", 0),
        "gl": gl.backend(),
        "device": "cpu" if agent.device == "auto" else agent.device,
    }
    return [
        {
            **shared,
            "episode": number,
            "return": episode.episode_return,
            "score": run.task.score(episode.episode_return),
            "length": episode.length,
        }
        for number, episode in enumerate(played)
    ]
