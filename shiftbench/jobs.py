"""From names to finished work: select, plan, train what must be trained, evaluate the rest.

The unit is the cell: agent × task × training seed × shift. Every finished cell is one file; a run
that is repeated or was stopped goes on with the cells that have none.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tqdm import tqdm

from shiftbench import agents as agents_table
from shiftbench import checkpoints, progress, provenance, results
from shiftbench.data import data_dir
from shiftbench.errors import ShiftBenchError
from shiftbench.evaluate import evaluation_seeds, rollout
from shiftbench.files import check_writable
from shiftbench.registry import ALGORITHMS, FAMILIES
from shiftbench.specs import AgentSpec, Shift, Suite, Task, get_suite, get_task, load_tasks

if TYPE_CHECKING:
    import pandas as pd

    from shiftbench.agents.base import Agent
    from shiftbench.envs.pixels import PixelEnv


class Run(msgspec.Struct, frozen=True):
    """One agent on one task with one training seed.

    Attributes:
        folder: where its training lives, whether or not it has begun.
    """

    suite: Suite
    task: Task
    agent: AgentSpec
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.agent.id} on {self.task.name}, seed {self.seed}"


# -- selection -----------------------------------------------------------------------------------


def select_tasks(
    suite: str, suite_file: Path | None, tasks_dirs: Sequence[Path], names: Sequence[str]
) -> tuple[Suite, list[Task]]:
    """Return the suite and the tasks that were asked for, by default all of the suite."""
    chosen = get_suite(suite, suite_file)
    known = load_tasks(tuple(tasks_dirs))
    if names:
        return chosen, [get_task(name, known) for name in dict.fromkeys(names)]
    flag = f"suite '{chosen.name}'"
    return chosen, [get_task(name, known, flag) for name in chosen.tasks]


def select_agents(names: Sequence[str], overrides: dict[str, Any]) -> list[AgentSpec]:
    """Return the named agents, each with the overrides of the command line."""
    keys = ("encoder", "encoder_weights", "finetune_blocks")
    return [
        agents_table.resolve(name, **{key: overrides[key] for key in keys})
        for name in dict.fromkeys(names)
    ]


def select_shifts(texts: Sequence[str], suite: Suite) -> list[Shift]:
    """Return the shifts that were asked for, the clean arm always first."""
    chosen = [Shift.clean()]
    for text in texts:
        chosen += Shift.parse(text, suite)
    return list(dict.fromkeys(chosen))


def plan_training(
    suite: Suite,
    tasks: Iterable[Task],
    agents: Iterable[AgentSpec],
    seeds: Iterable[int],
    out: Path,
) -> list[Run]:
    """Return every combination of task, agent and training seed."""
    check_writable(out)
    return [
        Run(
            suite,
            task,
            agent,
            seed,
            out
            / "train"
            / f"{task.name}-v{task.version}"
            / results.file_name(agent.id)
            / f"seed-{seed}",
        )
        for task in tasks
        for agent in agents
        for seed in dict.fromkeys(seeds)
    ]


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


def train(plan: Sequence[Run], steps: int, device: str, *, eval_every: int = 5000) -> list[Path]:
    """Train every run up to ``steps`` environment steps and return the policies' files.

    Prints the plan, with the hours that it is expected to take, before it starts.
    """
    for run in plan:
        if not ALGORITHMS.get(run.agent.algorithm).trainable:
            raise ShiftBenchError(f"--agent {run.agent.name}: this agent needs no training")
    todo = [run for run in plan if _trained_steps(run) < steps]
    progress.note(
        f"Training plan: {len(todo)} of {len(plan)} runs, up to {steps} environment steps each."
    )
    hours = sum(_expected_hours(run, steps, device) for run in todo)
    if todo:
        expected = f"{hours:.1f} hours on this machine" if hours == hours else "time unknown"
        progress.note(f"Expected: {expected}. Ctrl-C stops; the same command goes on.")
    for run in todo:
        progress.note(f"{run} → {run.folder}")
        env = make_env(run)
        try:
            agent = make_agent(run, env.action_dim, device)
            agent.train(lambda: env, steps, run.seed, run.folder, eval_every=eval_every)  # noqa: B023
        finally:
            env.close()
    return [run.folder / "policy.safetensors" for run in plan]


def _trained_steps(run: Run) -> int:
    path = run.folder / "policy.safetensors"
    return int(checkpoints.read_meta(path).get("train_steps", 0)) if path.exists() else 0


def _expected_hours(run: Run, steps: int, device: str) -> float:
    """Measure a few steps of this very agent and extrapolate."""
    env = make_env(run)
    try:
        agent = make_agent(run, env.action_dim, device)
        return agent.seconds_per_step(env) * (steps - _trained_steps(run)) / 3600.0
    finally:
        env.close()


# -- evaluation ----------------------------------------------------------------------------------


def find_checkpoint(run: Run, given: Path | None) -> Path | None:
    """Return the policy of ``run``: the one given, an earlier run's, or the shipped one."""
    if given is not None:
        return given
    name = (
        f"checkpoints/{run.task.name}-v{run.task.version}/"
        f"{results.file_name(run.agent.id)}/seed-{run.seed}.safetensors"
    )
    # A checkpoint belongs to a task, not to the suite that it was published with.
    shipped = sorted(
        data_dir("results").glob(f"*/{name}"), key=lambda p: run.suite.id not in p.parts
    )
    for path in (run.folder / "policy.safetensors", *shipped):
        if path.is_file():
            return path
    return None


def run(
    suite: Suite,
    tasks: Sequence[Task],
    agents: Sequence[AgentSpec],
    seeds: Sequence[int],
    shifts: Sequence[Shift],
    *,
    episodes: int,
    steps: int | None,
    checkpoint: Path | None,
    out: Path,
    device: str,
) -> pd.DataFrame:
    """Evaluate every agent × task × seed under every shift and return all their rows.

    What has no checkpoint is trained where ``steps`` is given, else left out with one line.

    Raises:
        ShiftBenchError: nothing is left to evaluate, or a file does not fit.
    """
    plan = plan_training(suite, tasks, agents, seeds, out)
    if checkpoint is not None and len(agents) * len(set(seeds)) > 1:
        raise ShiftBenchError("--checkpoint: one file goes with one --agent and one --seed")
    if checkpoint is not None:
        made_for = checkpoints.read_meta(checkpoint).get("task")
        if made_for not in [task.name for task in tasks]:
            raise ShiftBenchError(
                f"--checkpoint {checkpoint}: made for task '{made_for}', which is not among "
                f"{', '.join(task.name for task in tasks)}"
            )
        plan = [run for run in plan if run.task.name == made_for]
    missing = [
        run
        for run in plan
        if ALGORITHMS.get(run.agent.algorithm).trainable and not find_checkpoint(run, checkpoint)
    ]
    if missing and steps is not None:
        train(missing, steps, device)
        missing = []
    for run_ in missing:
        progress.note(
            f"left out: {run_} (no checkpoint). Train it: shiftbench train --agent "
            f"{run_.agent.name} --task {run_.task.name} --seed {run_.seed} --steps 100000 "
            f"--out {out}"
        )
    left = [run_ for run_ in plan if run_ not in missing]
    if not left:
        raise ShiftBenchError("no agent has a checkpoint here: train first, or give --steps N")
    bar = tqdm(total=len(left) * len(shifts) * episodes, unit="episode", desc="evaluate")
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
    return results.read_rows(files, {task.name: task for task in tasks})


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
    bar.update(episodes * (len(shifts) - len(todo)))
    if todo:
        env = make_env(run)
        try:
            agent = make_agent(run, env.action_dim, device)
            if checkpoint:
                agent.load(checkpoint)
            for shift in todo:
                bar.set_postfix_str(f"{run.agent.id} {run.task.name} {shift}")
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
        shift_hash=provenance.shift_hash(family, shift.severity),
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
