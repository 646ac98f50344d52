"""The command line: parse, call, print. Everything heavy is imported inside the commands.

Data goes to stdout, progress and notes to stderr. Exit codes: 0 done, 1 a check failed, 2 bad input
or environment, 3 a check could not be made, 4 the time of --max-minutes was over, 130 stopped by
Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import traceback

import click

from shiftbench import __version__
from shiftbench.commands import judge, look, work
from shiftbench.errors import ShiftBenchError, Unfinished
from shiftbench.halt import Unbegun, hearing

#: Commands that store their work in parts, and go on with it.
KEEPING = ("train", "run", "certify", "pretrain")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="shiftbench")
def cli() -> None:
    """How much of a visual policy survives when the picture changes."""


for command in (
    *(look.list_, look.agents, look.tasks, look.preview, look.doctor),
    *(work.pretrain, work.train, work.run, work.probe, work.certify),
    *(judge.report_, judge.export, judge.check, judge.validate),
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    # OpenMP's threads otherwise wait for work in a loop that keeps the cores from whatever else
    # runs. The library looks here when torch loads it, which no import above does.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every encoding has all letters
            stream.reconfigure(errors="replace")
    try:
        with hearing():
            code = cli.main(words, prog_name="shiftbench", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as stop:  # click wraps the latter
        unbegun = isinstance(stop, Unbegun) or isinstance(stop.__cause__, Unbegun)
        code = _stopped(words, not unbegun)
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
    except Exception:  # 1 would be a verdict
        traceback.print_exc()
        code = _failed("a fault of shiftbench itself, above")
    sys.exit(code if isinstance(code, int) else 0)


def _failed(message: str) -> int:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return 2


def _unfinished(message: str, words: list[str]) -> int:
    click.echo(f"Unfinished: {message}. Go on: {_going_on(words)}", err=True)
    return 4


def _stopped(words: list[str], begun: bool) -> int:
    name = words[0] if words else ""
    text = "Stopped."
    if name in KEEPING:
        anew = "--fresh" in words or name == "pretrain"  # which begins where --resume is not said
        how = (
            f"Go on: {_going_on(words)}"
            if anew and begun
            else "The same command goes on from there."
        )
        text = f"Stopped; what was finished is kept. {how}"
    click.echo(text, err=True)
    return 130


def _going_on(words: list[str]) -> str:
    """Return the command that goes on with what ``words`` began."""
    kept = [word for word in words if word not in ("--resume", "--fresh")]
    return shlex.join(["shiftbench", *kept, "--resume"])
