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
    """

    def __init__(self, layers: nn.Sequential, states: int) -> None:
        first, self._rest = layers[0], layers[1:]
        self._bias = first.bias
        of_state, self._of_belief = first.weight.split([states, first.in_features - states], dim=1)
        # Rows of the table are what is summed; the weights have them as columns.
        self._table = of_state.t().contiguous()

    def __call__(self, ones: Tensor, belief: Tensor | None = None) -> Tensor:
        """Return what the layers give, (..., features).

        Args:
            ones: `flat_classes` of the states.
            belief: float32 (..., D), None where the layers are over states alone.
        """
        flat = ones.flatten(0, -2)
        if ones.device.type == "cpu":
            value = F.embedding_bag(flat, self._table, mode="sum")
        else:
            # A small product costs nothing there, and its gradient needs no sorting.
            state = self._table.new_zeros(len(flat), len(self._table)).scatter_(1, flat, 1.0)
            value = state @ self._table
        value = value.unflatten(0, ones.shape[:-1]) + self._bias
        if belief is not None:
            value = value + F.linear(belief, self._of_belief)
        return self._rest(value)
