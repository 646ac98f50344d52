"""From names to a plan: which runs there are, and which checkpoint belongs to each."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shiftbench import agents as agents_table
from shiftbench import checkpoints, results
from shiftbench.checkpoints import POLICY, TRAINING
from shiftbench.data import data_dir
from shiftbench.errors import ShiftBenchError
from shiftbench.files import check_writable
from shiftbench.registry import ALGORITHMS
from shiftbench.specs import AgentSpec, Shift, Suite, Task, get_suite, get_task, load_tasks

#: Environment steps that a suggested training has.
STEPS = 100_000


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
    chosen = {key: overrides.get(key) for key in agents_table.OVERRIDES}
    return [agents_table.resolve(name, **chosen) for name in dict.fromkeys(names)]


def select_shifts(
    texts: Sequence[str], suite: Suite, backgrounds: Path | None = None
) -> list[Shift]:
    """Return the shifts that were asked for, the clean arm always first.

    Args:
        texts: as `Shift.parse` reads them.
        suite: gives the families and levels.
        backgrounds: folder with the user's own pictures, for the shifts that show some.

    Raises:
        ShiftBenchError: an unknown family or level, no picture in ``backgrounds``, or one that
            cannot be decoded.
    """
    chosen = [shift for text in texts for shift in Shift.parse(text, suite)]
    if backgrounds is not None:
        from shiftbench.shifts import pictures

        pictures.files(backgrounds)
        chosen = [shift.showing(backgrounds) for shift in chosen]
        # Before any work is done, and whether or not a shift shows them.
        pictures.load(str(backgrounds.resolve()), suite.image_size)
    return list(dict.fromkeys([Shift.clean(), *chosen]))


def runs(
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


# -- checkpoints ---------------------------------------------------------------------------------


def find_checkpoint(run: Run, given: Path | None) -> Path | None:
    """Return the policy of ``run``: the one given, an earlier run's, or the shipped one."""
    if given is not None:
        return given
    name = (
        f"checkpoints/{run.task.name}-v{run.task.version}/"
        f"{results.file_name(run.agent.id)}/seed-{run.seed}.safetensors"
    )
    # A checkpoint belongs to a task, not to the suite that it was published with. Policies of other
    # folders, which are no suites, are kept for their rows alone.
    shipped = sorted(
        data_dir("results").glob(f"*-v[0-9]*/{name}"),
        key=lambda p: (run.suite.id not in p.parts, p),
    )
    for path in (run.folder / POLICY, *shipped):
        if path.is_file():
            return path
    return None


def trained_steps(run: Run) -> int:
    """Return the environment steps that the run in the folder of ``run`` has behind it."""
    path = run.folder / POLICY
    return int(checkpoints.read_meta(path).get("train_steps", 0)) if path.exists() else 0


def made_for(checkpoint: Path, plan: Sequence[Run]) -> list[Run]:
    """Return the one run of the plan that ``--checkpoint`` is for."""
    if len({(run.agent.id, run.seed) for run in plan}) > 1:
        raise ShiftBenchError("--checkpoint: one file goes with one --agent and one --seed")
    if not ALGORITHMS.get(plan[0].agent.algorithm).trainable:
        raise ShiftBenchError(
            f"--checkpoint {checkpoint}: agent '{plan[0].agent.name}' has no checkpoints"
        )
    meta = checkpoints.read_meta(checkpoint)
    task, seed = meta.get("task"), meta.get("seed", plan[0].seed)
    if seed != plan[0].seed:
        # Else one policy could stand in the rows as several.
        raise ShiftBenchError(
            f"--checkpoint {checkpoint}: trained with --seed {seed}, not {plan[0].seed}"
        )
    found = [run for run in plan if run.task.name == task]
    if not found:
        raise ShiftBenchError(
            f"--checkpoint {checkpoint}: made for task '{task}', which is not among "
            f"{', '.join(run.task.name for run in plan)}"
        )
    return found


def lacks_training(run: Run, steps: int | None) -> bool:
    """Whether there is no policy of ``run``, or one in its folder with less than ``steps``."""
    found = find_checkpoint(run, None)
    unfinished = found == run.folder / POLICY and trained_steps(run) < (steps or 0)
    return found is None or unfinished


def stopped_short(run: Run) -> int:
    """Return the environment steps that the training of ``run`` was to reach and did not, or 0.

    Trainings that do not say (older ones, agents with a loop of their own) count as done.
    """
    path = run.folder / TRAINING
    goal = int(checkpoints.read_meta(path).get("budget", 0)) if path.exists() else 0
    return goal if trained_steps(run) < goal else 0


def training_command(
    run: Run, out: Path, flags: Sequence[str] = (), steps: int | None = None
) -> str:
    """Return the command that trains ``run``.

    Args:
        run: the run.
        out: folder for what is written.
        flags: further flags, such as those that say where the suite and the tasks are.
        steps: environment steps in total, by default `STEPS`.

    A run that has begun goes on with as many environments side by side.
    """
    agent, base = run.agent, agents_table.AGENTS.get(run.agent.name)
    words = ["shiftbench", "train", "--agent", agent.name, "--task", run.task.name]
    words += ["--seed", str(run.seed), *flags]
    if agent.encoder != base.encoder:
        words += ["--encoder", agent.encoder]
    if agent.weights:
        words += ["--encoder-weights", agent.weights]
    for key in agents_table.PLAIN_OVERRIDES:
        if agent.options.get(key) != base.options.get(key):
            words += [f"--{key.replace('_', '-')}", str(agent.options[key])]
    begun = run.folder / TRAINING
    envs = checkpoints.read_meta(begun).get("envs", 1) if begun.exists() else 1
    if envs > 1:
        words += ["--envs", str(envs)]
    return shlex.join([*words, "--out", str(out), "--steps", str(steps or STEPS)])
