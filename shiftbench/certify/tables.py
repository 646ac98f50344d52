"""The certificate as rows, as Markdown and as coloured text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import pandas as pd

from shiftbench.certify.verdicts import CHECKS, EXCEPTED, FACTOR, KEPT, MEASURES, Cell, Verdict
from shiftbench.specs import Suite

#: Columns of certificate.csv; ``docs/certificate.md`` says what they mean, a test compares the two.
COLUMNS = (
    *("suite", "suite_version", "task", "task_version", "family", "level", "severity", "states"),
    *MEASURES,
    *("r2", "r2_clean", "worst", "worst_r2"),
    *CHECKS,
    *("passed", "fault", "image_size", "render", "network", "shift_hash"),
    *("shiftbench", "mujoco", "dm_control", "torch", "python", "commit"),
)

#: How a check's outcome is written; one that was not made is empty.
PASS, FAIL = "pass", "fail"


def rows(suite: Suite, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return one dictionary with the keys `COLUMNS` for each cell; None where there is nothing."""
    found = []
    for verdict in verdicts:
        cell = verdict.cell
        checks = {
            check: (FAIL if verdict.failed(check) else PASS) if check in verdict.checks else None
            for check in CHECKS
        }
        known = {
            "suite": suite.name,
            "suite_version": suite.version,
            "image_size": suite.image_size,
            "render": suite.render,
            "passed": verdict.passed,
            "fault": _fault(verdict),
            **cell.versions,
            **checks,
        }
        found.append(
            {name: known[name] if name in known else getattr(cell, name) for name in COLUMNS}
        )
    return found


def frame(suite: Suite, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return `rows` as a table, numbers rounded to six digits."""
    table = pd.DataFrame(rows(suite, verdicts), columns=list(COLUMNS))
    for name in (*MEASURES, "r2", "r2_clean", "worst_r2"):
        table[name] = table[name].map(lambda value: None if value is None else f"{value:.6g}")
    return table


def faults(verdicts: Sequence[Verdict]) -> list[str]:
    """Return one line for each cell that fails."""
    return [
        f"{v.cell.task} {v.cell.family}:{v.cell.level}: {_fault(v)}"
        for v in verdicts
        if not v.passed
    ]


def text(verdicts: Sequence[Verdict]) -> str:
    """Return a table a task for a terminal, cells that fail in red, and what is wrong below."""
    lines: list[str] = []
    for task in _tasks(verdicts):
        headings, body = _grid(verdicts, task, lambda v, entry: entry)
        widths = [
            max(len(entry) for entry, _ in column) for column in zip(headings, *body, strict=True)
        ]
        lines.append(click.style(_title(verdicts, task), bold=True))
        for line in (headings, *body):
            padded = (
                click.style(entry.ljust(width), fg="red" if good is False else None)
                for (entry, good), width in zip(line, widths, strict=True)
            )
            lines.append("  ".join(padded).rstrip())
        lines.append("")
    lines.append(f"entries: {_legend(verdicts[0].cell)}")
    lines += [click.style(line, fg="red") for line in faults(verdicts)]
    return "\n".join([*lines, _summary(verdicts)])


def markdown(suite: Suite, verdicts: Sequence[Verdict]) -> str:
    """Return the certificate for people to read."""
    first = verdicts[0].cell
    excepted = ", ".join(
        f"`{family}` in {' and '.join(MEASURES[measure] for measure in measures)}"
        for family, measures in EXCEPTED.items()
    )
    lines = [
        f"# Certificate of {suite.id}",
        "",
        _summary(verdicts),
        "",
        f"{first.states} states a cell. An entry: {_legend(first)}. A cell that fails is marked "
        "❌ and explained below its table; docs/certificate.md says what the checks mean.",
        "",
        f"Distances grow strictly with the level; at one level they lie within a factor of "
        f"{FACTOR:g} of each other (excepted: {excepted}); at least {KEPT:g} of the clean R² is "
        "kept; states, rewards and lengths are bit-identical to the clean ones; a seed gives the "
        "same bytes in another process and order, another seed gives others.",
        "",
        f"Random features: SHA-256 of the parameters `{first.network}`.",
    ]
    for task in _tasks(verdicts):
        headings, body = _grid(verdicts, task, lambda v, entry: entry if v else f"**{entry}** ❌")
        lines += ["", f"## {_title(verdicts, task)}", ""]
        lines += [_row(entry for entry, _ in headings), _row("---" for _ in headings)]
        lines += [_row(entry for entry, _ in line) for line in body]
        wrong = faults([v for v in verdicts if v.cell.task == task])
        lines += ["", *(f"- {line}" for line in wrong)] if wrong else []
    return "\n".join([*lines, ""])


def _grid(
    verdicts: Sequence[Verdict], task: str, mark: Callable[[bool, str], str]
) -> tuple[list, list]:
    """Return headings and lines of (text, whether the cell passed; None for a name)."""
    own = [v for v in verdicts if v.cell.task == task]
    severities = {v.cell.level: v.cell.severity for v in own}
    levels = sorted(severities, key=severities.__getitem__)
    by_shift = {(v.cell.family, v.cell.level): v for v in own}
    body = []
    for family in dict.fromkeys(v.cell.family for v in own):
        line: list[tuple[str, bool | None]] = [(family, None)]
        for level in levels:
            v = by_shift[family, level]
            line.append((mark(v.passed, _entry(v)), v.passed))
        body.append(line)
    return [("family", None), *((level, None) for level in levels)], body


def _entry(verdict: Verdict) -> str:
    cell = verdict.cell
    parts = [f"{getattr(cell, measure):.2f}" for measure in MEASURES]
    if cell.r2 is not None:
        parts.append(f"{cell.r2:.2f}")
    return " · ".join(parts)


def _legend(cell: Cell) -> str:
    measures = " · ".join(f"median {name}" for name in MEASURES.values())
    return measures if cell.r2 is None else f"{measures} · R² of the positions"


def _title(verdicts: Sequence[Verdict], task: str) -> str:
    cell = next(v.cell for v in verdicts if v.cell.task == task)
    return task if cell.r2 is None else f"{task} (R² from clean frames {cell.r2_clean:.2f})"


def _fault(verdict: Verdict) -> str:
    return "; ".join(map(str, verdict.faults))


def _summary(verdicts: Sequence[Verdict]) -> str:
    failed = sum(not v.passed for v in verdicts)
    if not failed:
        return f"All {len(verdicts)} cells pass."
    return f"{failed} of {len(verdicts)} cells fail."


def _tasks(verdicts: Sequence[Verdict]) -> list[str]:
    return list(dict.fromkeys(v.cell.task for v in verdicts))


def _row(entries: Iterable[str]) -> str:
    return "| " + " | ".join(entries) + " |"
