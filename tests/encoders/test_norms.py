"""RMS normalisation: PyTorch's values and gradients, by fewer operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from shiftbench.encoders.norms import ChannelRMSNorm, rms_norm

EPS = 1e-4


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4, 16)])
@pytest.mark.parametrize("wanted", ["both", "value", "weight"])
def test_values_and_gradients_are_pytorchs(shape, wanted):
    torch.manual_seed(0)
    weight = torch.randn(shape[-1], requires_grad=wanted != "value")
    value = torch.randn(shape, requires_grad=wanted != "weight")
    back, sources = torch.randn(shape), [x for x in (value, weight) if x.requires_grad]
    expected = F.rms_norm(value, weight.shape, weight, EPS)
    found = rms_norm(value, weight, EPS)
    torch.testing.assert_close(found, expected)
    pairs = (torch.autograd.grad(out, sources, back) for out in (found, expected))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert "_RMSNorm" in type(found.grad_fn).__name__


def test_nothing_divides_by_zero():
    value = torch.zeros(2, 4, requires_grad=True)
    rms_norm(value, torch.ones(4), EPS).sum().backward()
    torch.testing.assert_close(value.grad, torch.full((2, 4), EPS**-0.5))


def test_other_types_are_left_to_pytorch():
    value, weight = torch.randn(3, 4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    assert (rms_norm(value, weight, EPS) == F.rms_norm(value, (4,), weight, EPS)).all()


def test_maps_are_normalised_over_their_channels():
    maps = torch.randn(2, 6, 3, 5).to(memory_format=torch.channels_last)
    found = ChannelRMSNorm(6, EPS)(maps)
    expected = maps / (maps.square().mean(1, keepdim=True) + EPS).sqrt()
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
