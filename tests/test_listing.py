"""What `list` shows."""

from __future__ import annotations

import pytest

from shiftbench import listing
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import FAMILIES


def test_tasks_are_the_shipped_ones_and_ones_own(mine, tmp_path, tasks):
    found = listing.rows("tasks", "mini", None, (tmp_path / "tasks",))
    assert {row["task"] for row in found} == {*tasks, "my_task"}
    (row,) = [row for row in found if row["task"] == "my_task"]
    assert (row["version"], row["action_repeat"], row["random"], row["reference"]) == (
        1,
        4,
        5.0,
        100.0,
    )


def test_suites_are_the_shipped_ones_and_ones_own(mine, tmp_path):
    found = {row["suite"]: row for row in listing.rows("suites", "mini", tmp_path / "suites.toml")}
    assert {"mini", "mine"} <= set(found)
    assert found["mine"]["levels"] == ["half", "full"]
    assert found["mine"]["tasks"] == ["my_task"]


def test_shifts_follow_the_levels_of_the_suite(mine, tmp_path):
    found = listing.rows("shifts", "mine", tmp_path / "suites.toml")
    inside = [(row["shift"], row["severity"]) for row in found if row["in_suite"]]
    assert inside == [
        (f"{family}:{level}", severity)
        for family in ("lighting", "texture")
        for level, severity in (("half", 0.5), ("full", 1.0))
    ]
    assert {row["shift"].split(":")[0] for row in found} == set(FAMILIES)
    with pytest.raises(ShiftBenchError, match="unknown suite 'mein' for --suite.*mine"):
        listing.rows("shifts", "mein", tmp_path / "suites.toml")


def test_agents_and_encoders_are_named():
    agents = {row["agent"]: row for row in listing.rows("agents", "mini")}
    assert agents["pvm-partial"] == {
        "agent": "pvm-partial",
        "algorithm": "dreamer",
        "encoder": "synth-2",
        "mode": "partial",
        "augment": "none",
    }
    assert agents["scratch-aug"]["augment"] == "photometric"
    encoders = [row["encoder"] for row in listing.rows("encoders", "mini")]
    assert {"cnn", "synth", "synth-2", "timm:<name>"} <= set(encoders)


def test_tables_are_aligned():
    rows = [
        {"name": "a", "value": 0.5, "known": True, "parts": ["x", "y"]},
        {"name": "longer", "value": 1000.0, "known": False, "parts": []},
    ]
    assert listing.table(rows).splitlines() == [
        "name    value  known  parts",
        "a       0.5    yes    x y",
        "longer  1000   no",
    ]
    assert listing.table([]) == "nothing is registered"
