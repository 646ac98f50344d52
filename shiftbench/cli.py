"""The command line: parse, call, print. Everything heavy is imported inside the commands.

Data goes to stdout, progress and notes to stderr. Exit codes: 0 done, 1 a check failed, 2 bad input
or environment, 3 a check could not be made, 4 the time of --max-minutes was over, 130 interrupted.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from shiftbench import __version__
from shiftbench.errors import ShiftBenchError, Unfinished
from shiftbench.files import replacing
from shiftbench.halt import Halt


class FilePath(click.Path):
    """A path that is not empty: an empty one is most often a variable that is not set."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = FilePath(path_type=Path)
#: Rows are exact up to here, see `shiftbench.results`.
SEED = click.IntRange(0, 2**53)
EPISODES = click.IntRange(1, 100_000)
#: Lines of `validate` before it only counts.
SHOWN_PROBLEMS = 20


def check_device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse what is no name of a torch device, without importing torch."""
    if not re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d+)?", value):
        raise click.BadParameter(f"'{value}' is none of auto, cpu, cuda, cuda:1, mps, xpu.")
    return value


def check_feature_cache(ctx: click.Context, param: click.Parameter, value: str) -> str | int:
    """Return ``auto``, ``off`` or a number of megabytes from 1 on."""
    if value in ("auto", "off"):
        return value
    if re.fullmatch(r"0*[1-9]\d{0,8}", value):
        return int(value)
    raise click.BadParameter(f"'{value}' is none of auto, off, or megabytes from 1 on.")


def check_finite(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Refuse ``nan``, which is in every range, and infinity."""
    if not math.isfinite(value):
        raise click.BadParameter(f"'{value}' is not a finite number.")
    return value


def check_limit(ctx: click.Context, param: click.Parameter, value: float | None) -> float:
    """Return minutes, infinity where there is no limit."""
    return math.inf if value is None else check_finite(ctx, param, value)


def options(*decorators: Callable) -> Callable:
    """Join options that several commands share into one decorator."""

    def decorate(command: Callable) -> Callable:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


suite_options = options(
    click.option("--suite", default="mini", show_default=True, help="Suite to use."),
    click.option("--suite-file", type=PATH, help="TOML with further suites, one table each."),
    click.option("--tasks-dir", type=PATH, multiple=True, help="Folder with further task files."),
)
encoder_options = options(
    click.option("--encoder", help="Another encoder: cnn, synth, timm:<name> or a plugin's."),
    click.option("--encoder-weights", type=PATH, help="Weights of the encoder (safetensors)."),
    click.option("--encoder-size", type=click.IntRange(8, 2048),
                 help="Side in pixels of a timm model's input; the suite's frames keep theirs."),
    click.option("--encoder-features", help="Features of a timm model: patch, pooled or map."),
    click.option("--finetune-blocks", type=click.IntRange(min=1), help="Last blocks that train."),
    click.option("--size", help="Size of the agent's networks: xs (default), s, m or l."),
)  # fmt: skip
trained_options = options(
    encoder_options,
    click.option("--augment", help="Training frames: none, shift or photometric."),
    click.option("--device", default="auto", show_default=True, callback=check_device,
                 help="auto, cpu, cuda, cuda:1 …"),
    click.option("--seed", "seeds", type=SEED, multiple=True, default=(0,),
                 show_default=True, help="Training seed; repeatable."),
)  # fmt: skip
agent_options = options(
    trained_options,
    click.option("--feature-cache", default="auto", show_default=True, metavar="auto|off|MB",
                 callback=check_feature_cache,
                 help="While training: store what frozen blocks give for a frame, on disk, and of "
                      "that at most so many megabytes in memory. It changes the speed alone."),
)  # fmt: skip
slice_options = options(
    click.option("--max-minutes", type=click.FloatRange(0, min_open=True), callback=check_limit,
                 help="Stop within so many minutes, with all that was done stored; exit code 4."),
    click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
                 help="Runs at a time, each in a process of its own."),
    click.option("--resume/--fresh", default=True, show_default=True,
                 help="Go on with trainings that were stopped, or begin anew; the earlier one is "
                      "moved aside, never deleted."),
)  # fmt: skip
shift_options = options(
    click.option("--shift", "shifts", multiple=True, default=("all",), show_default=True,
                 help="LEVEL, FAMILY, FAMILY:LEVEL, preset:NAME or all; repeatable."),
    click.option("--backgrounds", type=PATH,
                 help="Folder with images, GIFs or videos, for the shifts that show pictures: "
                      "background, combined and some presets."),
)  # fmt: skip
out_option = click.option(
    "--out", type=PATH, default=Path("runs"), show_default=True, help="Folder for what is written."
)
anchors_option = click.option(
    "--anchors", "anchors_file", type=PATH,
    help="TOML with one table a task, `random` and `reference`: for scores that rows lack.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="shiftbench")
def cli() -> None:
    """How much of a visual policy survives when the picture changes."""


# -- looking around ------------------------------------------------------------------------------


@cli.command("list")
@click.argument("what", type=click.Choice(["tasks", "suites", "shifts", "agents", "encoders"]))
@suite_options
@json_option
def list_(what: str, suite: str, suite_file: Path, tasks_dir: tuple, as_json: bool) -> None:
    """List what is registered, plugins included."""
    from shiftbench import listing

    rows = listing.rows(what, suite, suite_file, tasks_dir)
    click.echo(json.dumps(rows, indent=2) if as_json else listing.table(rows))


@cli.group()
def agents() -> None:
    """Look at agents."""


@agents.command()
@click.argument("names", nargs=-1, required=True, metavar="AGENT...")
@encoder_options
@suite_options
@json_option
def show(names: tuple, suite: str, suite_file: Path, tasks_dir: tuple, as_json: bool,
         **encoder: Any) -> None:  # fmt: skip
    """Say which part of an agent's encoder trains, and how fast. Nothing is downloaded."""
    from shiftbench import describe, listing, plan, specs

    size = specs.get_suite(suite, suite_file).image_size
    rows = describe.rows(plan.select_agents(names, encoder), size)
    table = listing.table([describe.short(row) for row in rows])
    click.echo(json.dumps(rows, indent=2) if as_json else table)


@cli.group()
def tasks() -> None:
    """Work on task definitions."""


@tasks.command()
@suite_options
@click.option("--task", "names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--episodes", type=click.IntRange(2, 100_000), default=100, show_default=True)
@json_option
def anchors(
    suite: str, suite_file: Path, tasks_dir: tuple, names: tuple, episodes: int, as_json: bool
) -> None:
    """Measure the random policy's return, the lower end of the score scale."""
    from shiftbench import anchors, plan

    _, chosen = plan.select_tasks(suite, suite_file, tasks_dir, names)
    rows = anchors.measure(chosen, episodes)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['task']}-v{row['task_version']}: random {row['mean']:.2f} ± "
            f"{row['standard_error']:.2f} (standard error, {row['episodes']} episodes); "
            f"the task file says {row['in_file']:.2f}"
        )


@cli.command()
@suite_options
@shift_options
@click.option("--task", "names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--episode", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--gif", is_flag=True, help="Draw a short clip in place of one moment.")
@click.option("--out", type=PATH, default=Path("preview"), show_default=True)
def preview(suite: str, suite_file: Path, tasks_dir: tuple, shifts: tuple,
            backgrounds: Path | None, names: tuple, episode: int, gif: bool,
            out: Path) -> None:  # fmt: skip
    """Draw a contact sheet for each task: families × levels."""
    from shiftbench import plan
    from shiftbench import preview as sheets

    chosen, tasks_ = plan.select_tasks(suite, suite_file, tasks_dir, names)
    wanted = plan.select_shifts(shifts, chosen, backgrounds)
    for path in sheets.write(tasks_, chosen, wanted, episode=episode, gif=gif, out=out):
        click.echo(path)


@cli.command()
@click.option("--out", type=PATH, default=Path("runs/pretrain"), show_default=True)
@click.option("--scenes", type=click.IntRange(min=1), default=20_000, show_default=True,
              help="Random scenes to draw, two appearances each.")  # fmt: skip
@click.option("--views", type=click.IntRange(min=1), default=640_000, show_default=True,
              help="Images to train on, counting repetitions.")  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, callback=check_device,
              help="cpu, cuda, cuda:1 …")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
def pretrain(out: Path, scenes: int, views: int, seed: int, device: str, resume: bool) -> None:
    """Make the weights of the encoder `synth` from random scenes."""
    from shiftbench import pretrain as synth

    path = synth.run(out, scenes=scenes, views=views, seed=seed, resume=resume, device=device)
    click.echo(path)


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what works here, what is missing and how to get it."""
    from shiftbench import doctor as examine

    report = examine.examine()
    click.echo(json.dumps(report, indent=2) if as_json else examine.render(report))
    if report["missing"]:
        sys.exit(2)


# -- the work ------------------------------------------------------------------------------------


@cli.command()
@suite_options
@agent_options
@click.option("--agent", "names", multiple=True, required=True, help="Agent; repeatable.")
@click.option("--task", "task_names", multiple=True, help="Task; repeatable.")
@click.option("--steps", type=click.IntRange(min=1), required=True,
              help="Environment steps in total; a run that has them is left alone.")  # fmt: skip
@click.option("--eval-every", type=click.IntRange(min=1), default=5000, show_default=True,
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


@cli.command()
@suite_options
@agent_options
@shift_options
@click.option("--agent", "names", multiple=True, required=True, help="Agent; repeatable.")
@click.option(
    "--task", "task_names", multiple=True, help="Task; repeatable. Default: all of the suite."
)
@click.option("--episodes", type=EPISODES, help="Episodes a cell [default: the suite's].")
@click.option("--steps", type=click.IntRange(min=1),
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


@cli.command()
@suite_options
@trained_options
@shift_options
@click.option("--agent", "names", multiple=True, required=True, help="Agent; repeatable.")
@click.option("--task", "task_names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--checkpoint", type=PATH, help="Probe this file (one agent, one task, one seed).")
@click.option("--states", type=click.IntRange(4, 100_000), default=200, show_default=True,
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


@cli.command()
@suite_options
@click.option("--task", "names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--states", type=click.IntRange(4, 100_000), default=200, show_default=True,
              help="States on which every cell is measured.")  # fmt: skip
@click.option("--solvable/--no-solvable", default=True, show_default=True,
              help="Train the regressors that read the task's positions.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), help="Processes [default: one a core].")
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


@cli.command("report")
@click.argument("runs", nargs=-1, type=PATH)
@click.option("--tasks-dir", type=PATH, multiple=True, help="Folder with further task files.")
@anchors_option
@click.option("--out", type=PATH, default=Path("report"), show_default=True)
@click.option(
    "--html",
    type=PATH,
    metavar="DIR",
    help="Write the report as a page as well, DIR/index.html, which needs no network.",
)
@json_option
def report_(runs: tuple[Path, ...], tasks_dir: tuple, anchors_file: Path | None, out: Path,
            html: Path | None, as_json: bool) -> None:  # fmt: skip
    """Turn rows (CSV files, folders, globs; default: runs) into a leaderboard and plots."""
    from shiftbench import files, report, results, specs
    from shiftbench.report import curves

    runs = runs or (Path("runs"),)
    known = specs.load_tasks(tuple(tasks_dir))
    rows = results.read_rows(runs, known, specs.load_scales(anchors_file) if anchors_file else {})
    if html:
        files.check_writable(html, "--html")
    board = report.build(rows, out, curves=curves.read(runs, rows), html=html, tasks=known)
    click.echo(report.to_json(board) if as_json else report.render_table(board))
    page = f"  page: {html / 'index.html'}" if html else ""
    click.echo(f"tables and plots: {out}{page}", err=True)


@cli.command()
@click.argument("runs", nargs=-1, type=PATH)
@click.option("--tasks-dir", type=PATH, multiple=True, help="Folder with further task files.")
@anchors_option
@click.option("--out", type=PATH, default=Path("export"), show_default=True)
def export(runs: tuple[Path, ...], tasks_dir: tuple, anchors_file: Path | None, out: Path) -> None:
    """Write rows as Parquet and the tables as JSON, with a published JSON Schema."""
    from shiftbench import results, specs
    from shiftbench.report import export

    scales = specs.load_scales(anchors_file) if anchors_file else {}
    rows = results.read_rows(runs or (Path("runs"),), specs.load_tasks(tasks_dir), scales)
    for path in export.write(rows, out):
        click.echo(path)


@cli.command()
@click.option("--baseline", type=PATH, multiple=True, required=True,
              help="Rows to hold against: CSV file, folder or glob; repeatable.")  # fmt: skip
@click.option("--candidate", type=PATH, multiple=True, required=True,
              help="Rows to judge; as --baseline.")  # fmt: skip
@click.option("--max-drop", type=click.FloatRange(0), default=5.0, show_default=True,
              callback=check_finite, help="Points of score that may be lost.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
              default=0.95, show_default=True, callback=check_finite,
              help="1 − the chance of a false alarm, over all comparisons.")  # fmt: skip
@click.option("--min-seeds", type=click.IntRange(1), default=1, show_default=True,
              help="Training seeds that each side must have.")  # fmt: skip
@click.option("--agent", "agents", multiple=True, help="Agent; repeatable. Default: all.")
@click.option("--baseline-agent", help="Agent of the baseline that has another id there.")
@click.option("--candidate-agent", help="Its id in the candidate's rows.")
@click.option("--task", "tasks", multiple=True, help="Task; repeatable. Default: all.")
@click.option("--family", "families", multiple=True,
              help="Family, none for clean episodes; repeatable. Default: all.")  # fmt: skip
@click.option("--level", "levels", multiple=True,
              help="Level, none for clean episodes; repeatable. Default: all.")  # fmt: skip
@click.option("--seed", "seeds", type=SEED, multiple=True,
              help="Training seed; repeatable. Default: all.")  # fmt: skip
@click.option("--episodes", type=EPISODES, help="The first so many episodes. Default: all.")
@click.option("--per-task", is_flag=True, help="Judge every task, not the mean over the tasks.")
@click.option("--tasks-dir", type=PATH, multiple=True, help="Folder with further task files.")
@anchors_option
@click.option("--junit", type=PATH, help="Write JUnit XML there.")
@click.option("--markdown", type=PATH, help="Write Markdown for a CI summary there.")
@json_option
def check(baseline: tuple, candidate: tuple, max_drop: float, confidence: float, min_seeds: int,
          baseline_agent: str | None, candidate_agent: str | None, tasks_dir: tuple,
          anchors_file: Path | None, junit: Path | None, markdown: Path | None,
          as_json: bool, **chosen: Any) -> None:  # fmt: skip
    """Fail where a candidate's score dropped against a baseline's: a gate for CI.

    Exits with 0 (passed), 1 (a drop of more than --max-drop is shown), 2 (bad input) or 3 (not
    comparable: cells, seeds or episodes are missing, or versions differ). docs/gate.md says how.
    """
    from shiftbench import check as gate
    from shiftbench import results, specs
    from shiftbench.check import output

    rename = gate.pair_of_agents(chosen["agents"], baseline_agent, candidate_agent)
    for path, flag in ((junit, "--junit"), (markdown, "--markdown")):
        gate.check_target(path, flag)
    known = specs.load_tasks(tasks_dir)
    scales = specs.load_scales(anchors_file) if anchors_file else {}
    sides = [results.read_rows(paths, known, scales) for paths in (baseline, candidate)]
    verdict = gate.check(
        *sides,
        gate.Selection(rename=rename, **chosen),
        max_drop=max_drop,
        confidence=confidence,
        min_seeds=min_seeds,
    )
    for path, render in ((junit, output.junit), (markdown, output.markdown)):
        if path:
            with replacing(path) as temporary:
                temporary.write_text(render(verdict), encoding="utf-8")
            click.echo(f"written: {path}", err=True)
    click.echo(output.to_json(verdict) if as_json else output.text(verdict))
    sys.exit(verdict.exit_code)


@cli.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--suite-file", type=PATH, help="TOML with further suites, one table each.")
@click.option("--tasks-dir", type=PATH, multiple=True, help="Folder with further task files.")
@json_option
def validate(files: tuple, suite_file: Path | None, tasks_dir: tuple, as_json: bool) -> None:
    """Say what keeps rows (CSV files, folders, globs) from being published: results/README.md.

    Exits with 1 where something does.
    """
    from shiftbench import specs
    from shiftbench import validate as rules

    count, found = rules.problems(files, specs.load_suites(suite_file), specs.load_tasks(tasks_dir))
    if as_json:
        click.echo(json.dumps({"rows": count, "problems": found}, indent=2))
    else:
        for line in found[:SHOWN_PROBLEMS]:
            click.echo(line)
        more = len(found) - SHOWN_PROBLEMS
        click.echo(
            f"and {more} more problems" if more > 0 else f"{count} rows, {len(found)} problems"
        )
    if found:
        sys.exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(words, prog_name="shiftbench", standalone_mode=False)
    except click.exceptions.Abort:
        code = _stopped(words)
    except KeyboardInterrupt:
        code = _stopped(words)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "shiftbench"
        code = _failed(f"{error.format_message()} ('{command} --help' says what is valid)")
    except click.ClickException as error:
        code = _failed(error.format_message())
    except Unfinished as error:
        code = _unfinished(str(error), words)
    except (ShiftBenchError, OSError) as error:
        code = _failed(str(error))
    sys.exit(code if isinstance(code, int) else 0)


def _failed(message: str) -> int:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return 2


def _unfinished(message: str, words: list[str]) -> int:
    click.echo(f"Unfinished: {message}. Go on: {_going_on(words)}", err=True)
    return 4


def _stopped(words: list[str]) -> int:
    how = "The same command goes on from there."
    if "--fresh" in words:
        how = f"Go on: {_going_on(words)}"
    click.echo(f"Stopped; what was finished is kept. {how}", err=True)
    return 130


def _going_on(words: list[str]) -> str:
    """Return the command that goes on with what ``words`` began."""
    kept = [word for word in words if word not in ("--resume", "--fresh")]
    return shlex.join(["shiftbench", *kept, "--resume"])
