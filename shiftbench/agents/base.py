"""The contract between an agent and everything that runs it.

Evaluation needs a `Policy` alone, so a third-party agent needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shiftbench.errors import ShiftBenchError
from shiftbench.specs import AgentSpec, Task

if TYPE_CHECKING:
    from shiftbench import finetune
    from shiftbench.encoders import Encoder
    from shiftbench.envs.pixels import PixelEnv


class Policy(Protocol):
    """A deterministic policy over N environments that run side by side."""

    def reset(self, mask: np.ndarray) -> None:
        """Forget the past of the environments that start anew: ``mask`` is bool (N,)."""

    def act(self, pixels: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, 3) frames to float32 (N, A) actions in [-1, 1]."""
        ...


class Agent:
    """An algorithm with its encoder, for one task.

    Args:
        spec: which agent this is.
        task: the task it is trained on.
        action_dim: number of action dimensions A.
        image_size: height and width of the frames in pixels.
        seed: training seed; every random draw of the agent comes from it.
        device: torch device, ignored by agents without torch.
    """

    #: False for agents that need no training and have no checkpoint, such as `random`.
    trainable = True
    #: The names of its sizes, the default first; none where there is nothing to choose.
    sizes: tuple[str, ...] = ()
    #: The precisions that its updates can be computed in, likewise.
    precisions: tuple[str, ...] = ()

    def __init__(
        self,
        spec: AgentSpec,
        task: Task,
        action_dim: int,
        image_size: int,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.spec, self.task, self.action_dim = spec, task, action_dim
        self.image_size, self.seed, self.device = image_size, seed, device

    @classmethod
    def encoder_depth(cls, spec: AgentSpec) -> int | None:
        """Return ``depth`` of `shiftbench.encoders.build` for such an agent."""
        return None

    @classmethod
    def parameters(
        cls, spec: AgentSpec, encoder: Encoder, plan: finetune.Plan, image_size: int
    ) -> int | None:
        """Return how many parameters such an agent has, those of its encoder among them.

        Copies of networks are not counted, and actions have one dimension.

        Args:
            spec: the agent.
            encoder: its encoder, with adapters where it has some.
            plan: which parts of the encoder train.
            image_size: height and width of the frames in pixels.

        Returns:
            the number, None where it is not known.
        """
        return None

    def train(
        self,
        make_env: Callable[[], PixelEnv],
        budget: int,
        seed: int,
        run_dir: Path,
        **options: Any,
    ) -> None:
        """Train up to ``budget`` environment steps in total, resuming from ``run_dir``.

        Args:
            make_env: makes the environment.
            budget: environment steps in total.
            seed: training seed.
            run_dir: folder of the run.
            options: ``eval_every``, ``cache``, ``compiled``, ``progress``, ``halt``,
                ``on_episode``, ``on_end``, ``envs``: as for `shiftbench.train.fit`. What an agent
                has no use for it may ignore.
        """
        raise ShiftBenchError(f"agent '{self.spec.name}' cannot be trained")

    def seconds_per_step(self, env: PixelEnv, **options: Any) -> float:
        """Return the expected training time of one environment step in seconds, NaN if unknown.

        Args:
            env: the environment it would be trained in.
            options: ``cache``, as for `train`.
        """
        return float("nan")

    def policy(self) -> Policy:
        """Return the policy that is scored."""
        raise NotImplementedError

    def encoder(self, trained: bool = True) -> Encoder:
        """Return the encoder of this agent, for who measures what training did to it.

        Args:
            trained: as it was trained or loaded; else a new one, as training with the agent's seed
                begins: pre-trained, or with the random weights of that seed.

        Raises:
            ShiftBenchError: the agent has none, or was neither trained nor loaded.
        """
        raise ShiftBenchError(f"agent '{self.spec.name}' has no encoder that could be looked at")

    def save(self, path: Path) -> None:
        """Write the policy as safetensors with a JSON header of metadata, never as a pickle."""
        raise NotImplementedError

    def load(self, path: Path) -> None:
        """Read what `save` wrote. Raises ShiftBenchError for a file that does not fit."""
        raise NotImplementedError
