"""Commands that show what there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from shiftbench.commands.options import (
    PATH,
    Whole,
    encoder_options,
    json_option,
    shift_options,
    suite_options,
)


@click.command("list")
@click.argument("what", type=click.Choice(["tasks", "suites", "shifts", "agents", "encoders"]))
@suite_options
@json_option
def list_(what: str, suite: str, suite_file: Path, tasks_dir: tuple, as_json: bool) -> None:
    """List what is registered, plugins included."""
    from shiftbench import listing

    rows = listing.rows(what, suite, suite_file, tasks_dir)
    click.echo(json.dumps(rows, indent=2) if as_json else listing.table(rows))


@click.group()
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


@click.group()
def tasks() -> None:
    """Work on task definitions."""


@tasks.command()
@suite_options
@click.option("--task", "names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--episodes", type=Whole(2, 100_000), default=100, show_default=True)
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


@click.command()
@suite_options
@shift_options
@click.option("--task", "names", multiple=True, help="Task; repeatable. Default: the suite's.")
@click.option("--episode", type=Whole(min=0), default=0, show_default=True)
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


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what works here, what is missing and how to get it."""
    from shiftbench import doctor as examine

    report = examine.examine()
    click.echo(json.dumps(report, indent=2) if as_json else examine.render(report))
    if report["missing"]:
        sys.exit(2)
