"""Low-rank adapters (LoRA; Hu et al. 2021, arXiv 2106.09685) on any layer with a weight.

They hang on `torch.nn.utils.parametrize`, so a layer computes with ``weight + up · down`` whoever
calls it, and the weight itself stays as it is under ``<layer>.parametrizations.weight.original``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

#: Layers that take an adapter. A convolution's weight counts as (out, in · height · width).
LAYERS = (nn.Linear, nn.Conv2d)


class LowRank(nn.Module):
    """A sum of a weight and a matrix of low rank that begins as zero.

    Args:
        weight: float (out, ...), what is adapted.
        rank: of the sum's second part.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Map (out, ...) to the same shape."""
        return weight + (self.up @ self.down).view_as(weight)


def layers(module: nn.Module, parts: Iterable[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name in ``module``, layer) of the layers inside ``parts`` that take an adapter."""
    inside = {id(layer) for part in parts for layer in part.modules()}
    for name, layer in module.named_modules():
        if id(layer) in inside and isinstance(layer, LAYERS):
            yield name, layer


def names(layer: str) -> tuple[str, str]:
    """Return the names of the two parameters that the adapter of ``layer`` has."""
    prefix = f"{layer}.parametrizations.weight.0."
    return prefix + "down", prefix + "up"


def add(module: nn.Module, layer_names: Iterable[str], rank: int) -> None:
    """Give each named layer of ``module`` an adapter; the output stays the same for now."""
    for name in layer_names:
        layer = module.get_submodule(name)
        with torch.no_grad():
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def present(module: nn.Module) -> bool:
    """Whether any layer of ``module`` has an adapter."""
    return any(isinstance(part, LowRank) for part in module.modules())
