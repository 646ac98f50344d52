"""Verdicts on measurements that were made up."""

from __future__ import annotations

import msgspec
import pytest

from shiftbench.certify.verdicts import CHECKS, Cell, judge, window

LEVELS = {"mild": 0.25, "severe": 0.75}


def cell(family: str, level: str, distance: float, **other) -> Cell:
    fields = {
        "task": "one",
        "ssim": distance,
        "features": distance,
        "r2": 0.9,
        "r2_clean": 0.95,
        "worst": "hinge",
        "worst_r2": 0.5,
        "harm": "",
        "unseeded": "",
    }
    return Cell(
        task_version=1,
        family=family,
        level=level,
        severity=LEVELS[level],
        states=200,
        network="abc",
        shift_hash="def",
        versions={},
        **{**fields, **other},
    )


def suite(**distances: tuple[float, float]) -> list[Cell]:
    """Return cells of families with these distances at the two levels."""
    return [
        cell(family, level, distance)
        for family, pair in distances.items()
        for level, distance in zip(LEVELS, pair, strict=True)
    ]


def faults(cells: list[Cell]) -> set[tuple[str, str, str, str]]:
    """Return (family, level, check, measure) of every fault."""
    return {
        (v.cell.family, v.cell.level, fault.check, fault.measure)
        for v in judge(cells)
        for fault in v.faults
    }


def test_good_cells_pass_every_check():
    verdicts = judge(suite(fog=(0.1, 0.3), rain=(0.2, 0.6)))
    assert all(v.passed for v in verdicts)
    assert [v.checks for v in verdicts] == [CHECKS] * 4
    assert not any(v.failed(check) for v in verdicts for check in CHECKS)


def test_a_level_that_is_no_further_away_than_the_one_before_is_not_graded():
    assert faults(suite(fog=(0.3, 0.3))) == {
        ("fog", "severe", "graded", "ssim"),
        ("fog", "severe", "graded", "features"),
    }
    nothing = suite(fog=(0.0, 0.3))
    assert ("fog", "mild", "graded", "ssim") in faults(nothing)
    # One measure is enough, and the order of the cells does not count.
    cells = suite(fog=(0.1, 0.3))
    cells[1] = msgspec.structs.replace(cells[1], features=0.05)
    assert faults(cells[::-1]) == {("fog", "severe", "graded", "features")}


def test_who_is_far_from_where_most_are_is_not_comparable():
    cells = suite(fog=(0.1, 0.3), rain=(0.2, 0.6), snow=(0.41, 0.5), hail=(0.19, 0.61))
    cells = [c for c in cells if c.level == "mild"]
    verdicts = judge(cells)
    assert faults(cells) == {
        ("snow", "mild", "comparable", "ssim"),
        ("snow", "mild", "comparable", "features"),
    }
    assert "0.410 is not within a factor of 2 of 0.100 to 0.200" in str(verdicts[2].faults[0])


def test_levels_and_tasks_are_compared_apart():
    cells = suite(fog=(0.1, 0.5), rain=(0.1, 0.5))
    other = [msgspec.structs.replace(c, task="two", ssim=9 * c.ssim) for c in cells]
    assert faults(cells + other) == set()


def test_some_families_are_excepted():
    cells = suite(fog=(0.1, 0.3), camera=(0.3, 0.4), combined=(0.9, 0.95))
    assert faults(cells) == {("camera", "mild", "comparable", "features")}
    by_family = {v.cell.family: v.checks for v in judge(cells)}
    assert "comparable" not in by_family["combined"]
    assert "comparable" in by_family["camera"]
    # They are graded like all others.
    assert ("combined", "severe", "graded", "ssim") in faults(suite(combined=(0.9, 0.8)))


@pytest.mark.parametrize(
    ("r2", "clean", "solvable"),
    [(0.76, 0.95, True), (0.75, 0.95, False), (0.5, 0.5, True), (-0.1, -0.2, False)],
)
def test_a_cell_keeps_four_fifths_of_what_clean_frames_give(r2, clean, solvable):
    cells = [cell("fog", "mild", 0.1, r2=r2, r2_clean=clean)]
    assert faults(cells) == (set() if solvable else {("fog", "mild", "solvable", "r2")})
    if not solvable:
        assert "worst hinge 0.50" in str(judge(cells)[0].faults[0])


def test_without_readers_nothing_is_said_of_them():
    verdict = judge([cell("fog", "mild", 0.1, r2=None, r2_clean=None, worst_r2=None)])[0]
    assert verdict.passed
    assert "solvable" not in verdict.checks


def test_harm_and_seeds_are_passed_on():
    cells = [cell("fog", "mild", 0.1, harm="states differ", unseeded="other frames")]
    assert list(map(str, judge(cells)[0].faults)) == [
        "harmless: states differ",
        "seeded: other frames",
    ]


@pytest.mark.parametrize(
    ("distances", "ends"),
    [
        ([0.3], (0.3, 0.3)),
        ([0.1, 0.2], (0.1, 0.2)),
        ([0.1, 0.21], (0.1, 0.1)),
        ([0.1, 0.12, 0.3, 0.31, 0.32], (0.3, 0.32)),
        ([0.1, 0.19, 0.3, 0.31], (0.19, 0.31)),
        ([0.1, 0.15, 0.5, 0.6], (0.5, 0.6)),
        ([0.0, 0.0, 0.1], (0.0, 0.0)),
    ],
)
def test_the_window_holds_most_distances_and_is_tight(distances, ends):
    assert window(distances) == ends
    assert window(distances[::-1]) == ends
