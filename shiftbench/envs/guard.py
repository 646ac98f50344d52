"""Watches that a shift family leaves the physics alone."""

from __future__ import annotations

import mujoco
import numpy as np

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)

#: What no family can change the physics with, and what is too large to compare at every reset.
_LOOKS = ("tex_", "mesh_", "skin_", "text_", "name_", "names", "paths")


class Guard:
    """Compares the physics before and after a family's work.

    The whole state that decides what comes next takes 2 µs, so it is compared in every frame; the
    model takes a millisecond, so whoever uses the guard says when.

    Args:
        physics: dm_control physics; read, never written.
    """

    def __init__(self, physics) -> None:
        self._model, self._data = physics.model.ptr, physics.data.ptr
        self._state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        self._names = [
            name
            for name in dir(self._model)
            if not name.startswith(("_", *_LOOKS))
            and isinstance(getattr(self._model, name), np.ndarray)
        ]
        self._before: tuple[bytes, tuple[bytes, ...]] = (b"", ())

    def hold(self, model: bool = False) -> None:
        """Remember the state, and the ``model`` too where that is asked for."""
        self._before = self._now(model)

    def touched(self) -> str:
        """Return what has changed since then, in words; empty where nothing has."""
        state, model = self._before
        state_now, model_now = self._now(bool(model))
        if state_now != state:
            return "the state of the physics"
        changed = [n for n, a, b in zip(self._names, model, model_now, strict=False) if a != b]
        return f"'{changed[0]}' of the physics' model" if changed else ""

    def _now(self, model: bool) -> tuple[bytes, tuple[bytes, ...]]:
        mujoco.mj_getState(self._model, self._data, self._state, _STATE)
        arrays = self._names if model else ()
        return self._state.tobytes(), tuple(getattr(self._model, n).tobytes() for n in arrays)
