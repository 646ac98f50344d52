"""Formulas of the actor's and the critic's losses.

"The paper" is Hafner et al. 2023, "Mastering Diverse Domains through World Models", arXiv
2301.04104.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def lambda_returns(reward: Tensor, value: Tensor, discount: Tensor, lmbda: float) -> Tensor:
    """Return the λ-returns (H, N) (the paper's equation 5).

    Args:
        reward: (H, N), received on entering imagined step 1..H.
        value: (H + 1, N), of steps 0..H.
        discount: (H + 1, N), discount × probability that step 0..H does not end the episode.
    """
    result, following = [], value[-1]
    for t in reversed(range(reward.shape[0])):
        following = reward[t] + discount[t + 1] * ((1.0 - lmbda) * value[t + 1] + lmbda * following)
        result.append(following)
    return torch.stack(result[::-1])


def replayed_returns(
    reward: Tensor, value: Tensor, first: Tensor, discount: Tensor, lmbda: float
) -> Tensor:
    """Return the λ-returns of the replayed steps 0..T-2, (B, T - 1).

    Args:
        reward: (B, T), received on entering each step.
        value: (B, T), what is taken for the return that begins in each step.
        first: bool (B, T), True for the first step of an episode: none before it leads there.
        discount: (B, T), discount × whether the episode goes on after each step.
    """
    result, following = [], value[:, -1]
    for t in reversed(range(reward.shape[1] - 1)):
        mixed = (1.0 - lmbda) * value[:, t + 1] + lmbda * following
        ahead = reward[:, t + 1] + discount[:, t + 1] * mixed
        following = torch.where(first[:, t + 1], value[:, t], ahead)
        result.append(following)
    return torch.stack(result[::-1], 1)


def log_slope(raw: Tensor) -> Tensor:
    """Return log(1 - tanh(raw)²), the logarithm of the slope of the tanh that bounds a mean.

    Where the mean is at a bound that slope is so small that returns no longer move it; this, whose
    gradient -2 tanh(raw) does not vanish there, does.
    """
    # Written as 2 (log 2 - x - log(1 + exp(-2 x))), finite for every x.
    return 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
