"""Watches that a shift family leaves the physics alone."""

from __future__ import annotations

import mujoco
import numpy as np

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)

#: Arrays that the physics does not read: names, and textures, which are large.
_UNREAD = ("tex_", "skin_", "text_", "name_", "names", "paths")


class Guard:
    """Compares the physics before and after a family's work.

    The whole state that decides what comes next takes 1 µs, the model 20 to 100 µs: whoever uses
    the guard says when that is compared too.

    Args:
        physics: dm_control physics; read, never written.
    """

    def __init__(self, physics) -> None:
        model = physics.model.ptr
        self._model, self._data = model, physics.data.ptr
        self._state = np.empty(mujoco.mj_stateSize(model, _STATE))
        # Arrays are views of the model: looked up once, they show what it holds now.
        self._arrays = {
            name: array
            for name in dir(model)
            if not name.startswith(("_", *_UNREAD))
            and isinstance(array := getattr(model, name), np.ndarray)
            and array.size
        }
        self._options = [name for name in dir(model.opt) if not name.startswith("_")]
        self._before: tuple[bytes, ...] = ()

    def hold(self, model: bool = False) -> None:
        """Remember the state, and the ``model`` too where that is asked for."""
        self._before = self._now(model)

    def touched(self) -> str:
        """Return what has changed since `hold` or the last call, in words; empty for nothing."""
        before, now = self._before, self._now(len(self._before) > 1)
        self._before = now
        if now == before:
            return ""
        if now[0] != before[0]:
            return "the state of the physics"
        name = self._changed(before[1], now[1])
        return f"'{name}' of the physics' model"

    def _now(self, model: bool) -> tuple[bytes, ...]:
        mujoco.mj_getState(self._model, self._data, self._state, _STATE)
        state = self._state.tobytes()
        return (state, b"".join(self._read().values())) if model else (state,)

    def _read(self) -> dict[str, np.ndarray]:
        """Return everything of the model that the physics reads, under its names."""
        options = self._model.opt
        return self._arrays | {
            f"opt.{name}": np.asarray(getattr(options, name)) for name in self._options
        }

    def _changed(self, before: bytes, now: bytes) -> str:
        """Return the name of the first thing of the model in which two readings differ."""
        end = 0
        for name, array in self._read().items():
            start, end = end, end + array.nbytes
            if before[start:end] != now[start:end]:
                return name
        raise AssertionError("the readings are equal")
