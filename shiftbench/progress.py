"""What a person at the terminal sees of work under way: on stderr, never on stdout."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def bar(**options: Any) -> tqdm:
    """Return a progress bar that appears with its first step.

    What fails before any work is done (bad input) leaves its one line alone on stderr.

    Args:
        options: of `tqdm`.
    """
    return tqdm(file=sys.stderr, delay=1e-3, **options)


def note(text: str) -> None:
    """Print a line, past any progress bar."""
    tqdm.write(text, file=sys.stderr)
