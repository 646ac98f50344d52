"""Weight files: safetensors alone, checked tensor by tensor before anything is changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from shiftbench.errors import ShiftBenchError

FLAG = "--encoder-weights"


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        ShiftBenchError: the file is missing or is not a complete safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ShiftBenchError(f"{FLAG} {path}: no such file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ShiftBenchError(
            f"{FLAG} {path}: not a complete safetensors file ({error})"
        ) from error


def digest(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise ShiftBenchError unless names and shapes agree; names the first of each kind."""
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    wrong = [n for n in expected if n in tensors and tensors[n].shape != expected[n].shape]
    if not (missing or extra or wrong):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing, the first '{missing[0]}'")
    if extra:
        parts.append(f"{len(extra)} are unexpected, the first '{extra[0]}'")
    if wrong:
        name = wrong[0]
        parts.append(
            f"'{name}' has shape {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}"
        )
    raise ShiftBenchError(f"{source}: weights of another architecture: {'; '.join(parts)}")


def load(module: nn.Module, path: Path) -> str:
    """Fill ``module`` from a safetensors file, in the module's own precision.

    Returns:
        The file's hex SHA-256.

    Raises:
        ShiftBenchError: the file is missing, broken, or of another architecture; the module is
            then unchanged.
    """
    tensors = read(path)
    expected = module.state_dict()
    # Counts of batches serve training statistics alone, and many files leave them out.
    for name in expected:
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.zeros((), dtype=torch.long))
    check(expected, tensors, f"{FLAG} {path}")
    module.load_state_dict({name: tensors[name].to(expected[name].dtype) for name in expected})
    return digest(path)
