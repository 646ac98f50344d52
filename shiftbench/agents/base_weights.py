"""What of an agent's encoder came with its pre-trained weights and need not be stored again."""

from __future__ import annotations

from torch import Tensor, nn

from shiftbench.encoders.base import Encoder
from shiftbench.finetune import Plan


class BaseWeights:
    """The tensors with which an encoder began, known by the hash of the weights.

    Args:
        encoder: with its weights loaded and ``plan`` applied.
        plan: what of it trains.

    Attributes:
        sha256: hash of the weights, empty where nothing of them stays as it is or where they have
            none: the whole encoder is then stored.
    """

    def __init__(self, encoder: Encoder, plan: Plan) -> None:
        trained = set(plan.trainable)
        parameters = {name for name, _ in encoder.module.named_parameters()}
        self.sha256 = encoder.sha256 if parameters - trained else ""
        self._fixed = parameters - trained
        self._buffers = {
            name: tensor.detach().cpu().clone()
            for name, tensor in encoder.module.state_dict().items()
            if name not in parameters
        }

    def same(self, module: nn.Module, prefix: str) -> set[str]:
        """Return the names of the encoder's tensors that are still those of the weights.

        Args:
            module: the encoder's network.
            prefix: stands before each name.
        """
        if not self.sha256:
            return set()
        now: dict[str, Tensor] = module.state_dict()
        unmoved = {n for n, old in self._buffers.items() if now[n].cpu().equal(old)}
        return {prefix + name for name in self._fixed | unmoved}
