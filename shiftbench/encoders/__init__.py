"""Encoders: pixels → features, by name.

A further encoder is one file and one line in `shiftbench.registry.ENCODERS`, or a plugin's entry
point in the group ``shiftbench.encoders``: a function
``build(*, weights, image_size, pretrained) -> Encoder`` with the arguments of `build` below. One
that takes ``depth`` as well grows with the agent.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from shiftbench.encoders.base import Encoder
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import ENCODERS

__all__ = ["Encoder", "build"]

#: What stands before the name of a timm model.
TIMM = "timm:"


def build(
    name: str,
    *,
    weights: Path | None = None,
    image_size: int = 64,
    pretrained: bool = True,
    input_size: int | None = None,
    features: str | None = None,
    depth: int | None = None,
) -> Encoder:
    """Return a new encoder.

    Args:
        name: ``cnn``, ``synth``, ``synth-2``, a registered name, or ``timm:<name>``.
        weights: safetensors file with the pre-trained weights, in place of the encoder's own.
        image_size: height and width of the frames that will come in, in pixels.
        pretrained: load pre-trained weights. Without, the network has random weights, and neither
            a file nor the network is touched.
        input_size: for timm models, the size in pixels that frames are resized to; their own by
            default.
        features: for timm models, which of their features are used; see
            `shiftbench.encoders.timm_models`.
        depth: channels of the first stage, for encoders that come in more than one size; the
            encoder's own by default.

    Raises:
        ShiftBenchError: an unknown name, weights that are missing or do not fit, or an encoder
            that has none to load.
    """
    if weights is not None and not pretrained:
        raise ShiftBenchError(f"--encoder-weights {weights}: encoder '{name}' is built untrained")
    if name.startswith(TIMM):
        from shiftbench.encoders import timm_models

        return timm_models.build(
            name.removeprefix(TIMM),
            weights=weights,
            pretrained=pretrained,
            input_size=input_size,
            features=features,
        )
    if input_size is not None or features is not None:
        raise ShiftBenchError(f"encoder '{name}': only timm models take another input size")
    maker = ENCODERS.get(name, "--encoder")
    grows = depth is not None and "depth" in inspect.signature(maker).parameters
    extra = {"depth": depth} if grows else {}
    return maker(weights=weights, image_size=image_size, pretrained=pretrained, **extra)
