"""The pages that speak of the shipped policies say what their curves and rows say."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PILOT = ROOT / "results" / "mini-pilot"
CURVES = sorted(ROOT.glob("results/mini-v1/checkpoints/**/seed-*.csv"))
RETRAINED = sorted(ROOT.glob("results/retrained/checkpoints/**/seed-*.csv"))
LEVELS = ["clean", "mild", "moderate", "severe", "extreme"]


def lines(path: Path) -> list[str]:
    """Return a page's lines, without intervals and with plain minus signs."""
    text = re.sub(r" \[[^\]]*\]", "", path.read_text(encoding="utf-8"))
    return text.replace("−", "-").splitlines()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rows = pd.read_csv(PILOT / "episodes.csv")
    return rows.assign(level=rows["level"].where(rows["family"] != "none", "clean"))


@pytest.mark.parametrize("path", CURVES, ids=lambda path: "/".join(path.parts[-3:]))
def test_returns_and_minutes_of_each_training(path):
    curve = pd.read_csv(path).set_index("env_steps")
    minutes, last = curve["minutes"].iloc[-1], curve.iloc[-1]
    assert_listed(curve)
    first = f" | {minutes:.0f} | {100_000 / minutes / 60:.0f} | "
    end = f" | {last['updates']:,.0f} | {last['eval_return']:.0f} |"
    assert any(first in line and line.endswith(end) for line in lines(PILOT / "README.md")), first


@pytest.mark.parametrize("path", RETRAINED, ids=lambda path: "/".join(path.parts[-3:]))
def test_returns_of_each_training_that_is_not_scored_yet(path):
    curve = pd.read_csv(path).set_index("env_steps")
    assert_listed(curve)
    shipped = Path(str(path).replace("retrained/checkpoints", "mini-v1/checkpoints"))
    before = pd.read_csv(shipped)["eval_return"].iloc[-1]
    wanted = f"{curve['eval_return'].iloc[-1]:.0f}", f"{before:.0f}"
    page = " ".join(lines(PILOT / "README.md"))
    assert any(form.format(*wanted) in page for form in ("{} in place of {}", "{}, {}")), wanted


def assert_listed(curve):
    """The learner's page has the returns after 20,000, 30,000 … 100,000 steps, and the minutes."""
    found = [curve.loc[1000 * k, "eval_return"] for k in range(20, 101, 10)]
    wanted = " | ".join(f"{value:.0f}" for value in (*found, curve["minutes"].iloc[-1]))
    assert any(wanted in line for line in lines(ROOT / "docs" / "dreamer.md")), wanted


def test_scores_of_each_policy_by_level(rows):
    page = lines(PILOT / "README.md")
    plain = rows[rows["family"] != "combined"]
    by = ["task", "agent", "train_seed"]
    means = plain.groupby([*by, "level", "family"])["score"].mean().groupby([*by, "level"]).mean()
    for (task, agent, seed), own in means.groupby(by):
        wanted = " | ".join(f"{own[task, agent, seed, level]:.1f}" for level in LEVELS)
        assert any(f" | {wanted} |" in line for line in page), (task, agent, seed, wanted)


def test_scores_of_each_policy_by_family(rows):
    page = lines(PILOT / "README.md")
    shifted = rows[(rows["level"] == "severe") & ~rows["agent"].isin(["zero", "random"])]
    families = ["background", "camera", "color", "distractor", "lighting", "sensor", "texture"]
    families += ["weather", "combined"]
    means = shifted.groupby(["task", "agent", "train_seed", "family"])["score"].mean()
    for key, own in means.groupby(["task", "agent", "train_seed"]):
        wanted = " | ".join(f"{own[(*key, family)]:.1f}" for family in families)
        assert any(f" | {wanted} |" in line for line in page), (*key, wanted)
