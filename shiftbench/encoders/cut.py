"""An encoder cut in two before one of its blocks: a trunk that does not change, and a head.

No model has to be rewritten for it. The trunk is the encoder's own code, stopped where the first
module of that block is called, and what it is called with is the activations. The head is the same
code again on an empty batch, up to that call, which gets the activations instead. So whatever lies
before the first block (stem, patch and position embedding, class token), and whatever passes
between blocks (maps, tokens, tuples of them), needs no case of its own. A cut is tried when it is
made: what does not give the encoder's own features is refused.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from shiftbench.errors import ShiftBenchError

if TYPE_CHECKING:
    from shiftbench.encoders.base import Encoder

#: Largest error of the features of the probe, relative to their largest magnitude.
TOLERANCE = 1e-4

#: What may go wrong in an encoder that gets other batches than it expects.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)


class _Part(NamedTuple):
    """A tensor that the head's first module is called with, one row a frame."""

    index: int  # among the leaves of the call's arguments
    shape: tuple[int, ...]  # of one row
    channels_last: bool

    @property
    def size(self) -> int:
        return int(torch.Size(self.shape).numel())

    def flat(self, value: Tensor) -> Tensor:
        return (value.permute(0, 2, 3, 1) if self.channels_last else value).flatten(1)

    def restore(self, flat: Tensor) -> Tensor:
        if not self.channels_last:
            return flat.unflatten(1, self.shape)
        channels, *grid = self.shape
        return flat.unflatten(1, (*grid, channels)).permute(0, 3, 1, 2)


class _Call(NamedTuple):
    """How a module was called: the leaves of its arguments and the structure around them."""

    leaves: list[Any]
    spec: TreeSpec


class _Stop(Exception):
    """Carries a call out of the encoder."""


class Cut:
    """Both halves of an encoder.

    Args:
        encoder: the encoder, which stays as it is and is used, not copied.
        boundary: index of the head's first block; where it is the number of blocks, the trunk is
            the whole encoder, everything after the last block included.
        image_size: height and width of the frames in pixels.

    Attributes:
        size: numbers that the trunk gives for a frame.

    Raises:
        ShiftBenchError: the encoder does not work in two halves.
    """

    def __init__(self, encoder: Encoder, boundary: int, image_size: int) -> None:
        self._encoder, self._blocks = encoder, encoder.blocks[boundary:]
        self._whole = not self._blocks
        self._parts: list[_Part] = []
        self._ghosts = 0
        self.size = encoder.features
        if self._whole:
            return
        name, block = self._blocks[0]
        training = encoder.module.training
        # Nothing random, so that the halves can be compared with the whole.
        encoder.module.eval()
        try:
            self._probe(block, image_size)
        except _FAILURES as error:
            raise ShiftBenchError(
                f"encoder '{encoder.name}' cannot be cut before block '{name}': {error}"
            ) from error
        finally:
            encoder.module.train(training)

    @torch.no_grad()
    def trunk(self, image: Tensor) -> Tensor:
        """Map float32 (B, 3, H, W) in [0, 1] to float32 (B, size); no gradient is recorded."""
        if self._whole:
            return self._encoder(image)
        leaves = self._stopped([self._entry], image).leaves
        return torch.cat([part.flat(leaves[part.index]) for part in self._parts], 1)

    def head(self, activations: Tensor) -> Tensor:
        """Map float32 (B, size) to the encoder's features, float32 (B, features)."""
        if self._whole:
            return activations
        values = activations.split([part.size for part in self._parts], 1)

        def enter(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            handle.remove()
            leaves, spec = tree_flatten((args, kwargs))
            for part, value in zip(self._parts, values, strict=True):
                leaves[part.index] = part.restore(value)
            return tree_unflatten(leaves, spec)

        handle = self._entry.register_forward_pre_hook(enter, with_kwargs=True)
        try:
            features = self._encoder.module(activations.new_zeros(self._ghosts, *self._input))
            # Some encoders end by shaping what they have as they found it: one row, not B.
            return features.reshape(len(activations), -1)
        finally:
            handle.remove()

    def signature(self) -> int:
        """Return a checksum (32 bits) of what decides the activations: names, shapes, weights."""
        module = self._encoder.module
        head = {id(value) for _, block in self._blocks for value in _tensors(block).values()}
        total = zlib.crc32(f"{self._encoder.name} {self.size} {self._parts}".encode())
        for value in _tensors(module).values():
            if id(value) not in head:
                data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                total = zlib.crc32(data.numpy(), total)
        return total

    @torch.no_grad()
    def _probe(self, block: nn.Module, image_size: int) -> None:
        """Find the head's first module and what it takes, and compare the halves with the whole."""
        encoder, calls = self._encoder, []
        device = encoder.device
        for count in (3, 2):
            ramp = torch.linspace(0.0, 1.0, count * 3 * image_size**2, device=device)
            image = ramp.view(count, image_size, image_size, 3).permute(0, 3, 1, 2)
            calls.append(self._stopped(list(block.modules()), image))
        self._input = encoder.transform(image).shape[1:]
        many, few = (call.leaves for call in calls)
        if calls[0].spec != calls[1].spec:
            raise ValueError("it is called with other arguments for other batches")
        for index, (value, other) in enumerate(zip(many, few, strict=True)):
            if isinstance(value, Tensor) and value.dim() and (len(value), len(other)) == (3, 2):
                last = value.dim() == 4 and not value.is_contiguous()
                last = last and value.is_contiguous(memory_format=torch.channels_last)
                self._parts.append(_Part(index, tuple(value.shape[1:]), last))
        if not self._parts:
            raise ValueError("what it is called with does not depend on the frame")
        self.size = sum(part.size for part in self._parts)
        wanted, activations = encoder(image), self.trunk(image)
        # Few models cannot work on nothing; one frame of zeros costs them next to nothing as well.
        for self._ghosts in (0, 1):
            try:
                found = self.head(activations)
            except _FAILURES:
                if self._ghosts:
                    raise
                continue
            error = (found - wanted).abs().max() if found.shape == wanted.shape else torch.inf
            if error <= TOLERANCE * wanted.abs().max():
                return
        raise ValueError("its halves do not give the features of the whole")

    def _stopped(self, modules: list[nn.Module], image: Tensor) -> _Call:
        """Run the encoder up to the first of ``modules`` and return how that was to be called."""

        def stop(module: nn.Module, args: tuple, kwargs: dict) -> NoReturn:
            self._entry = module
            raise _Stop(_Call(*tree_flatten((args, kwargs))))

        handles = [m.register_forward_pre_hook(stop, with_kwargs=True) for m in modules]
        try:
            self._encoder(image)
        except _Stop as reached:
            return reached.args[0]
        finally:
            for handle in handles:
                handle.remove()
        raise ValueError("it is never called")


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def as_float16(activations: Tensor) -> np.ndarray:
    """Return activations as they are stored, float16; what is beyond its range its largest."""
    limit = torch.finfo(torch.float16).max
    return activations.clamp(-limit, limit).half().cpu().numpy()
