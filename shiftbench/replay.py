"""Sequence replay: every frame once, in a ring on disk, cached by the operating system."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shiftbench import progress
from shiftbench.errors import ShiftBenchError
from shiftbench.feature_cache import WITHOUT, FeatureCache
from shiftbench.files import write_at
from shiftbench.journal import Journal

#: The arrays that updates write to.
LATENT = ("state", "belief")


class Replay:
    """A ring of agent steps from which sequences are drawn uniformly.

    Step t holds the frame, the action that led to it, the reward received on the way, whether it is
    the first of an episode and whether it ended the episode for good, and the agent's latent
    (``state`` as class indices, ``belief``) after seeing it. A sequence may start anywhere: it
    begins with the latent stored one step before.

    Files are memory-mapped, so a resumed run finds its data without loading it; only `count` has
    to be remembered by the checkpoint.

    Args:
        folder: where the arrays live; made if missing.
        capacity: most steps held; the oldest are overwritten.
        image_size: height and width of a frame in pixels.
        action_dim: number of action dimensions A.
        belief: size of the belief D.
        categoricals, classes: shape of the stochastic state.
        count: steps ever added, where a run is resumed.

    Raises:
        ShiftBenchError: the folder cannot be written, or a file with steps that were added is
            missing or too small.

    Attributes:
        cache: activations of the frames, see `use`.
        journal: undoes what was written since it was last committed.
    """

    def __init__(
        self,
        folder: Path,
        capacity: int,
        image_size: int,
        action_dim: int,
        belief: int,
        categoricals: int,
        classes: int,
        count: int = 0,
    ) -> None:
        self.capacity, self.count, self.classes = capacity, count, classes
        self.cache: FeatureCache | None = None
        layout = {
            "pixels": ((image_size, image_size, 3), np.uint8),
            "action": ((action_dim,), np.float32),
            "reward": ((), np.float32),
            "first": ((), np.bool_),
            "terminal": ((), np.bool_),
            "state": ((categoricals,), np.uint8),
            "belief": ((belief,), np.float16),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.arrays = {
                name: _open(folder / f"{name}.bin", (capacity, *shape), dtype, count > 0)
                for name, (shape, dtype) in layout.items()
            }
            # A write through a map ends the process where the disk is full; this one raises.
            self._files = {
                name: (folder / f"{name}.bin").open("r+b", buffering=0) for name in layout
            }
        except OSError as error:
            raise ShiftBenchError(f"{folder}: the replay cannot be stored: {error}") from error
        self.journal = Journal(self.arrays, len(self))

    def __len__(self) -> int:
        """Steps held."""
        return min(self.count, self.capacity)

    def add(self, **step: np.ndarray | float | bool) -> None:
        """Append one agent step: one value for every array of the class docstring.

        With a cache, also ``activations`` float16 (size,).

        Raises:
            ShiftBenchError: the disk is full, and giving up the cache did not help.
        """
        index = self.count % self.capacity
        self.journal.keep(np.array(index), self.arrays)
        try:
            if self.cache is not None:
                self.cache.write(index, step["pixels"], step["activations"])
            self._write(index, step)
        except OSError as error:
            self._without_cache(error)
            try:
                self._write(index, step)
            except OSError as again:
                raise ShiftBenchError(f"the replay cannot be stored: {again}") from again
        self.count += 1

    @property
    def step_bytes(self) -> int:
        """Bytes of a step on disk, without activations."""
        return sum(array[:1].nbytes for array in self.arrays.values())

    def use(self, cache: FeatureCache, compute: Callable[[np.ndarray], np.ndarray]) -> None:
        """Store activations from here on, and sample them; where the disk is full, give that up.

        Args:
            cache: of the same capacity.
            compute: maps frames uint8 (N, H, W, 3) to activations (N, size), for those that are
                held already.
        """
        self.cache = cache
        try:
            cache.complete(self.arrays["pixels"][: len(self)], compute)
        except OSError as error:
            self._without_cache(error)

    def _write(self, index: int, step: dict[str, np.ndarray | float | bool]) -> None:
        for name, array in self.arrays.items():
            value = np.broadcast_to(np.asarray(step[name], array.dtype), array.shape[1:])
            write_at(self._files[name], value.tobytes(), index * array[0].nbytes)

    def _without_cache(self, error: OSError) -> None:
        if self.cache is not None:
            progress.note(f"{WITHOUT} from here on: {error}")
            self.cache.remove()
            self.cache = None

    def sample(
        self, batch: int, length: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], np.ndarray]:
        """Draw ``batch`` sequences of ``length`` steps.

        Returns:
            tensors of shape (batch, length, ...), with a cache ``activations`` among them, and
            under ``state`` (batch, S) one-hot float32 and ``belief`` (batch, D) float32 the latent
            before the first step; and the steps' indices, int64 (batch, length), for `refresh`.

        Raises:
            ValueError: fewer than ``length + 1`` steps are held.
        """
        oldest = self.count - len(self)
        if len(self) < length + 1:
            raise ValueError(f"{len(self)} steps held, {length + 1} needed")
        # The oldest step has no latent before it that is still held.
        start = rng.integers(oldest + 1, self.count - length + 1, size=batch)
        index = (start[:, None] + np.arange(length)) % self.capacity
        place, before = self._place(index), self._place((start - 1) % self.capacity)
        result = {name: self._rows(name, place) for name in self.arrays if name not in LATENT}
        if self.cache is not None:
            result["activations"] = torch.from_numpy(self.cache.read(index))
        classes = self._rows("state", before).long()
        result["state"] = F.one_hot(classes, self.classes).float().flatten(1)
        result["belief"] = self._rows("belief", before).float()
        return result, index

    def _place(self, index: np.ndarray) -> np.ndarray:
        """Return an index, int64 of any shape, as `_rows` takes it."""
        return index

    def _rows(self, name: str, place: np.ndarray) -> Tensor:
        """Return rows of an array."""
        return torch.from_numpy(self.arrays[name][place])

    def mean_frame(self) -> np.ndarray:
        """Return the mean of at most 1,000 frames held, float64 (H, W, 3) in [0, 255]."""
        index = np.linspace(0, len(self) - 1, min(len(self), 1000)).astype(int)
        return self.arrays["pixels"][index].mean(0)

    def refresh(self, index: np.ndarray, state: Tensor, belief: Tensor) -> None:
        """Store newer latents.

        Args:
            index: int64 (B, T), rows of the ring.
            state: int (B, T, categoricals), a tensor on any device, or an array.
            belief: float (B, T, D), likewise.
        """
        self.journal.keep(index, LATENT)
        self.arrays["state"][index] = torch.as_tensor(state).cpu().numpy()
        self.arrays["belief"][index] = torch.as_tensor(belief).float().cpu().numpy()

    def settle(self) -> None:
        """Put into the files whatever is not there yet, for a checkpoint."""

    def flush(self) -> None:
        """Write everything to disk."""
        for array in self.arrays.values():
            array.flush()
        if self.cache is not None:
            try:
                self.cache.flush()
            except OSError as error:
                self._without_cache(error)


def _open(path: Path, shape: tuple[int, ...], dtype: type, held: bool) -> np.memmap:
    """Map a file, which is made where nothing is ``held`` in it yet."""
    size, whole = path.stat().st_size if path.exists() else 0, math.prod(shape, start=1)
    whole *= np.dtype(dtype).itemsize
    if held and size != whole:
        # NumPy would fill it up with zeros: black frames, to be learned from.
        raise ShiftBenchError(
            f"{path}: {size} of {whole} bytes are there, so this training cannot go on; "
            "--fresh begins anew"
        )
    return np.memmap(path, dtype=dtype, mode="r+" if held else "w+", shape=shape)
