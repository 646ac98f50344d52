"""The statistics against the runs published with Jones et al. 2025 (arXiv 2509.12531).

The rows are no part of this repository: without the folder `shared/data` beside the checkout, or
the file that SHIFTBENCH_JONES2025 names, this is skipped.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from shiftbench import results, specs, stats
from shiftbench.report import pairs

FILE = Path(
    os.environ.get("SHIFTBENCH_JONES2025")
    or Path(__file__).parents[2] / "shared" / "data" / "jones2025_pick_ycb.csv"
)
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=f"published rows are not at {FILE}")

#: Mean score × 100 of all episodes of three seeds, as published.
PUBLISHED = {
    ("scratch", "none"): 5.008,
    ("scratch", "mild"): 4.970,
    ("scratch", "severe"): -0.278,
    ("dinov2-partial", "none"): 4.419,
    ("dinov2-partial", "mild"): 4.209,
    ("dinov2-partial", "severe"): 3.181,
}


@pytest.fixture(scope="module")
def runs():
    """Agent, level → one array (seeds, episodes) a task."""
    scales = {"pick_ycb": specs.Scale(0.687286, 202.0)}
    rows = results.read_rows([FILE], {}, scales).sort_values(["train_seed", "episode"])
    return {
        key: [np.stack([run["score"].to_numpy() for _, run in own.groupby("train_seed")])]
        for key, own in rows.groupby(["agent", "level"])
    }


@pytest.mark.parametrize(("agent", "level"), PUBLISHED)
def test_mean_scores(runs, agent, level):
    (task,) = runs[agent, level]
    assert task.shape == (3, 200)
    assert round(float(stats.mean_of([task.mean(axis=1)])), 3) == PUBLISHED[agent, level]


def test_three_seeds_cannot_separate_even_runs_wholly_apart(runs):
    ours, theirs = (
        [task.mean(axis=1) for task in runs[agent, "severe"]]
        for agent in ("dinov2-partial", "scratch")
    )
    assert stats.probability_of_improvement(ours, theirs) == 1.0
    p = stats.permutation_p(ours, theirs)
    assert p == pytest.approx(stats.smallest_p([(3, 3)])) == pytest.approx(0.1)
    assert pairs.verdict(3.459, p) == "not separable"
