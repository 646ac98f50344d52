"""Where rows come from: the versions of what made them, and the source of a shift."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

from shiftbench.data import PACKAGE


def shift_hash(family_class: type | None, severity: float, backgrounds: str = "") -> str:
    """Return what the rows call ``shift_hash``: over the sources beside a family, and the severity.

    Args:
        family_class: None for the clean arm, whose hash is empty.
        severity: of the level.
        backgrounds: folder with the user's own pictures, whose contents count; empty where the
            shift shows none (`shiftbench.levels.Shift.showing`).

    Raises:
        ShiftBenchError: the folder holds no picture, or cannot be read.
    """
    if family_class is None:
        return ""
    source = Path(inspect.getfile(family_class))
    # A module of no package has strangers beside it; a package's files may import each other.
    package = sys.modules[family_class.__module__].__package__
    digest = hashlib.sha256(repr(severity).encode())
    for path in sorted(source.parent.glob("*.py")) if package else [source]:
        digest.update(path.read_bytes())
    if backgrounds:
        from shiftbench.shifts import pictures

        digest.update(pictures.content_hash(backgrounds).encode())
    return digest.hexdigest()[:12]


@cache
def versions() -> dict[str, str]:
    """Return versions and commit, without importing any of the packages."""
    found = {"python": platform.python_version(), "commit": _commit()}
    for name in ("shiftbench", "mujoco", "dm_control", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _commit() -> str:
    """Return the commit of the checkout that this package runs from, if it runs from one."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return ""
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # no git on this machine
    return head + ("+" if changes else "")
