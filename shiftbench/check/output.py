"""A verdict as text for a terminal, as Markdown, JSON and JUnit XML."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from msgspec.structs import asdict

from shiftbench.check.verdicts import POWER, Line, Verdict

_HEADINGS = (
    "agent", "shift", "task", "baseline", "candidate", "drop", "at least", "could catch",
    "tasks × seeds × episodes", "paired by", "verdict",
)  # fmt: skip


def text(verdict: Verdict) -> str:
    """Return an aligned table, what is missing, the notes, and the verdict as the last line."""
    lines = [list(_HEADINGS), *([_plain(cell) for cell in _cells(line)] for line in verdict.lines)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    remarks = [*(f"missing: {line}" for line in missing(verdict)),
               *(f"note: {note}" for note in verdict.notes)]  # fmt: skip
    return "\n".join([*table, *map(_plain, remarks), f"{verdict.verdict}: {summary(verdict)}"])


def markdown(verdict: Verdict) -> str:
    """Return a section for a pull request or a job's summary; names are escaped."""
    mark = {"pass": "✅", "regression": "❌", "incomplete": "⚠️"}
    rows = [[_escaped(cell) for cell in _cells(line)] for line in verdict.lines]
    table = [
        "| " + " | ".join(_HEADINGS) + " |",
        "|---|---|---|" + "---:|" * 5 + "---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    remarks = [*(f"missing: {line}" for line in missing(verdict)), *verdict.notes]
    head = f"### {mark[verdict.verdict]} ShiftBench: {verdict.verdict}"
    parts = [head, _escaped(summary(verdict)), "\n".join(table)]
    parts += ["\n".join(f"- {_escaped(line)}" for line in remarks)] if remarks else []
    return "\n\n".join(parts) + "\n"


def to_json(verdict: Verdict) -> str:
    """Return the verdict with its lines as JSON; a number that there is not is ``null``."""
    document = {
        "verdict": verdict.verdict,
        "exit_code": verdict.exit_code,
        "summary": summary(verdict),
        "max_drop": verdict.max_drop,
        "confidence": verdict.confidence,
        "power": POWER,
        "comparisons": [
            {key: _null(value) for key, value in asdict(line).items()} for line in verdict.lines
        ],
        "notes": list(verdict.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def junit(verdict: Verdict) -> str:
    """Return JUnit XML: a test case a comparison, a failure for a regression, an error for what
    is missing, since CI shows both apart."""
    kinds = {"failures": verdict.of("regression"), "errors": verdict.of("incomplete")}
    counts = {"tests": str(len(verdict.lines)), **{k: str(len(v)) for k, v in kinds.items()}}
    root = ElementTree.Element("testsuites", name="shiftbench", **counts)
    suite = ElementTree.SubElement(root, "testsuite", name="shiftbench check", **counts)
    for line in verdict.lines:
        name = f"{line.shift} ({', '.join(line.tasks)})"
        case = ElementTree.SubElement(
            suite, "testcase", classname=_plain(line.agent), name=_plain(name)
        )
        if line.verdict == "regression":
            what = f"the score dropped by {line.drop:.1f}, by at least {line.lower:.1f}"
            said = {"message": what, "type": "regression"}
            ElementTree.SubElement(case, "failure", said).text = _plain(summary(verdict))
        elif line.verdict == "incomplete":
            said = {"message": _plain(line.missing[0]), "type": "incomplete"}
            ElementTree.SubElement(case, "error", said).text = "\n".join(map(_plain, line.missing))
    ElementTree.SubElement(suite, "system-out").text = "\n".join(map(_plain, verdict.notes))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def summary(verdict: Verdict) -> str:
    """Return the verdict in one sentence."""
    count = f"{len(verdict.lines)} comparison{'s' if len(verdict.lines) > 1 else ''}"
    how = f"at {100 * verdict.confidence:g} % confidence over {count}"
    tolerance = f"more than {verdict.max_drop:g} points"
    bad, lacking = verdict.of("regression"), verdict.of("incomplete")
    also = f"; {len(lacking)} could not be judged" if lacking else ""
    if bad:
        named = ", ".join(dict.fromkeys(f"{_plain(line.agent)} {line.shift}" for line in bad))
        return f"the score dropped by {tolerance} {how}: {named}{also}"
    if lacking:
        return f"{len(lacking)} of {count} could not be judged, no drop was shown in the others"
    return f"no drop of {tolerance} is shown {how}"


def missing(verdict: Verdict) -> list[str]:
    """Return every reason why something was not judged, once."""
    return list(dict.fromkeys(why for line in verdict.lines for why in line.missing))


def _cells(line: Line) -> list[str]:
    tasks = line.tasks[0] if len(line.tasks) == 1 else f"mean of {len(line.tasks)}"
    numbers = (line.baseline, line.candidate, line.drop, line.lower, line.detectable)
    size = f"{len(line.tasks)} × {line.seeds} × {line.episodes}"
    judged = line.verdict != "incomplete"
    return [
        line.agent, line.shift, tasks if line.tasks else "–", *map(_number, numbers),
        size if judged else "–", line.paired if judged else "–", line.verdict,
    ]  # fmt: skip


def _number(value: float) -> str:
    return f"{value:z.1f}" if math.isfinite(value) else "–"


def _plain(words: str) -> str:
    """Return text on one line without characters that steer a terminal or that XML forbids."""
    return "".join(c if c.isprintable() else " " for c in words)


def _escaped(words: str) -> str:
    """Return text that Markdown, and the HTML within it, show as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#~!&$@])", r"\\\1", _plain(words))


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
