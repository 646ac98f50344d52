"""Commands that read rows."""

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
    anchors_option,
    check_finite,
    json_option,
)
from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing

#: Lines of `validate` before it only counts.
SHOWN_PROBLEMS = 20


@click.command("report")
@click.argument("runs", nargs=-1, type=PATH)
@click.option("--tasks-dir", type=PATH, multiple=True, help="Folder with further task files.")
@anchors_option
@click.option("--agent", "agents", multiple=True, help="Agent; repeatable. Default: all.")
@click.option("--task", "tasks", multiple=True, help="Task; repeatable. Default: all.")
@click.option("--out", type=PATH, default=Path("report"), show_default=True)
@click.option(
    "--html",
    type=PATH,
    metavar="DIR",
    help="Write the report as a page as well, DIR/index.html, which needs no network.",
)
@json_option
def report_(runs: tuple[Path, ...], tasks_dir: tuple, anchors_file: Path | None, agents: tuple,
            tasks: tuple, out: Path, html: Path | None, as_json: bool) -> None:  # fmt: skip
    """Turn rows (CSV files, folders, globs; default: runs) into a leaderboard and plots."""
    from shiftbench import files, report, results, specs
    from shiftbench.report import curves

    runs = runs or (Path("runs"),)
    files.check_writable(out)
    if html:
        files.check_writable(html, "--html")
    written = {(out / f"{name}.csv").resolve() for name in report.TABLES}
    for file in results.row_files(runs):
        if file.resolve() in written:
            raise ShiftBenchError(f"--out {out}: {file} holds the rows and would be written over")
    known = specs.load_tasks(tuple(tasks_dir))
    rows = results.read_rows(runs, known, specs.load_scales(anchors_file) if anchors_file else {})
    rows = results.only(results.only(rows, "task", tasks), "agent", agents)
    board = report.build(rows, out, curves=curves.read(runs, rows), html=html, tasks=known)
    click.echo(report.to_json(board) if as_json else report.render_table(board))
    page = f"  page: {html / 'index.html'}" if html else ""
    click.echo(f"tables and plots: {out}{page}", err=True)


@click.command()
@click.argument("runs", nargs=-1, type=PATH)
@click.option("--tasks-dir", type=PATH, multiple=True, help="Folder with further task files.")
@anchors_option
@click.option("--out", type=PATH, default=Path("export"), show_default=True)
def export(runs: tuple[Path, ...], tasks_dir: tuple, anchors_file: Path | None, out: Path) -> None:
    """Write rows as Parquet and the tables as JSON, with a published JSON Schema."""
    from shiftbench import files, results, specs
    from shiftbench.report import export

    files.check_writable(out)
    scales = specs.load_scales(anchors_file) if anchors_file else {}
    rows = results.read_rows(runs or (Path("runs"),), specs.load_tasks(tasks_dir), scales)
    for path in export.write(rows, out):
        click.echo(path)


@click.command()
@click.option("--baseline", type=PATH, multiple=True, required=True,
              help="Rows to hold against: CSV file, folder or glob; repeatable.")  # fmt: skip
@click.option("--candidate", type=PATH, multiple=True, required=True,
              help="Rows to judge; as --baseline.")  # fmt: skip
@click.option("--max-drop", type=click.FloatRange(0), default=5.0, show_default=True,
              callback=check_finite, help="Points of score that may be lost.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
              default=0.95, show_default=True, callback=check_finite,
              help="1 − the chance of a false alarm, over all comparisons.")  # fmt: skip
@click.option("--min-seeds", type=Whole(1), default=1, show_default=True,
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
    taken = {file.resolve() for file in results.row_files((*baseline, *candidate))}
    taken |= {anchors_file.resolve()} if anchors_file else set()
    taken |= {file.resolve() for folder in tasks_dir for file in Path(folder).glob("*.toml")}
    for path, flag in ((junit, "--junit"), (markdown, "--markdown")):
        gate.check_target(path, flag)
        if path and path.resolve() in taken:
            raise ShiftBenchError(f"{flag} {path}: read or written by this command already")
        taken |= {path.resolve()} if path else set()
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


@click.command()
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
