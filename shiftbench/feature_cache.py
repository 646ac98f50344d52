"""What the frozen part of an encoder gives for the frames in replay, stored instead of computed.

Blocks that do not train give the same output for the same frame for ever. So a frame passes through
them once, when it is acted on, and updates begin where something trains. This is a matter of speed:
it changes no agent's id, no row, and losses within float16's precision alone.

The activations lie in a file beside the frames, in the order of the ring. It is written with plain
writes, so that a full disk is an error that can be answered, and read through a memory map, of
which no more than a budget stays in main memory. With each frame's activations goes a checksum of
the frame and the trunk. What does not have the right one (the cache was off for a while, the
machine stopped half-way) is computed when a run is resumed.
"""

from __future__ import annotations

import mmap
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from shiftbench import progress
from shiftbench.errors import ShiftBenchError
from shiftbench.files import write_at
from shiftbench.specs import AgentSpec

FLAG = "--feature-cache"
AUTO, OFF = "auto", "off"
#: How a line begins that says why there is no cache.
WITHOUT = "Feature cache: off, updates compute the frozen blocks"

#: ``auto``, ``off``, or the most megabytes (10^6 bytes) of main memory.
Setting = str | int

#: Bytes on the disk that stay free for checkpoints and whatever else there is.
RESERVE = 10**9
#: Bytes around one that is read that the kernel may load with it.
_AROUND = 65536
#: Frames that are computed at once where some are missing.
_BATCH = 32


class Trunk(Protocol):
    """The frozen part of an encoder; `shiftbench.encoders.cut.Cut` is one."""

    size: int

    def signature(self) -> int: ...


class Learner(Protocol):
    """What the cache needs of an agent."""

    spec: AgentSpec

    def trunk(self) -> Trunk | None: ...
    def activations(self, pixels: np.ndarray) -> np.ndarray: ...


class FeatureCache:
    """A ring of activations, one row a frame.

    Args:
        folder: where the files lie; made if missing.
        capacity: rows of the ring.
        trunk: gives the activations.
        budget: most bytes of the file that this process keeps in main memory.

    Raises:
        OSError: the files cannot be made.
    """

    def __init__(self, folder: Path, capacity: int, trunk: Trunk, budget: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.budget, self._size, self._signature = budget, trunk.size, trunk.signature()
        self._row = 2 * trunk.size
        self._paths = folder / "activations.bin", folder / "activations.crc"
        self._values, self._sums = (
            _open(path, capacity * row)
            for path, row in zip(self._paths, (self._row, 4), strict=True)
        )
        self._map = mmap.mmap(self._values.fileno(), capacity * self._row, access=mmap.ACCESS_READ)
        self._rows = np.frombuffer(self._map, np.float16).reshape(capacity, trunk.size)
        self._held, self._whole = 0, capacity * self._row <= budget

    def write(self, index: int, pixels: np.ndarray, activations: np.ndarray) -> None:
        """Store the activations (size,) of a frame, uint8 (H, W, 3).

        Raises:
            OSError: the disk is full.
        """
        # In this order: a row that is not whole has no checksum.
        self._put(index, activations)
        self._sign(index, pixels)

    def _put(self, index: int, activations: np.ndarray) -> None:
        row = np.asarray(activations, np.float16).reshape(self._size)
        write_at(self._values, row.tobytes(), index * self._row)

    def _sign(self, index: int, pixels: np.ndarray) -> None:
        write_at(self._sums, np.uint32(self._sum(pixels)).tobytes(), 4 * index)

    def flush(self) -> None:
        """Write everything to disk.

        The checksums speak of frames: after a power cut, one could stand for a row that never
        reached the disk, unless it is a row that was written after the last checkpoint.
        """
        for file in (self._values, self._sums):
            os.fsync(file.fileno())

    def read(self, index: np.ndarray) -> np.ndarray:
        """Return float16 (..., size) for an index int64 (...)."""
        flat = index.reshape(-1)
        result = np.empty((len(flat), self._size), np.float16)
        # Rows and what the kernel loads around them, counted as if none were held already.
        cost = (self._row // _AROUND + 2) * _AROUND
        for value, i in zip(result, flat, strict=True):
            if self._held + cost > self.budget and not self._whole:
                self._release()
            value[:] = self._rows[i]
            self._held += cost
        return result.reshape(*index.shape, self._size)

    def missing(self, pixels: np.ndarray) -> np.ndarray:
        """Return which rows are not those of ``pixels``, uint8 (N, H, W, 3): int64 (M,)."""
        found = np.frombuffer(os.pread(self._sums.fileno(), 4 * len(pixels), 0), np.uint32)
        wanted = np.array([self._sum(frame) for frame in pixels], np.uint32)
        return np.flatnonzero(found != wanted)

    def complete(self, pixels: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]) -> None:
        """Compute the rows that are missing.

        Args:
            pixels: the frames held, uint8 (N, H, W, 3).
            compute: maps some of them to activations (B, size).

        Raises:
            OSError: the disk is full.
        """
        todo = self.missing(pixels) if len(pixels) else pixels
        if not len(todo):
            return
        with progress.bar(total=len(todo), unit="frame", desc="activations") as bar:
            for start in range(0, len(todo), _BATCH):
                chunk = todo[start : start + _BATCH]
                frames = pixels[chunk]
                for index, row in zip(chunk, compute(frames), strict=True):
                    self._put(int(index), row)
                os.fsync(self._values.fileno())
                for index, frame in zip(chunk, frames, strict=True):
                    self._sign(int(index), frame)
                bar.update(len(chunk))

    def remove(self) -> None:
        """Delete the files, so that the disk has their space again; of no use afterwards."""
        del self._rows
        self._map.close()
        for file, path in zip((self._values, self._sums), self._paths, strict=True):
            file.close()
            path.unlink(missing_ok=True)

    def _sum(self, frame: np.ndarray) -> int:
        return zlib.crc32(np.ascontiguousarray(frame), self._signature)

    def _release(self) -> None:
        """Let the kernel have the pages of the map; the file keeps what is in them."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
        self._held = 0


def check(setting: Setting, spec: AgentSpec) -> None:
    """Raise ShiftBenchError where an agent cannot have the cache that was asked for by number."""
    if isinstance(setting, int) and spec.augment != "none":
        raise ShiftBenchError(
            f"{FLAG} {setting}: agent '{spec.id}' changes its training frames (--augment "
            f"{spec.augment}), so none is seen twice and nothing can be stored; use {FLAG} {AUTO}"
        )


def make(
    setting: Setting,
    agent: Learner,
    folder: Path,
    capacity: int,
    frames: int,
    others: int = 0,
    quiet: bool = False,
) -> FeatureCache | None:
    """Return the cache of a training, or None where there is none.

    Says on stderr what it takes, or why there is none although the agent could use one.

    Args:
        setting: see `Setting`. ``auto`` takes at most a quarter of the main memory.
        agent: the learner; nothing is stored where nothing of its encoder is frozen, nor where its
            training frames are augmented.
        folder: where the files lie.
        capacity: rows of the ring.
        frames: how many of them will be written.
        others: bytes that the rest of the replay will write.
        quiet: say nothing.

    Raises:
        ShiftBenchError: see `check`.
    """
    check(setting, agent.spec)
    if setting == OFF or agent.spec.augment != "none":
        return None
    say = (lambda text: None) if quiet else progress.note
    try:
        trunk = agent.trunk()
        if trunk is None:
            return None
        need, free = 2 * trunk.size * frames, _free(folder)
        text = f"{2 * trunk.size / 1e3:.1f} kB a frame × {frames} frames = {need / 1e6:.0f} MB"
        if need + others + RESERVE > free:
            say(
                f"{WITHOUT}: {text} and {(others + RESERVE) / 1e6:.0f} MB for all else do not "
                f"fit in the {free / 1e6:.0f} MB that the disk of {folder} has left"
            )
            return None
        budget = _memory() // 4 if setting == AUTO else setting * 10**6
        cache = FeatureCache(folder, capacity, trunk, budget)
    except (ShiftBenchError, OSError) as error:
        say(f"{WITHOUT}: {error}")
        return None
    say(
        f"Feature cache: {text} on disk, at most {min(budget, need) / 1e6:.0f} MB of it in memory "
        f"({FLAG})"
    )
    return cache


def _open(path: Path, size: int):
    """Open a file of ``size`` bytes, which takes no space on the disk before it is written."""
    file = path.open("r+b" if path.exists() else "w+b", buffering=0)
    os.truncate(file.fileno(), size)
    return file


def _free(folder: Path) -> int:
    """Return the bytes that may be written to the disk of ``folder``, made or not."""
    # What an earlier part of the run wrote there will be written over.
    held = sum(512 * path.stat().st_blocks for path in folder.glob("*"))
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free + held


def _memory() -> int:
    """Return the bytes of main memory, or 4 GB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 * 10**9
