"""Sequence replay on the device that learns, with the files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shiftbench.replay import LATENT, Replay

#: Rows that are copied at once where a run is resumed.
_ROWS = 4096


class DeviceReplay(Replay):
    """A replay that sequences are drawn from without passing through main memory.

    What is added goes to the files and to the device. Newer latents stay there until a checkpoint
    puts them into the files, so that an update waits for no copy. It draws the same as `Replay`.

    Args:
        args, options: as for `Replay`.
        device: torch device.
        rows: how many are ever written; 12 kB a row at 64 px.

    Raises:
        torch.OutOfMemoryError: they are too many for the device.
    """

    def __init__(self, folder: Path, *args: Any, device: str, rows: int, **options: Any) -> None:
        super().__init__(folder, *args, **options)
        self._copies = {
            name: torch.from_numpy(array[:0]).to(device).new_empty(rows, *array.shape[1:])
            for name, array in self.arrays.items()
        }
        self._newer = np.zeros(rows, bool)
        for name, copy in self._copies.items():
            for start in range(0, len(self), _ROWS):
                part = slice(start, min(start + _ROWS, len(self)))
                copy[part] = torch.from_numpy(self.arrays[name][part])

    def add(self, **step: np.ndarray | float | bool) -> None:
        index = self.count % self.capacity
        super().add(**step)
        for name, copy in self._copies.items():
            copy[index] = torch.from_numpy(np.asarray(self.arrays[name][index]))
        self._newer[index] = False

    def refresh(self, index: np.ndarray, state: Tensor, belief: Tensor) -> None:
        for name, value in zip(LATENT, (state, belief), strict=True):
            copy = self._copies[name]
            copy[self._place(index)] = value.to(copy.dtype)
        self._newer[index] = True

    def settle(self) -> None:
        index = np.flatnonzero(self._newer)
        super().refresh(index, *(self._rows(name, index) for name in LATENT))
        self._newer[:] = False

    def _rows(self, name: str, index: np.ndarray) -> Tensor:
        return self._copies[name][self._place(index)]

    def _place(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(index).to(self._copies["first"].device)
