"""Checkpoint files: safetensors with one JSON document in the header. Never a pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from shiftbench.agents.base import Agent

#: In the folder of a training: the policy that is scored, and all that going on needs.
POLICY = "policy.safetensors"
TRAINING = "training.safetensors"

#: Raised when the meaning of a checkpoint changes; older ones stay loadable, newer are refused.
SCHEMA = 2


def write(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write ``tensors`` and ``meta`` so that ``path`` is either the old or the whole new file.

    Raises:
        ShiftBenchError: the folder cannot be written or the disk is full; an earlier file stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    header = {"shiftbench": json.dumps({"schema": SCHEMA, **meta}, sort_keys=True)}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, metadata=header)
        except SafetensorError as error:  # what a full disk is reported as
            raise OSError(error) from error


def _refused(path: Path, why: str) -> ShiftBenchError:
    """Return the error for a file that cannot be used, with the flag that mends it."""
    if path.name == TRAINING:  # what a training is gone on with
        return ShiftBenchError(f"{path}: {why}; --fresh begins anew and moves the training aside")
    return ShiftBenchError(f"--checkpoint {path}: {why}")


def read_meta(path: Path) -> dict[str, Any]:
    """Return the JSON document of a checkpoint without loading its tensors or importing torch.

    Raises:
        ShiftBenchError: missing, truncated, not safetensors, not ours, or of a newer schema.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise _refused(path, what)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _refused(path, f"not a complete safetensors file ({error})") from error
    try:
        meta = json.loads(header["shiftbench"])
        schema = meta["schema"]
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(path, "not written by shiftbench") from error
    if not isinstance(schema, int) or schema > SCHEMA:
        newer = f"schema {schema} is newer than this shiftbench's {SCHEMA}"
        raise _refused(path, f"{newer}: install a newer shiftbench")
    return meta


def check_fits(path: Path, meta: dict[str, Any], agent: Agent) -> None:
    """Raise ShiftBenchError unless the checkpoint is of this agent, task and image size."""
    wanted = {
        "task": agent.task.name,
        "task_version": agent.task.version,
        "image_size": agent.image_size,
        "action_dim": agent.action_dim,
    }
    for key, value in wanted.items():
        if meta.get(key) != value:
            raise ShiftBenchError(
                f"--checkpoint {path}: made for {key} {meta.get(key)!r}, not {value!r}"
            )
    spec = meta.get("agent")
    for key in ("algorithm", "encoder", "mode"):
        made = spec.get(key) if isinstance(spec, dict) else None
        if made != getattr(agent.spec, key):
            raise ShiftBenchError(
                f"--checkpoint {path}: its agent has {key} {made!r}, "
                f"'{agent.spec.id}' has {getattr(agent.spec, key)!r}"
            )
    options = spec["options"] if isinstance(spec.get("options"), dict) else {}
    own = ["finetune_blocks", "encoder_size", "encoder_features", "size", "precision"]
    # Elsewhere the hash of the weights tells, wherever they were taken from.
    own += [] if meta.get("base_sha256") else ["weights"]
    for key in own:
        made, wanted = options.get(key), agent.spec.options.get(key)
        if made != wanted:
            raise ShiftBenchError(
                f"--checkpoint {path}: its agent has {key} {made!r}, '{agent.spec.id}' has "
                f"{wanted!r}"
            )
    if spec.get("augment", "none") != agent.spec.augment:
        raise ShiftBenchError(
            f"--checkpoint {path}: its agent was trained with --augment "
            f"{spec.get('augment', 'none')}, '{agent.spec.id}' is with {agent.spec.augment}"
        )


def read(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the JSON document of a checkpoint. Raises as `read_meta`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    meta = read_meta(path)
    try:
        return load_file(path, device=device), meta
    except (SafetensorError, OSError) as error:
        raise _refused(path, f"cannot be read: {error}") from error


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
