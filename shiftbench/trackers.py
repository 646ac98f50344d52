"""The curve of a training in TensorBoard or Weights & Biases, row by row."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench.errors import ShiftBenchError

if TYPE_CHECKING:
    from shiftbench.plan import Run

#: Takes a row of the curve, see `shiftbench.train.fit`.
OnEpisode = Callable[[dict[str, Any]], None]

#: Each extra with the module that it brings.
MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


def load(name: str) -> Any:
    """Import what a tracker needs.

    Raises:
        ShiftBenchError: it is not installed; the line says how to.
    """
    try:
        return importlib.import_module(MODULES[name])
    except ImportError as error:
        raise ShiftBenchError(
            f"--{name}: {error}; install it: pip install 'shiftbench[{name}]'"
        ) from error


@contextmanager
def tracking(run: Run, done: int, tensorboard: bool, wandb: str | None) -> Iterator[OnEpisode]:
    """Give what takes the rows of one run, and close it afterwards.

    Args:
        run: its folder holds what is written: ``tensorboard/`` and ``wandb/``.
        done: environment steps that the run has already; TensorBoard forgets what comes later.
        tensorboard: write event files.
        wandb: name of a Weights & Biases project; ``WANDB_MODE=offline`` needs no network.
    """
    with ExitStack() as stack:
        sinks = []
        if tensorboard:
            sinks.append(stack.enter_context(_tensorboard(run.folder / "tensorboard", done)))
        if wandb:
            sinks.append(stack.enter_context(_wandb(run, wandb)))
        yield lambda row: [sink(row) for sink in sinks] and None


@contextmanager
def _tensorboard(folder: Path, done: int) -> Iterator[OnEpisode]:
    writer = load("tensorboard").SummaryWriter(folder, purge_step=done + 1)

    def write(row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "env_steps":
                writer.add_scalar(name, value, row["env_steps"])
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


@contextmanager
def _wandb(run: Run, project: str) -> Iterator[OnEpisode]:
    run.folder.mkdir(parents=True, exist_ok=True)
    library = load("wandb")
    try:
        record = library.init(
            project=project,
            name=str(run),
            dir=run.folder,
            config={"agent": run.agent.id, "task": run.task.name, "seed": run.seed},
        )
    except library.Error as error:  # no account, no network, no such project
        raise ShiftBenchError(
            f"--wandb {project}: {error}; WANDB_MODE=offline needs neither account nor network"
        ) from error

    def write(row: dict[str, Any]) -> None:
        record.log(row, step=row["env_steps"])

    try:
        yield write
    finally:
        record.finish()
