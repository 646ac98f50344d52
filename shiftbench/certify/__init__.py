"""The certificate: proof that the levels of a suite are graded, comparable, solvable, harmless to
physics, and seeded. `docs/certificate.md` says what that means.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shiftbench.files import replacing

if TYPE_CHECKING:
    from shiftbench.certify.verdicts import Verdict
    from shiftbench.specs import Suite


def build(suite: Suite, verdicts: Sequence[Verdict], out: Path) -> None:
    """Write ``certificate.csv``, ``certificate.md`` and the plot to ``out``.

    Raises:
        ShiftBenchError: ``out`` cannot be written.
    """
    from shiftbench.certify import plot, tables
    from shiftbench.report.plots import save

    with replacing(out / "certificate.csv") as path:
        tables.frame(suite, verdicts).to_csv(path, index=False)
    with replacing(out / "certificate.md") as path:
        path.write_text(tables.markdown(suite, verdicts), encoding="utf-8")
    figure = plot.draw(verdicts)
    for suffix in ("png", "svg"):
        with replacing(out / f"certificate.{suffix}") as path:
            save(figure, path, suffix)


def to_json(suite: Suite, verdicts: Sequence[Verdict]) -> str:
    """Return ``passed`` and the rows of the certificate as JSON."""
    from shiftbench.certify import tables

    passed = all(verdict.passed for verdict in verdicts)
    return json.dumps({"passed": passed, "cells": tables.rows(suite, verdicts)}, indent=2)
