"""Sequence replay on the device that learns, with the files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from shiftbench import progress
from shiftbench.replay import LATENT, Replay

if TYPE_CHECKING:
    from shiftbench.train import Learner

#: Rows that are copied at once where a run is resumed.
_ROWS = 4096


class DeviceReplay(Replay):
    """A replay that sequences are drawn from without passing through main memory.

    What is added goes to the files and to the device. Newer latents stay there until a checkpoint
    puts them into the files. It draws the same as `Replay`.

    Args:
        args, options: as for `Replay`.
        device: torch device.
        rows: how many are expected to be written, 12 kB each at 64 px; there is room made for more.

    Raises:
        torch.OutOfMemoryError: they are too many for the device.
    """

    def __init__(self, folder: Path, *args: Any, device: str, rows: int, **options: Any) -> None:
        super().__init__(folder, *args, **options)
        rows = max(rows, len(self))
        self._copies = {
            name: torch.from_numpy(array[:0]).to(device).new_empty(rows, *array.shape[1:])
            for name, array in self.arrays.items()
        }
        self._newer = np.zeros(self.capacity, bool)
        self._drawn: tuple[np.ndarray, Tensor] | None = None
        for name, copy in self._copies.items():
            for start in range(0, len(self), _ROWS):
                part = slice(start, min(start + _ROWS, len(self)))
                copy[part] = torch.from_numpy(self.arrays[name][part])

    def add(self, **step: np.ndarray | float | bool) -> None:
        index = self.count % self.capacity
        self._make_room(index)
        super().add(**step)
        for name, copy in self._copies.items():
            copy[index] = torch.from_numpy(np.asarray(self.arrays[name][index]))
        self._newer[index] = False

    def _make_room(self, index: int) -> None:
        """Double the copies where row ``index`` is beyond them."""
        for name, copy in self._copies.items():
            if index >= len(copy):
                larger = copy.new_empty(min(2 * len(copy), self.capacity), *copy.shape[1:])
                larger[: len(copy)] = copy
                self._copies[name] = larger

    def sample(
        self, batch: int, length: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], np.ndarray]:
        sequences, index = super().sample(batch, length, rng)
        self._drawn = index, self._place(index)
        return sequences, index

    def refresh(self, index: np.ndarray, state: Tensor, belief: Tensor) -> None:
        if self._drawn is not None and self._drawn[0] is index:
            # It is on the device already: a copy would wait for what the device has in hand.
            place = self._drawn[1].flatten()
        else:
            place = self._place(index).flatten()
        # Where sequences overlap the last counts, as in the files; a device writes in any order.
        last = _last(index.ravel())
        for name, value in zip(LATENT, (state, belief), strict=True):
            copy, value = self._copies[name], value.flatten(0, index.ndim - 1)
            if len(last) < index.size:
                kept = self._place(last)
                copy[place[kept]] = value[kept].to(copy.dtype)
            else:
                copy[place] = value.to(copy.dtype)
        self._newer[index] = True

    def settle(self) -> None:
        index = np.flatnonzero(self._newer)
        super().refresh(index, *(self._rows(name, self._place(index)) for name in LATENT))
        self._newer[:] = False

    def _place(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(index).to(self._copies["first"].device)

    def _rows(self, name: str, place: Tensor) -> Tensor:
        return self._copies[name][place]


def make(agent: Learner, folder: Path, capacity: int, rows: int, count: int = 0) -> Replay:
    """Open the replay of an agent: on its device where it asks for that and there is room.

    Args:
        agent: the learner; `replay_device`, where it has one, names the device.
        folder: where the arrays live.
        capacity: most steps held.
        rows: how many are expected to be written.
        count: steps ever added, where a run is resumed.
    """
    config, device = agent.config, getattr(agent, "replay_device", None)
    shape = (capacity, agent.image_size, agent.action_dim)
    latent = (config.belief, config.categoricals, config.classes)
    if device is not None:
        try:
            return DeviceReplay(
                folder, *shape, *latent, count=count, device=device, rows=min(rows, capacity)
            )
        except torch.OutOfMemoryError as error:
            reason = str(error).split(". ")[0].strip()
            progress.note(f"Replay stays in main memory: {reason}")
    return Replay(folder, *shape, *latent, count=count)


def _last(index: np.ndarray) -> np.ndarray:
    """Return where each number of ``index`` (N,) stands for the last time, int64 in any order."""
    return len(index) - 1 - np.unique(index[::-1], return_index=True)[1]
