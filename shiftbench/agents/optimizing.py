"""What a training asks of its optimiser besides steps: its state by name, the gradients' size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

#: What stands before the names of its tensors in a checkpoint.
_PREFIX = "optimizer."


def parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    """Yield what it trains, in the order in which its state is numbered."""
    for group in optimizer.param_groups:
        yield from group["params"]


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the Euclidean norm of all gradients together, before any clipping: a scalar.

    It is finite where each of them is.
    """
    gradients = [p.grad for p in parameters(optimizer) if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return its moments as flat named tensors."""
    found = optimizer.state_dict()["state"].items()
    return {f"{_PREFIX}{index}.{key}": t for index, of in found for key, t in of.items()}


def restore(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], steps: Sequence[int]
) -> None:
    """Put back what `state` returned.

    Args:
        optimizer: of the same parameters.
        tensors: by name; others than `state`'s are not looked at.
        steps: updates that each of its groups has done.
    """
    whole = optimizer.state_dict()
    for group, step in zip(whole["param_groups"], steps, strict=True):
        group["step"] = step
    trained = list(parameters(optimizer))
    for name, tensor in tensors.items():
        if name.startswith(_PREFIX):
            index, key = name.removeprefix(_PREFIX).split(".")
            like = trained[int(index)]
            if tensor.shape == like.shape:
                # In the parameter's layout, as at first: files know none, and one kernel for many
                # tensors, as CUDA has it, wants them alike.
                tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
            whole["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(whole)
