"""Commands that train, play and measure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from shiftbench.commands.options import (
    EPISODES,
    PATH,
    SEED,
    Whole,
    agent_options,
    check_device,
    json_option,
    out_option,
    shift_options,
    slice_options,
    suite_options,
    trained_options,
)
from shiftbench.halt import Halt


@click.command()
@click.option("--out", type=PATH, default=Path("runs/pretrain"), show_default=True)
@click.option("--scenes", type=Whole(min=1), default=20_000, show_default=True,
              help="Random scenes to draw, two appearances each.")  # fmt: skip
@click.option("--views", type=Whole(min=1), default=640_000, show_default=True,
              help="Images to train on, counting repetitions.")  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, callback=check_device,
              help="auto, cpu, cuda, cuda:1 …")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
def pretrain(out: Path, scenes: int, views: int, seed: int, device: str, resume: bool) -> None:
    """Make the weights of the encoder `synth-2` from random scenes."""
    from shiftbench import pretrain as pretraining

    path = pretraining.run(out, scenes=scenes, views=views, seed=seed, resume=resume, device=device)
    click.echo(path)


@click.command()
@suite_options
@agent_options
@click.option("--agent", "names", multiple=True, required=True, help="Agent; repeatable.")
@click.option("--task", "task_names", multiple=True, help="Task; repeatable.")
@click.option("--steps", type=Whole(min=1), required=True,
              help="Environment steps in total; a run that has them is left alone.")  # fmt: skip
@click.option("--eval-every", type=Whole(min=1), default=5000, show_default=True,
              help="Environment steps between evaluations on clean episodes.")  # fmt: skip
@click.option("--tensorboard", is_flag=True, help="Write each episode's row as TensorBoard events.")
@click.option("--wandb", metavar="PROJECT", help="Log each episode's row to Weights & Biases.")
@slice_options
@out_option
@json_option
def train(suite: str, suite_file: Path, tasks_dir: tuple, names: tuple, task_names: tuple,
          steps: int, eval_every: int, tensorboard: bool, wandb: str | None, max_minutes: float,
          jobs: int, resume: bool, out: Path, as_json: bool, **agent: Any) -> None:  # fmt: skip
    """Train agents on clean pixels; run it again to go on where it stopped."""
    limit = Halt(max_minutes)
    from shiftbench import jobs as work
    from shiftbench import plan

    chosen, tasks_ = plan.select_tasks(suite, suite_file, tasks_dir, task_names)
    runs = plan.runs(chosen, tasks_, plan.select_agents(names, agent), agent["seeds"], out)
    paths = work.train(
        runs,
        steps,
        agent["device"],
        eval_every=eval_every,
        cache=agent["feature_cache"],
        compiled=agent["compiled"],
        envs=agent["envs"],
        halt=limit,
        jobs=jobs,
        fresh=not resume,
        tensorboard=tensorboard,
        wandb=wandb,
    )
    if as_json:
        rows = [
            {"agent": run.agent.id, "task": run.task.name, "seed": run.seed, "policy": str(path)}
            for run, path in zip(runs, paths, strict=True)
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for path in paths:
        click.echo(path)


@click.command()
@suite_options
@agent_options
@shift_options
@click.option("--agent", "names", multiple=True, required=True, help="Agent; repeatable.")
@click.option(
    "--task", "task_names", multiple=True, help="Task; repeatable. Default: all of the suite."
)
@click.option("--episodes", type=EPISODES, help="Episodes a cell [default: the suite's].")
@click.option("--steps", type=Whole(min=1),
              help="Train what has no checkpoint, or an unfinished one, up to so many "
                   "environment steps.")  # fmt: skip
@click.option("--checkpoint", type=PATH, help="Evaluate this file (one agent, one task, one seed).")
@slice_options
@out_option
@json_option
def run(suite: str, suite_file: Path, tasks_dir: tuple, names: tuple, shifts: tuple,
        backgrounds: Path | None, task_names: tuple, episodes: int | None, steps: int | None,
        checkpoint: Path | None, max_minutes: float, jobs: int, resume: bool, out: Path,
        as_json: bool, **agent: Any) -> None:  # fmt: skip
    """Evaluate agents on clean and shifted episodes; write rows, a table and a picture.

    Finished cells are not run again.
    """
    limit = Halt(max_minutes)
    from shiftbench import jobs as work
    from shiftbench import plan, report

    chosen, tasks_ = plan.select_tasks(suite, suite_file, tasks_dir, task_names)
    wanted = plan.select_shifts(shifts, chosen, backgrounds)
    runs = plan.runs(chosen, tasks_, plan.select_agents(names, agent), agent["seeds"], out)
    rows = work.run(
        runs,
        wanted,
        episodes=episodes or chosen.episodes,
        steps=steps,
        checkpoint=checkpoint,
        out=out,
        device=agent["device"],
        cache=agent["feature_cache"],
        compiled=agent["compiled"],
        envs=agent["envs"],
        flags=_where(suite, suite_file, tasks_dir),
        halt=limit,
        jobs=jobs,
        fresh=not resume,
    )
    folder = out / chosen.id / "report"
    board = report.build(rows, folder)
    if as_json:
        click.echo(report.to_json(board))
        return
    click.echo(report.render_table(board))
    click.echo(f"rows: {out / chosen.id / 'cells'}  tables and plots: {folder}", err=True)


def _where(suite: str, suite_file: Path | None, tasks_dir: tuple[Path, ...]) -> list[str]:
    """Return the flags that say which suite and tasks are meant."""
    flags = ["--suite", suite] if suite != "mini" else []
    flags += ["--suite-file", str(suite_file)] if suite_file else []
    return flags + [word for folder in tasks_dir for word in ("--tasks-dir", str(folder))]


@click.command()
@suite_options
@trained_options
@shift_options
@click.option("--agent", "names", multiple=True, required=True, help="Agent; repeatable.")
@click.option("--task", "task_names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--checkpoint", type=PATH, help="Probe this file (one agent, one task, one seed).")
@click.option("--states", type=Whole(4, 100_000), default=200, show_default=True,
              help="States of each task that every shift shows.")  # fmt: skip
@click.option("--probe-seed", type=SEED, default=0, show_default=True,
              help="Seed of the states, looks and scenes of the probes.")  # fmt: skip
@click.option("--rows", type=PATH, help="Rows of `run` (a file or folder) to draw scores from.")
@out_option
@json_option
def probe(suite: str, suite_file: Path, tasks_dir: tuple, names: tuple, shifts: tuple,
          backgrounds: Path | None, task_names: tuple, checkpoint: Path | None, states: int,
          probe_seed: int, rows: Path | None, out: Path, as_json: bool,
          **agent: Any) -> None:  # fmt: skip
    """Measure what training did to agents' encoders: before and after, under every shift."""
    from shiftbench import plan
    from shiftbench import probe as probes
    from shiftbench.probe import tables
    from shiftbench.probe.run import probe

    chosen, tasks_ = plan.select_tasks(suite, suite_file, tasks_dir, task_names)
    wanted = plan.select_shifts(shifts, chosen, backgrounds)
    runs = plan.runs(chosen, tasks_, plan.select_agents(names, agent), agent["seeds"], out)
    scores = rows and tables.read_scores(rows, runs, {task.name: task for task in tasks_})
    found = probe(
        runs,
        wanted,
        count=states,
        seed=probe_seed,
        checkpoint=checkpoint,
        out=out,
        device=agent["device"],
        flags=_where(suite, suite_file, tasks_dir),
    )
    folder = out / chosen.id / "probes"
    probes.build(found, scores, folder)
    click.echo(probes.to_json(found) if as_json else tables.text(found))
    click.echo(f"table and plots: {folder}", err=True)


@click.command()
@suite_options
@click.option("--task", "names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--states", type=Whole(4, 100_000), default=200, show_default=True,
              help="States on which every cell is measured.")  # fmt: skip
@click.option("--solvable/--no-solvable", default=True, show_default=True,
              help="Train the regressors that read the task's positions.")  # fmt: skip
@click.option("--workers", type=Whole(1, 256), help="Processes [default: one a core].")
@click.option("--out", type=PATH, default=Path("certificate"), show_default=True)
@json_option
def certify(suite: str, suite_file: Path, tasks_dir: tuple, names: tuple, states: int,
            solvable: bool, workers: int | None, out: Path, as_json: bool) -> None:  # fmt: skip
    """Prove that a suite's shifts are graded, comparable, solvable, harmless and seeded.

    Exits with 1 where a cell fails. Finished cells are not measured again.
    """
    from shiftbench import certify as certificate
    from shiftbench import plan
    from shiftbench.certify import tables
    from shiftbench.certify.run import certify
    from shiftbench.certify.verdicts import judge

    chosen, tasks_ = plan.select_tasks(suite, suite_file, tasks_dir, names)
    cells = certify(chosen, tasks_, out, states=states, solvable=solvable, workers=workers)
    verdicts = judge(cells)
    certificate.build(chosen, verdicts, out)
    click.echo(certificate.to_json(chosen, verdicts) if as_json else tables.text(verdicts))
    click.echo(f"tables and plots: {out}", err=True)
    if not all(verdict.passed for verdict in verdicts):
        sys.exit(1)
