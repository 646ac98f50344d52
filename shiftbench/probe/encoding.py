"""Frames → what an encoder makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftbench.encoders import Encoder
from shiftbench.probe.states import Tick

#: Frames in a batch.
BATCH = 32


@torch.no_grad()
def encode(
    encoder: Encoder, frames: np.ndarray, tick: Tick
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return an encoder's features, and where in the picture its last map is active.

    Args:
        encoder: in evaluation mode.
        frames: uint8 (N, H, W, 3).
        tick: hears of every frame.

    Returns:
        Features float32 (N, F), before any normalisation of the agent's own; and the norm over the
        channels at each location of the last block's output (a map, or the tokens of a
        transformer's patches), float32 (N, h, w), or None where that is no map.
    """
    features, activity = [], []
    last: list = [None]

    def keep(module: nn.Module, args: tuple, out: Tensor | tuple) -> None:
        last[0] = out

    # A block may be a mere list of modules; then it is what the last of them gives.
    modules = list(encoder.blocks[-1][1].modules()) if encoder.blocks else []
    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        for images in _batches(encoder, frames):
            features.append(encoder(images).float().flatten(1).cpu().numpy())
            activity.append(_norms(last[0], encoder.module))
            tick(len(images))
    finally:
        for handle in handles:
            handle.remove()
    if activity[0] is None:
        return np.concatenate(features), None
    return np.concatenate(features), np.concatenate([norms.cpu().numpy() for norms in activity])


def _batches(encoder: Encoder, frames: np.ndarray) -> Iterator[Tensor]:
    """Yield float32 (B, 3, H, W) in [0, 1], on the encoder's device."""
    for start in range(0, len(frames), BATCH):
        part = torch.from_numpy(frames[start : start + BATCH]).to(encoder.device)
        yield part.permute(0, 3, 1, 2).float() / 255.0


def _norms(out: Tensor | tuple | None, module: nn.Module) -> Tensor | None:
    """Return the norms over channels, (B, h, w), of a map or of the tokens of patches."""
    net = getattr(module, "net", module)  # timm's model, which says how its outputs are laid out
    if isinstance(out, tuple | list) and out:
        out = out[0]
    if not isinstance(out, Tensor):
        return None
    if out.dim() == 4:
        norms = out.norm(dim=-1 if getattr(net, "output_fmt", "NCHW") == "NHWC" else 1)
    elif out.dim() == 3:
        norms = out[:, getattr(net, "num_prefix_tokens", 0) :].norm(dim=-1)
        side = math.isqrt(norms.shape[1])
        if side * side != norms.shape[1]:
            return None
        norms = norms.unflatten(1, (side, side))
    else:
        return None
    return norms.float() if norms[0].numel() > 1 else None


def fitted(frames: np.ndarray, size: int) -> np.ndarray:
    """Return square frames at another size in pixels: uint8 (N, size, size, 3)."""
    if frames.shape[1] == size:
        return frames
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return images.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
