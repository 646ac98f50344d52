"""Options that several commands share, and what checks their values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class FilePath(click.Path):
    """A path that is not empty: an empty one is most often a variable that is not set."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Whole(click.IntRange):
    """A whole number within bounds; click's own says that 1e3 is no valid *integer range*."""

    name = "integer"


PATH = FilePath(path_type=Path)
#: Rows are exact up to here, see `shiftbench.results`.
SEED = Whole(0, 2**53)
EPISODES = Whole(1, 100_000)


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
    click.option("--encoder",
                 help="Another encoder: cnn, synth, synth-2, timm:<name> or a plugin's."),
    click.option("--encoder-weights", type=PATH, help="Weights of the encoder (safetensors)."),
    click.option("--encoder-size", type=Whole(8, 2048),
                 help="Side in pixels of a timm model's input; the suite's frames keep theirs."),
    click.option("--encoder-features", help="Features of a timm model: patch, pooled or map."),
    click.option("--finetune-blocks", type=Whole(min=1), help="Last blocks that train."),
    click.option("--size", help="Size of the agent's networks: xs (default), s, m or l."),
)  # fmt: skip
trained_options = options(
    encoder_options,
    click.option("--augment", help="Training frames: none, shift or photometric."),
    click.option("--precision", help="Of products in updates: float32 (default) or bfloat16."),
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
                      "that at most so many megabytes in memory. It changes the speed, and "
                      "values within float16's rounding."),
    click.option("--compile", "compiled", is_flag=True,
                 help="While training: compile updates with torch.compile, on CUDA as graphs. It "
                      "takes minutes at first, and changes the speed and last bits."),
    click.option("--envs", type=Whole(1, 256), default=1, show_default=True,
                 help="While training: environments that collect at a time. More than one step in "
                      "processes of their own while the agent learns; a run keeps its number."),
)  # fmt: skip
slice_options = options(
    click.option("--max-minutes", type=click.FloatRange(0, min_open=True), callback=check_limit,
                 help="Stop within so many minutes, with all that was done stored; exit code 4."),
    click.option("--jobs", type=Whole(1, 256), default=1, show_default=True,
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
