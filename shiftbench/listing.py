"""What `shiftbench list` shows: plain rows, read without torch or dm_control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shiftbench import specs
from shiftbench.agents import AGENTS
from shiftbench.registry import ENCODERS, FAMILIES


def rows(
    what: str, suite: str, suite_file: Path | None = None, tasks_dirs: tuple[Path, ...] = ()
) -> list[dict[str, Any]]:
    """Return one dictionary for each registered thing.

    Args:
        what: ``tasks``, ``suites``, ``shifts``, ``agents`` or ``encoders``.
        suite: whose levels ``shifts`` shows.
        suite_file: TOML with further suites.
        tasks_dirs: folders with further tasks.

    Raises:
        ShiftBenchError: an unknown suite or a broken file, whether or not ``what`` needs it.
    """
    chosen, known = specs.get_suite(suite, suite_file), specs.load_tasks(tuple(tasks_dirs))
    if what == "tasks":
        return [
            {
                "task": task.name,
                "version": task.version,
                "action_repeat": task.action_repeat,
                "random": task.anchors.random.value,
                "reference": task.anchors.reference.value,
                "description": task.description,
            }
            for task in known.values()
        ]
    if what == "suites":
        return [
            {
                "suite": entry.name,
                "version": entry.version,
                "tasks": list(entry.tasks),
                "families": list(entry.families),
                "levels": list(entry.levels),
                "episodes": entry.episodes,
                "image_size": entry.image_size,
            }
            for entry in specs.load_suites(suite_file).values()
        ]
    if what == "shifts":
        return [
            {
                "shift": f"{family}:{level}",
                "severity": severity,
                "in_suite": family in chosen.families,
                "origin": FAMILIES.origin(family),
            }
            for family in FAMILIES
            for level, severity in specs.levels_of(family, chosen.levels).items()
            if level != specs.CLEAN
        ]
    if what == "agents":
        return [
            {
                "agent": name,
                "algorithm": spec.algorithm,
                "encoder": spec.encoder,
                "mode": spec.mode,
                "augment": spec.augment,
            }
            for name, spec in ((name, AGENTS.get(name)) for name in AGENTS)
        ]
    return [{"encoder": name, "origin": ENCODERS.origin(name)} for name in ENCODERS] + [
        {"encoder": "timm:<name>", "origin": "any model of timm, such as timm:resnet18"}
    ]


def table(entries: list[dict[str, Any]]) -> str:
    """Return rows as an aligned plain-text table."""
    if not entries:
        return "nothing is registered"
    cells = [list(entries[0])] + [[_text(value) for value in row.values()] for row in entries]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
