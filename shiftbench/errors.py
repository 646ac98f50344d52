"""The one exception for anything a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ShiftBenchError(Exception):
    """Bad input or a broken environment: one clear line, exit code 2.

    The command line prints the message alone, without a traceback, so it must name the flag or the
    file and say what would be valid.
    """


class Unfinished(Exception):
    """The time that was given is over before the work is done; all that was done is stored."""


def unknown(kind: str, name: str, valid: Iterable[str], flag: str = "") -> ShiftBenchError:
    """Return the error for a name that does not exist, with the nearest and all valid names.

    Args:
        kind: what the name is for, such as ``"task"``.
        name: what the user wrote.
        valid: the names that exist.
        flag: the command-line flag it came from, where known.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    where = f" for {flag}" if flag else ""
    return ShiftBenchError(
        f"unknown {kind} '{name}'{where}.{hint} Valid: {', '.join(names) or 'none'}"
    )
