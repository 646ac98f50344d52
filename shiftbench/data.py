"""Where the definitions and the shipped checkpoints lie.

An installed wheel carries them under ``shiftbench/_data``; an editable install finds them at the
top of the repository.
"""

from __future__ import annotations

from pathlib import Path

from shiftbench.errors import ShiftBenchError

PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Return the folder ``name`` (``tasks`` or ``results``): the package's, else the repository's.

    Raises:
        ShiftBenchError: neither exists, which means a broken installation.
    """
    for root in (PACKAGE / "_data", PACKAGE.parent):
        if (root / name).is_dir():
            return root / name
    raise ShiftBenchError(
        f"the folder '{name}' is neither in {PACKAGE / '_data'} nor in {PACKAGE.parent}: "
        "reinstall shiftbench"
    )
