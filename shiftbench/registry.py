"""Names → objects, imported only when asked for.

One registry a kind of thing. A built-in entry is a line ``name: "module:attribute"``; a third party
adds one with the entry-point group ``shiftbench.<kind>``. Names are unique: a second registration
under one name is an error that names both sides.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from shiftbench.errors import ShiftBenchError, unknown


class Registry:
    """A lazy name → object table.

    Args:
        kind: singular name of what is registered, used in messages and in the entry-point group
            ``shiftbench.<kind>s``.
        builtin: name → ``"module:attribute"``, or → an object.
    """

    def __init__(self, kind: str, builtin: dict[str, Any]) -> None:
        self.kind = kind
        self.group = f"shiftbench.{kind.replace(' ', '_')}s"
        self._builtin = dict(builtin)
        self._targets: dict[str, Any] | None = None

    def _load(self) -> dict[str, Any]:
        """Merge built-in entries with installed entry points, once."""
        if self._targets is None:
            targets: dict[str, Any] = dict(self._builtin)
            for point in entry_points(group=self.group):
                if point.name in targets:
                    raise ShiftBenchError(
                        f"{self.kind} '{point.name}' is registered twice: by "
                        f"{_origin(targets[point.name])} and by {_origin(point)}"
                    )
                targets[point.name] = point
            self._targets = targets
        return self._targets

    def register(self, name: str, target: Any) -> None:
        """Add an entry at run time. Raises ShiftBenchError where the name is taken."""
        targets = self._load()
        if name in targets:
            raise ShiftBenchError(
                f"{self.kind} '{name}' is registered twice: by {_origin(targets[name])} and by "
                f"{_origin(target)}"
            )
        targets[name] = target

    def names(self) -> list[str]:
        """Return every registered name, built-in ones first, in order of registration."""
        return list(self._load())

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def origin(self, name: str) -> str:
        """Return what provides ``name``: ``shiftbench``, a plugin's package, or a module."""
        return _origin(self._load()[name])

    def get(self, name: str, flag: str = "") -> Any:
        """Import and return the object called ``name``.

        Raises:
            ShiftBenchError: the name is unknown (with the nearest one), or a plugin fails to
                import (with its package).
        """
        targets = self._load()
        if name not in targets:
            raise unknown(self.kind, name, targets, flag)
        target = targets[name]
        try:
            if isinstance(target, EntryPoint):
                return target.load()
            if isinstance(target, str):
                module, _, attribute = target.partition(":")
                return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            # A plugin's module may fail in any way, our own for want of a package alone.
            plugin = isinstance(target, EntryPoint)
            if not plugin and not isinstance(error, (ImportError, AttributeError)):
                raise
            raise ShiftBenchError(
                f"{self.kind} '{name}' from {_origin(target)} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        return target


def _origin(target: Any) -> str:
    if isinstance(target, EntryPoint):
        package = target.dist.name if target.dist else "an unnamed package"
        return f"package '{package}' ({target.value})"
    if isinstance(target, str):
        return f"shiftbench ({target})"
    # Registered at run time; a record of our own tables has no module of its own.
    made_in = target.__module__ if inspect.isclass(target) or inspect.isroutine(target) else ""
    return f"module '{made_in}'" if made_in else "shiftbench"


FAMILIES = Registry(
    "family",
    {
        "lighting": "shiftbench.shifts.lighting:Lighting",
        "texture": "shiftbench.shifts.texture:Texture",
        "background": "shiftbench.shifts.background:Background",
        "color": "shiftbench.shifts.color:Color",
        "camera": "shiftbench.shifts.camera:Camera",
        "sensor": "shiftbench.shifts.sensor:Sensor",
        "distractor": "shiftbench.shifts.distractor:Distractor",
        "weather": "shiftbench.shifts.weather:Weather",
        "combined": "shiftbench.shifts.combined:Combined",
        "preset": "shiftbench.shifts.combined:Preset",
    },
)
FAMILIES.group = "shiftbench.families"

ENCODERS = Registry(
    "encoder",
    {
        "cnn": "shiftbench.encoders.cnn:build",
        "synth": "shiftbench.encoders.synth:build",
        "synth-2": "shiftbench.encoders.synth:build_2",
    },
)

ALGORITHMS = Registry(
    "algorithm",
    {
        "dreamer": "shiftbench.agents.dreamer:DreamerAgent",
        "random": "shiftbench.agents.random:RandomAgent",
        "zero": "shiftbench.agents.zero:ZeroAgent",
    },
)
