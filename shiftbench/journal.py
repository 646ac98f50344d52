"""What rows of a ring held at the last checkpoint, so that a stopped episode leaves no trace."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Journal:
    """Keeps what is overwritten, in main memory, until it is committed or undone.

    It holds each row once at most for each kind of write: about a kilobyte a row whose latent was
    refreshed since the last checkpoint. A process that is killed takes it along.

    Args:
        arrays: what is watched, each of shape (capacity, ...).
        held: rows that belong to the checkpoint, the first so many.
    """

    def __init__(self, arrays: dict[str, np.ndarray], held: int) -> None:
        self._arrays = arrays
        self.commit(held)

    def commit(self, held: int) -> None:
        """Forget everything: what the first ``held`` rows hold now is what counts."""
        self._held = held
        self._kept: dict[tuple[str, ...], np.ndarray] = {}
        self._pages: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        #: Episodes behind the checkpoint that is being written, which ends with a commit; forgotten
        #: last, since whoever is stopped before would undo what was just stored.
        self.pending: int | None = None

    def keep(self, index: np.ndarray, names: Iterable[str]) -> None:
        """Remember arrays ``names`` of rows ``index``, int64 of any shape, before a write."""
        names = tuple(names)
        if names not in self._kept:
            self._kept[names] = np.zeros(self._held, bool)
        index = np.unique(index)
        index = index[index < self._held]
        index = index[~self._kept[names][index]]
        if len(index):
            self._kept[names][index] = True
            self._pages.append((index, {name: self._arrays[name][index] for name in names}))

    def undo(self) -> None:
        """Give every row back what it held."""
        while self._pages:
            index, values = self._pages[-1]
            for name, value in values.items():
                self._arrays[name][index] = value
            self._pages.pop()  # done: whoever is stopped before begins with it again
        self._kept = {}
