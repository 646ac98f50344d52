"""Where the time and the memory of a training went."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench import checkpoints
from shiftbench.errors import ShiftBenchError

if TYPE_CHECKING:
    from shiftbench.plan import Run
    from shiftbench.train import Learner

#: What stands in the messages of PyTorch, CUDA and its libraries where memory is full.
_FULL = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")


class Clock:
    """Wall-clock seconds by kind of work; work inside other work counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = 0.0

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        outer, self._inner = self._inner, 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[kind] = self.seconds.get(kind, 0.0) + spent - self._inner
            self._inner = outer + spent

    @contextmanager
    def watching(self, owner: Any, method: str, kind: str) -> Iterator[None]:
        """Count a method of one object meanwhile; it need not know of clocks."""
        plain = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(kind):
                return plain(*args, **kwargs)

        setattr(owner, method, timed)
        try:
            yield
        finally:
            delattr(owner, method)

    def summary(self, total: float) -> str:
        """Return the shares of ``total`` seconds, largest first; ``other`` is what no kind has."""
        kinds = {**self.seconds, "other": max(total - sum(self.seconds.values()), 0.0)}
        parts = sorted(kinds.items(), key=lambda item: -item[1])
        return ", ".join(f"{kind} {100 * value / total:.0f} %" for kind, value in parts)


def memory() -> str:
    """Return the peak memory of this process, and how much of what it holds now is pages of files.

    Replay is read through maps of its files: their pages count as memory of the process, but the
    system takes them back where it needs them. Only Linux tells them apart.
    """
    try:
        import resource
    except ImportError:  # Windows
        return "peak memory unknown"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    text = f"peak memory {peak / 1e9:.2f} GB"
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        files = int(fields.get("RssFile", "0 kB").split()[0]) * 1024
        text += f", at the end {files / 1e9:.2f} GB of it pages of files (replay, libraries)"
    return text


def release() -> None:
    """Give memory of a GPU that nothing uses back, for the processes that are started next."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_full(error: BaseException) -> bool:
    """Whether an error is of memory that is full: torch has a class for the plainest case alone."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _FULL)


def last_good(env_steps: int) -> str:
    """Say which checkpoint a training that broke can go on from.

    Args:
        env_steps: environment steps at the last one, 0 where there is none.
    """
    if not env_steps:
        return "there is no checkpoint yet"
    return f"the last good checkpoint is the one of step {env_steps}"


def out_of_memory(error: Exception, agent: Learner, saved: int) -> ShiftBenchError:
    """Return what to tell a user whose device has too little memory.

    Args:
        error: torch's.
        agent: the learner; it decides which settings would help.
        saved: environment steps at the last checkpoint, 0 where there is none.
    """
    spec, config = agent.spec, agent.config
    flags = ["--jobs"]
    flags += ["--size"] if "size" in spec.options else []  # else it is the smallest
    flags += ["--encoder-size"] if spec.encoder.startswith("timm:") else []
    flags += ["--finetune-blocks"] if spec.mode == "partial" else []
    good = f"; {last_good(saved)}" if saved else ""
    return ShiftBenchError(
        f"training {agent.task.name}: out of memory at environment step {agent.train_steps} "
        f"({_first_sentence(error)}); lower {', '.join(flags)}, or the agent's options batch "
        f"({config.batch}) and length ({config.length}), or use --device cpu{good}"
    )


@contextmanager
def naming_memory(agent: Learner, run_dir: Path | None = None) -> Iterator[None]:
    """Turn an error of full memory into one that names the settings to lower.

    Args:
        agent: the learner.
        run_dir: folder of its training, where there may be a checkpoint.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_full(error):
            raise
        path = run_dir / checkpoints.TRAINING if run_dir else None
        saved = checkpoints.read_meta(path)["counters"] if path and path.exists() else {}
        raise out_of_memory(error, agent, saved.get("env_steps", 0)) from error


@contextmanager
def naming_memory_of(run: Run, device: str) -> Iterator[None]:
    """The same for an evaluation. Does not import torch, which some agents do without."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_full(error):
            raise
        raise ShiftBenchError(
            f"evaluating {run}: out of memory on '{device}' ({_first_sentence(error)}); lower "
            "--jobs, or use --device cpu; finished cells are kept"
        ) from error


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].strip()


@contextmanager
def naming_compiler() -> Iterator[None]:
    """Turn torch's errors in compiling into one line."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = next(line for line in str(error).splitlines() if line.strip())
        raise ShiftBenchError(
            f"--compile: torch cannot compile the updates here, which takes a C++ compiler (g++) "
            f"on a CPU and Triton on CUDA: {reason}; without the flag the same run goes on"
        ) from error
