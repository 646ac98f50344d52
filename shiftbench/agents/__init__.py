"""The named agents: one table, extended by installed plugins.

A plugin adds an algorithm with the entry-point group ``shiftbench.algorithms`` (a subclass of
`shiftbench.agents.base.Agent`) and a named agent with ``shiftbench.agents`` (an
`shiftbench.specs.AgentSpec`). Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.registry import ALGORITHMS, ENCODERS, Registry
from shiftbench.specs import AgentSpec

AGENTS = Registry(
    "agent",
    {
        spec.name: spec
        for spec in (
            AgentSpec("scratch", "dreamer", "cnn", "scratch"),
            AgentSpec("scratch-aug", "dreamer", "cnn", "scratch", augment="photometric"),
            AgentSpec("pvm-frozen", "dreamer", "synth-2", "frozen"),
            AgentSpec("pvm-partial", "dreamer", "synth-2", "partial"),
            AgentSpec("pvm-full", "dreamer", "synth-2", "full"),
            AgentSpec("pvm-lowlr", "dreamer", "synth-2", "lowlr"),
            AgentSpec("pvm-lora", "dreamer", "synth-2", "lora"),
            AgentSpec("random", "random", "none", "scratch"),
            AgentSpec("zero", "zero", "none", "scratch"),
        )
    },
)

#: Overrides that become options under their own name, in the order of their flags.
PLAIN_OVERRIDES = (
    "finetune_blocks", "encoder_size", "encoder_features", "augment", "size", "precision",
)  # fmt: skip
OVERRIDES = ("encoder", "encoder_weights", *PLAIN_OVERRIDES)


def resolve(
    name: str,
    *,
    encoder: str | None = None,
    encoder_weights: Path | None = None,
    finetune_blocks: int | None = None,
    encoder_size: int | None = None,
    encoder_features: str | None = None,
    augment: str | None = None,
    size: str | None = None,
    precision: str | None = None,
) -> AgentSpec:
    """Return the named agent with its overrides, which become part of its id.

    Args:
        name: a name in `AGENTS`.
        encoder: another encoder, as ``cnn``, ``synth``, ``synth-2``, ``timm:<name>`` or a
            registered one.
        encoder_weights: a safetensors file; its hash enters the id, its path does not.
        finetune_blocks: how many of the last blocks train in mode ``partial``.
        encoder_size: height and width in pixels of what a timm model is given, whatever the
            suite's frames measure.
        encoder_features: which features of a timm model are used, see
            `shiftbench.encoders.timm_models`.
        augment: what happens to training frames.
        size: of the agent's networks, one of its algorithm's ``sizes``.
        precision: of products in its updates, one of its algorithm's ``precisions``.

    Raises:
        ShiftBenchError: an unknown agent, encoder, size or precision, or an override that has no
            effect.
    """
    spec = AGENTS.get(name, "--agent")
    if not isinstance(spec, AgentSpec):
        raise ShiftBenchError(f"agent '{name}' from {AGENTS.origin(name)} is not an AgentSpec")
    if spec.algorithm not in ALGORITHMS:
        ALGORITHMS.get(spec.algorithm)
    options: dict[str, Any] = dict(spec.options)
    if encoder is not None and encoder != spec.encoder:
        if spec.encoder == "none":
            raise ShiftBenchError(f"--encoder {encoder}: agent '{name}' has no encoder to replace")
        if encoder.startswith("timm:"):
            from shiftbench.encoders import timm_models

            timm_models.check_name(encoder.removeprefix("timm:"))
        else:
            if encoder not in ENCODERS:
                raise unknown("encoder", encoder, [*ENCODERS, "timm:<name>"], "--encoder")
            ENCODERS.get(encoder)  # one that cannot be imported is said now
        options["encoder"] = encoder
    if encoder_weights is not None:
        if spec.mode == "scratch":
            raise ShiftBenchError(
                f"--encoder-weights: agent '{name}' trains its encoder from scratch"
            )
        if not encoder_weights.is_file():
            raise ShiftBenchError(f"--encoder-weights {encoder_weights}: no such file")
        options["weights"] = hashlib.sha256(encoder_weights.read_bytes()).hexdigest()[:12]
    if finetune_blocks is not None:
        if spec.mode != "partial":
            raise ShiftBenchError(
                f"--finetune-blocks: agent '{name}' has mode '{spec.mode}', not 'partial'"
            )
        options["finetune_blocks"] = finetune_blocks
    encoder = encoder or spec.encoder
    for key, value in (("encoder_size", encoder_size), ("encoder_features", encoder_features)):
        if value is not None:
            if not encoder.startswith("timm:"):
                raise ShiftBenchError(
                    f"--{key.replace('_', '-')}: only for timm models, not encoder '{encoder}'"
                )
            options[key] = value
    if augment is not None and augment != spec.augment:
        from shiftbench.augment import get

        get(augment, "--augment")
        if spec.encoder == "none":
            raise ShiftBenchError(f"--augment {augment}: agent '{name}' learns from no frames")
        options["augment"] = augment
    for key, value in (("size", size), ("precision", precision)):
        if value is not None:
            choices = getattr(ALGORITHMS.get(spec.algorithm), f"{key}s")
            if not choices:
                raise ShiftBenchError(f"--{key} {value}: agent '{name}' has one {key}")
            if value not in choices:
                raise unknown(key, value, choices, f"--{key}")
            if value != spec.options.get(key, choices[0]):
                options[key] = value
    return msgspec.structs.replace(
        spec,
        encoder=encoder,
        weights=str(encoder_weights) if encoder_weights else "",
        augment=augment or spec.augment,
        options=options,
    )
