"""The certificates that ship: whole, without a failure, of the levels as they are."""

from __future__ import annotations

import pandas as pd
import pytest

from shiftbench.certify.cells import Plan, measure
from shiftbench.data import data_dir
from shiftbench.specs import CLEAN, Shift, get_suite, load_tasks

#: Suites whose certificate ships.
SUITES = pytest.mark.parametrize("suite", ["mini", "core"])


def certificate(suite: str) -> pd.DataFrame:
    return pd.read_csv(data_dir("results") / get_suite(suite).id / "certificate.csv")


@SUITES
def test_every_cell_of_a_suite_is_certified(suite):
    chosen, table = get_suite(suite), certificate(suite)
    expected = {
        (task, shift.family, shift.level)
        for task in chosen.tasks
        for shift in chosen.shifts()
        if shift.family != CLEAN
    }
    found = list(table[["task", "family", "level"]].itertuples(index=False, name=None))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert table.passed.all()
    assert (table.states >= 200).all()
    assert (table.suite_version == chosen.version).all()
    checks = table[["graded", "solvable", "harmless", "seeded"]]
    assert (checks == "pass").all().all()
    # `combined` is held against nothing.
    assert (table.comparable.isna() == (table.family == "combined")).all()


@pytest.mark.parametrize(
    ("task", "family"), [("cartpole_balance", "camera"), ("finger_spin", "texture")]
)
def test_the_levels_are_those_that_were_certified(tmp_path, task, family):
    """Another driver may draw a little differently; an edited level differs more."""
    suite = get_suite("mini")
    known = certificate("mini").set_index(["task", "family", "level"])
    severe = Shift(family, "severe", suite.levels["severe"])
    plan = Plan(load_tasks()[task], (severe,), suite.image_size, suite.render, 200, solvable=False)
    found = measure(plan, family, tmp_path)[severe]
    row = known.loc[task, family, "severe"]
    assert found.network == row.network
    assert found.ssim == pytest.approx(row.ssim, rel=0.02)
    assert found.features == pytest.approx(row.features, rel=0.02)
