"""Networks over latents whose stochastic state is given by class, as imagined ones are.

A state of 32 categoricals of 32 classes has 32 ones among 1,024 values. A product with it is the
sum of 32 rows of the weights, which costs a processor a tenth of the product.

Shapes: S is the stochastic state (categoricals × classes, flattened one-hot), D the belief.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def flat_classes(classes: Tensor, count: int) -> Tensor:
    """Return where in the flattened state the ones are, int64 (..., categoricals).

    Args:
        classes: integers (..., categoricals) in 0..count-1.
        count: classes of a categorical.
    """
    return classes + count * torch.arange(classes.shape[-1], device=classes.device)


class ByClass:
    """Layers that begin with a linear one over states, or over states and beliefs.

    It is of the weights as they are now: what changes them needs a new one.

    Args:
        layers: the first is a linear layer over (..., S) or over (..., S + D).
        states: S.
        summed: whether rows are summed, or multiplied as anywhere else, which is as fast on a GPU
            and takes fewer kernels; None for what suits the weights' device.
    """

    def __init__(self, layers: nn.Sequential, states: int, summed: bool | None = None) -> None:
        self._first, self._rest, self._states = layers[0], layers[1:], states
        weight = self._first.weight
        self._summed = weight.device.type == "cpu" if summed is None else summed
        if self._summed:
            of_state, self._of_belief = weight.split([states, weight.shape[1] - states], dim=1)
            # Rows of the table are what is summed; the weights have them as columns.
            self._table = of_state.t().contiguous()

    def __call__(self, ones: Tensor, belief: Tensor | None = None) -> Tensor:
        """Return what the layers give, (..., features).

        Args:
            ones: `flat_classes` of the states.
            belief: float32 (..., D), None where the layers are over states alone.
        """
        if not self._summed:
            shape = *ones.shape[:-1], self._states
            state = self._first.weight.new_zeros(shape).scatter_(-1, ones, 1.0)
            features = state if belief is None else torch.cat([state, belief], -1)
            return self._rest(self._first(features))
        value = F.embedding_bag(ones.flatten(0, -2), self._table, mode="sum")
        value = value.unflatten(0, ones.shape[:-1]) + self._first.bias
        if belief is not None:
            value = value + F.linear(belief, self._of_belief)
        return self._rest(value)
