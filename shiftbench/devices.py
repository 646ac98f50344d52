"""The torch devices that `--device` names."""

from __future__ import annotations

import torch

from shiftbench.accounting import is_full
from shiftbench.errors import ShiftBenchError


def usable(name: str) -> str:
    """Turn ``auto`` into the best device there is, and check any other.

    Raises:
        ShiftBenchError: torch does not know the device or cannot use it here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        if is_full(error):
            reason += "; others use it: lower --jobs, wait, or use --device cpu"
        raise ShiftBenchError(f"--device {name}: torch cannot use it: {reason}") from error
    return name
