"""RMS normalisation with a backward pass of its own, for processors.

PyTorch has a fused kernel for it on CUDA alone; on a CPU its backward pass is put together from
some fifteen operations, each of which passes over a whole feature map. This one needs seven.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _RMSNorm(torch.autograd.Function):
    """``x / sqrt(mean(x²) + eps) · weight`` over the last dimension (arXiv 1910.07467)."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor, eps: float) -> Tensor:
        size = torch.linalg.vector_norm(value, dim=-1, keepdim=True)
        inverse = size.square_().div_(value.shape[-1]).add_(eps).rsqrt_()
        normal = value * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        normal, inverse, weight = ctx.saved_tensors
        product = (grad * normal).flatten(0, -2)
        of_weight = product.sum(0) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None
        along = (product @ (weight / len(weight))).view_as(inverse)
        return (grad * weight).addcmul_(normal, along, value=-1.0).mul_(inverse), of_weight, None


def rms_norm(value: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return ``value`` (..., C) normalised over C and times ``weight`` (C,): the same shape."""
    if value.device.type == "cpu" and value.dtype == weight.dtype == torch.float32:
        return _RMSNorm.apply(value, weight, eps)
    return F.rms_norm(value, weight.shape, weight, eps)


class ChannelRMSNorm(nn.Module):
    """RMS normalisation over the channels of (B, C, H, W) maps."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, value: Tensor) -> Tensor:
        return rms_norm(value.movedim(-3, -1), self.weight, self.eps).movedim(-1, -3)
