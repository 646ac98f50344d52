"""What `shiftbench agents show` says: how large an agent is, and what of its encoder trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shiftbench import encoders, finetune
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import ALGORITHMS
from shiftbench.specs import AgentSpec


def row(spec: AgentSpec, image_size: int) -> dict[str, Any]:
    """Describe an agent and its encoder; weights are read only where a file of them was given.

    Args:
        spec: the agent.
        image_size: height and width of the suite's frames in pixels.

    Returns:
        the agent's id, ``mode``, ``encoder``, ``blocks`` (their number), ``trained_blocks`` (their
        names), ``boundary`` (index of the first that trains), ``parameters`` and
        ``trained_parameters`` of the encoder, adapters included, ``share`` of the latter in [0, 1],
        ``lr_factor`` (learning rate as a multiple of the world model's), ``features`` (their
        number), ``input_size`` in pixels, ``size`` (of its algorithm's, None where there is one),
        ``agent_parameters`` (of everything that it learns with, its encoder included, for one
        dimension of action; None where that is not known).

    Raises:
        ShiftBenchError: the agent has no encoder, or it cannot be built or trained so.
    """
    if spec.encoder == "none":
        raise ShiftBenchError(f"agent '{spec.name}' has no encoder")
    algorithm = ALGORITHMS.get(spec.algorithm)
    encoder = encoders.build(
        spec.encoder,
        weights=Path(spec.weights) if spec.weights else None,
        image_size=image_size,
        pretrained=bool(spec.weights),
        input_size=spec.options.get("encoder_size"),
        features=spec.options.get("encoder_features"),
        depth=algorithm.encoder_depth(spec),
    )
    plan = finetune.plan(encoder, spec.mode, spec.options.get("finetune_blocks"))
    finetune.apply(encoder, plan)
    encoder.pretrained = finetune.MODES[spec.mode].pretrained  # whatever its weights here
    parameters = list(encoder.module.parameters())
    total = sum(p.numel() for p in parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return {
        "agent": spec.id,
        "mode": spec.mode,
        "encoder": spec.encoder,
        "blocks": len(encoder.blocks),
        "trained_blocks": [name for name, _ in encoder.blocks[plan.boundary :]],
        "boundary": plan.boundary,
        "parameters": total,
        "trained_parameters": trained,
        "share": round(trained / total, 4) if total else 0.0,
        "lr_factor": plan.lr_factor,
        "features": encoder.features,
        "input_size": getattr(encoder.transform, "size", image_size),
        "size": spec.options.get("size", next(iter(algorithm.sizes), None)),
        "agent_parameters": algorithm.parameters(spec, encoder, plan, image_size),
    }


def rows(specs: Sequence[AgentSpec], image_size: int) -> list[dict[str, Any]]:
    """Describe several agents, see `row`."""
    return [row(spec, image_size) for spec in specs]


def short(described: dict[str, Any]) -> dict[str, Any]:
    """Return a description for a table: names of blocks as first to last, numbers readable."""
    names = described["trained_blocks"]
    which = f": {names[0]} to {names[-1]}" if len(names) > 1 else "".join(f": {n}" for n in names)
    whole = described["agent_parameters"]
    return {
        "mode": described["mode"],
        "encoder": described["encoder"],
        "blocks that train": f"{len(names)} of {described['blocks']}{which}",
        "boundary": described["boundary"],
        "trained": f"{described['trained_parameters']:,}",
        "parameters": f"{described['parameters']:,}",
        "share": f"{described['share']:.1%}",
        "lr factor": described["lr_factor"],
        "features": described["features"],
        "input": f"{described['input_size']} px",
        "size": described["size"] or "",
        "whole agent": "" if whole is None else f"{whole:,}",
    }
