import itertools
import json
import math
import re
import xml.etree.ElementTree as ElementTree

import junitparser
import numpy as np
import pytest

from shiftbench import check, results, stats
from shiftbench.check import cells, output
from shiftbench.errors import ShiftBenchError

CLEAN, SEVERE = ("none", "none"), ("texture", "severe")


def rows(scores=50.0, *, agent="a", tasks=("x",), seeds=(0,), episodes=range(10),
         shifts=(CLEAN,), seed=None, spread=1.0, **more):  # fmt: skip
    """Return rows whose scores are ``scores`` ± ``spread``, or with noise from ``seed``."""
    rng = np.random.default_rng(seed)
    found = []
    for task, train_seed, (family, level), episode in itertools.product(
        tasks, seeds, shifts, episodes
    ):
        off = spread * (rng.normal() if seed is not None else 2 * (episode % 2) - 1)
        key = (agent, task, family, level, train_seed, episode)
        numbers = {"return": 1.0, "score": scores + off}
        found.append({**dict(zip(results.KEY, key, strict=True)), **numbers, **more})
    return found


@pytest.fixture
def read(tmp_path):
    """Return a function from lists of rows to what `read_rows` makes of them."""

    def read(*lists):
        results.write_rows(tmp_path / "read.csv", list(itertools.chain(*lists)))
        return results.read_rows([tmp_path / "read.csv"])

    return read


@pytest.fixture
def verdict(read):
    """Judge lists of rows; ``options`` are of `check.check`, others of `Selection`."""

    def verdict(baseline, candidate, **options):
        own = {k: options.pop(k) for k in list(options) if k in check.Selection.__struct_fields__}
        return check.check(read(baseline), read(candidate), check.Selection(**own), **options)

    return verdict


def only(verdict):
    (line,) = verdict.lines
    return line


# -- verdicts --------------------------------------------------------------------------------------


def test_the_same_rows_pass(verdict):
    found = verdict(rows(), rows())
    assert (found.verdict, found.exit_code) == ("pass", 0)
    line = only(found)
    assert (line.baseline, line.candidate, line.drop, line.lower) == (50.0, 50.0, 0.0, 0.0)
    assert line.detectable > 5.0  # equal sides have no spread; that of the episodes counts
    assert any("very same scores" in note for note in found.notes)


def test_a_drop_that_is_shown_fails_and_a_gain_passes(verdict):
    base = rows(50.0, seed=1)
    assert verdict(base, rows(30.0, seed=2)).exit_code == 1
    assert verdict(base, rows(70.0, seed=2)).exit_code == 0
    line = only(verdict(base, rows(30.0, seed=2)))
    assert 5.0 < line.lower < line.drop < 23.0
    assert line.verdict == "regression"


def test_a_drop_within_the_tolerance_passes_however_sure_it_is(verdict):
    found = verdict(rows(50.0), rows(45.5))
    assert (found.verdict, only(found).lower) == ("pass", pytest.approx(4.5))
    assert verdict(rows(50.0), rows(45.5), max_drop=4.0).verdict == "regression"


def test_a_large_drop_that_noise_explains_passes_and_the_power_says_so(verdict):
    found = verdict(rows(50.0), rows(35.0, spread=60.0))
    line = only(found)
    assert line.drop > 5.0
    assert found.verdict == "pass"
    assert line.detectable > 50.0
    assert any(f"a true drop of {line.detectable:.1f} would" in note for note in found.notes)


def test_pairing_takes_out_what_both_sides_share(verdict):
    """Episodes spread by 20 on both sides alike; without pairs a drop of 8 would not be seen."""
    base, worse = rows(50.0, seed=3, spread=20.0), rows(42.0, seed=3, spread=20.0)
    worse = [{**row, "score": row["score"] + 0.1 * (row["episode"] % 2)} for row in worse]
    paired = verdict(base, worse)
    assert (paired.verdict, only(paired).paired) == ("regression", "seeds and episodes")
    moved = [{**row, "episode": row["episode"] + 100} for row in worse]
    apart = verdict(base, moved)
    assert (apart.verdict, only(apart).paired) == ("pass", "seeds")
    assert only(apart).drop == pytest.approx(only(paired).drop)


def test_seeds_pair_by_their_numbers_or_not_at_all(verdict):
    base = rows(50.0, seeds=(0, 1, 2), seed=1)
    same = verdict(base, rows(50.0, seeds=(0, 1, 2), seed=2))
    assert (only(same).paired, only(same).checkpoints_alone) == ("seeds and episodes", False)
    other = verdict(base, rows(50.0, seeds=(7, 8), seed=2))
    assert (only(other).paired, only(other).seeds) == ("episodes", 2)
    assert not any("these checkpoints alone" in note for note in same.notes + other.notes)


def test_one_training_seed_is_judged_and_said_to_speak_of_the_checkpoint_alone(verdict):
    found = verdict(rows(), rows())
    assert only(found).checkpoints_alone
    assert any("these checkpoints alone" in note for note in found.notes)
    # One seed on one side is enough: nothing is known of how that side's seeds differ.
    found = verdict(rows(seeds=(0, 1, 2), seed=1), rows(seeds=(7,), seed=2))
    assert only(found).checkpoints_alone


def test_what_is_not_compared_need_not_be_alike(verdict):
    base = rows(seeds=(0, 1), shifts=(SEVERE,), shift_hash="a")
    more = rows(seeds=(2,), shifts=(SEVERE,), shift_hash="b")
    same = verdict(base, rows(seeds=(0, 1), shifts=(SEVERE,), shift_hash="a") + more)
    assert same.verdict == "pass"
    # Of seeds that none shares, all are compared.
    apart = verdict(base, rows(seeds=(3,), shifts=(SEVERE,), shift_hash="a") + more)
    assert (apart.verdict, apart.exit_code) == ("incomplete", 3)
    assert "shift_hash is a and a, b: not comparable" in output.missing(apart)[0]


def test_tasks_weigh_the_same_or_stand_alone(verdict):
    base = rows(50.0, tasks=("x",)) + rows(50.0, tasks=("y",), episodes=range(20))
    worse = rows(30.0, tasks=("x",)) + rows(50.0, tasks=("y",), episodes=range(20))
    line = only(verdict(base, worse))
    assert (line.tasks, line.drop, line.episodes) == (("x", "y"), 10.0, 10)
    found = verdict(base, worse, per_task=True)
    assert [(one.tasks, one.verdict) for one in found.lines] == [
        (("x",), "regression"), (("y",), "pass"),
    ]  # fmt: skip


def test_every_shift_is_a_comparison_of_its_own(verdict):
    base = rows(shifts=(SEVERE, CLEAN))
    worse = rows(shifts=(CLEAN,)) + rows(20.0, shifts=(SEVERE,))
    found = verdict(base, worse)
    assert [(one.shift, one.verdict) for one in found.lines] == [
        ("none", "pass"), ("texture:severe", "regression"),
    ]  # fmt: skip
    assert found.exit_code == 1


def test_few_episodes_that_do_not_spread_are_no_evidence(verdict):
    """Two failures after two successes are no drop of 100 points for sure."""
    for count, word in ((2, "incomplete"), (4, "incomplete"), (5, "regression")):
        short = {"episodes": range(count), "spread": 0.0}
        found = verdict(rows(100.0, **short), rows(0.0, **short))
        assert found.verdict == word
    assert (
        "worse by the same 100.0 points"
        in output.missing(verdict(rows(100.0, episodes=range(2)), rows(0.0, episodes=range(2))))[0]
    )
    # A rounding error is no drop, whatever is tolerated.
    near = rows(0.1 + 0.2, spread=0.0), rows(0.3, spread=0.0)
    assert verdict(*near, max_drop=0.0).verdict == "pass"


def test_one_episode_that_differs_of_very_few_is_judged_at_once(verdict):
    """Freedom of less than one had the threshold of t beyond what can be inverted."""
    few = {"seeds": (0, 1), "episodes": range(2)}
    shifts = tuple((f"f{i}", "mild") for i in range(30))
    base = rows(50.0, shifts=shifts, **few)
    less = [{**row, "score": row["score"] - 4.0 * (i == 0)} for i, row in enumerate(base)]
    found = verdict(base, less)
    assert found.verdict == "pass"
    assert json.loads(output.to_json(found))


def test_a_task_with_one_seed_takes_how_seeds_differ_from_the_others(verdict):
    base, worse = [], []
    for task, seeds in (("x", range(5)), ("y", range(5)), ("z", (0,))):
        for seed in seeds:
            apart = {"tasks": (task,), "seeds": (seed,)}
            base += rows(50.0, **apart)
            worse += rows(42.0 + 20.0 * (seed % 2), **apart)
    found = verdict(base, worse)
    line = only(found)
    assert not line.checkpoints_alone
    # Both known tasks show a deviation of 10.95 over five seeds, in differences; three times that.
    assert stats.drop([stats.Sides(*s, True, True) for s in sides(base, worse)]).error == (
        pytest.approx(np.sqrt(3 * 120.0 / 5) / 3)
    )
    assert any("taken from the others" in note for note in found.notes)


def sides(*lists):
    """Return the scores of each task, float (seeds, episodes), for each list of rows."""
    by = [{}, {}]
    for own, found in zip(lists, by, strict=True):
        for row in own:
            found.setdefault(row["task"], {}).setdefault(row["train_seed"], []).append(row["score"])
    return [[np.array(list(found[task].values())) for found in by] for task in by[0]]


def test_more_questions_ask_for_more_evidence(verdict):
    """A drop that is shown alone is not shown among twenty comparisons: Holm's correction."""
    four = {"episodes": range(4)}  # t = 3.5, 3 degrees of freedom
    base, worse = rows(50.0, spread=0.0, **four), rows(42.0, spread=1.5, **four)
    assert verdict(base, worse).verdict == "regression"
    crowd = [row for i in range(19) for row in rows(agent=f"b{i}", seed=i + 10)]
    same = [{**row, "score": row["score"] + row["episode"] % 3 - 1} for row in crowd]
    found = verdict(base + crowd, worse + same)
    line = next(one for one in found.lines if one.agent == "a")
    assert (line.verdict, line.level_used) == ("pass", pytest.approx(0.05 / 20))
    assert line.p < 0.05
    # What was asked for and is missing is a question all the same.
    assert verdict(base + crowd, worse).verdict == "incomplete"


def test_the_verdict_and_the_bound_agree(verdict):
    for seed in range(40):
        base = rows(50.0, agent="a", seed=seed) + rows(50.0, agent="b", seed=seed + 500)
        worse = rows(44.0, agent="a", seed=seed + 900) + rows(43.0, agent="b", seed=seed + 700)
        for line in verdict(base, worse).lines:
            assert (line.lower > 5.0) == (line.verdict == "regression")


def test_agents_with_different_names_on_the_two_sides(verdict):
    base, worse = rows(agent="old") + rows(agent="x"), rows(20.0, agent="new") + rows(agent="x")
    found = verdict(base, worse, rename=("old", "new"))
    assert (only(found).agent, only(found).verdict) == ("old → new", "regression")
    found = verdict(rows(agent="old"), rows(agent="new"))
    assert found.verdict == "incomplete"
    assert "no agent is on both sides: old in the baseline, new in" in found.notes[0]


# -- what cannot be judged is never a pass ---------------------------------------------------------


@pytest.mark.parametrize(
    ("candidate", "options", "why"),
    [
        (rows(shifts=(CLEAN,)), {}, "a on x, texture:severe: the candidate has nothing"),
        (rows(shifts=(CLEAN, SEVERE), tasks=("y",)), {}, "a on x, none: the candidate has n"),
        (rows(shifts=(CLEAN, SEVERE), episodes=range(3)), {}, "the candidate lacks episode 3"),
        (rows(shifts=(CLEAN, SEVERE), agent="b"), {}, "a on x, none: the candidate has noth"),
        (
            rows(shifts=(CLEAN, SEVERE)),
            {"min_seeds": 3},
            "the candidate has 1 of the 3 training seeds asked for",
        ),
        (
            rows(shifts=(CLEAN, SEVERE), suite_version=2),
            {},
            "suite_version is 1 and 2: not comparable",
        ),
        (rows(shifts=(CLEAN, SEVERE), image_size=84), {}, "image_size is 64 and 84"),
        (rows(shifts=(CLEAN, SEVERE), shift_hash="b"), {}, "shift_hash is a and b"),
        (rows(shifts=(CLEAN, SEVERE), severity=0.5), {}, "severity is "),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_and_no_pass(verdict, candidate, options, why):
    base = rows(shifts=(CLEAN, SEVERE), suite="s", suite_version=1, image_size=64, shift_hash="a")
    if "severity" in candidate[0]:  # a suite may give the level another severity
        base, candidate = ([r for r in side if r["level"] != "none"] for side in (base, candidate))
    found = verdict(base, candidate, **options)
    assert (found.verdict, found.exit_code) == ("incomplete", 3)
    assert any(why in line for line in output.missing(found)), output.missing(found)


def test_a_seed_that_the_candidate_lacks_is_missing(verdict):
    base, less = rows(seeds=(0, 1, 2), seed=1), rows(seeds=(0, 1), seed=2)
    found = verdict(base, less)
    assert found.exit_code == 3
    assert output.missing(found) == ["a on x, none: the candidate lacks seed 2"]
    assert verdict(base, less, seeds=(0, 1)).exit_code == 0
    # More than the baseline has is left out, and said.
    found = verdict(less, base)
    assert (found.exit_code, only(found).seeds) == (0, 2)
    assert any("training seeds 2" in note for note in found.notes)


def test_a_hole_in_the_episodes_of_a_seed_is_missing(verdict):
    base = rows(seeds=(0, 1), seed=1)
    for side, other, name in ((base[:-1], base, "baseline"), (base, base[:-1], "candidate")):
        found = verdict(side, other)
        assert found.exit_code == 3
        assert output.missing(found) == [f"a on x, none: the {name} has not all episodes of seed 1"]


def test_one_episode_gives_no_interval(verdict):
    found = verdict(rows(episodes=(0,)), rows(episodes=(0,)))
    assert found.exit_code == 3
    assert "the baseline has 1 episode, 2 are needed" in output.missing(found)[0]
    assert verdict(rows(), rows(), episodes=1).exit_code == 3
    assert only(verdict(rows(), rows(episodes=range(2)), episodes=2)).episodes == 2


def test_a_regression_is_one_even_beside_what_is_missing(verdict):
    found = verdict(rows(shifts=(CLEAN, SEVERE)), rows(20.0))
    assert [line.verdict for line in found.lines] == ["regression", "incomplete"]
    assert found.exit_code == 1
    assert "1 could not be judged" in output.summary(found)


def test_a_name_that_the_baseline_lacks_is_missing(verdict):
    found = verdict(rows(), rows(shifts=(CLEAN, SEVERE)), levels=("none", "severe"))
    assert found.exit_code == 3
    assert output.missing(found) == ["a: the baseline has no --level severe"]
    found = verdict(rows(), rows() + rows(agent="b"), agents=("a", "b"))
    assert output.missing(found) == ["b: the baseline has no --agent b"]
    assert verdict(rows(), rows(agent="b") + rows()).exit_code == 0


def test_numbers_without_squares_are_not_judged(read):
    huge, usual = read(rows()), read(rows())
    huge["score"] *= 1e306  # no file may hold such a score
    found = check.check(huge, usual, check.Selection())
    assert found.exit_code == 3
    assert "too large" in output.missing(found)[0]


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ("sever",)}, "unknown level 'sever' for --level. Did you mean 'severe'"),
        ({"families": ("textur",)}, "unknown family 'textur' for --family. Did you mean 'texture'"),
        ({"agents": ("scrach",)}, "unknown agent 'scrach' for --agent. Did you mean 'scratch'"),
        ({"tasks": ("xx",)}, "unknown task 'xx' for --task"),
        ({"seeds": (4,)}, "unknown seed '4' for --seed. Valid: 0$"),
        ({"rename": ("scratch", "b")}, "unknown agent 'b' for --candidate-agent"),
        ({"levels": ("severe",), "families": ("none",)}, "nothing to compare"),
    ],
)
def test_unknown_names_and_empty_selections_are_refused(verdict, options, message):
    both = rows(agent="scratch", shifts=(CLEAN, SEVERE))
    with pytest.raises(ShiftBenchError, match=message):
        verdict(both, both, **options)


def test_other_suites_are_refused(verdict):
    with pytest.raises(ShiftBenchError, match="of suite 'mini', the candidate of 'core'"):
        verdict(rows(suite="mini"), rows(suite="core"))
    assert verdict(rows(suite="mini"), rows()).exit_code == 0  # rows that do not say go with any


# -- output ----------------------------------------------------------------------------------------

NASTY = "<script>alert(1)</script>|`x`\x1b[31m\n=1+1&*"


@pytest.fixture
def mixed(read):
    """A verdict with every kind of line, and a name that files may not have."""
    sides = [
        read(rows(agent="nasty", shifts=(CLEAN, SEVERE)), rows(agent="ok")),
        read(rows(20.0, agent="nasty"), rows(agent="ok")),
    ]
    return check.check(*(s.assign(agent=s["agent"].replace("nasty", NASTY)) for s in sides))


def test_the_table_says_everything_and_steers_no_terminal(mixed):
    shown = output.text(mixed)
    assert "\x1b" not in shown
    heading, *lines = shown.splitlines()
    assert heading.split()[:3] == ["agent", "shift", "task"]
    assert [line.split()[-1] for line in lines[:3]] == ["regression", "incomplete", "pass"]
    assert lines[3].startswith("missing: ")
    assert lines[-1].startswith("regression: the score dropped by more than 5 points at 95 %")
    assert lines[-1].endswith("1 could not be judged")


def test_json_is_strict_and_holds_the_lines(mixed):
    document = json.loads(output.to_json(mixed), parse_constant=pytest.fail)
    assert (document["verdict"], document["exit_code"]) == ("regression", 1)
    assert [line["verdict"] for line in document["comparisons"]] == [
        "regression", "incomplete", "pass",
    ]  # fmt: skip
    assert document["comparisons"][0]["agent"] == NASTY
    assert document["comparisons"][1]["drop"] is None


def test_junit_is_read_by_other_programs(mixed, tmp_path):
    (tmp_path / "junit.xml").write_text(output.junit(mixed), encoding="utf-8")
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (3, 1, 1)
    kinds = [[type(result) for result in case.result] for case in suite]
    assert kinds == [[junitparser.Failure], [junitparser.Error], []]
    first, second, third = suite
    assert first.result[0].message == "the score dropped by 30.0, by at least 30.0"
    assert "the candidate has nothing" in second.result[0].message
    assert (third.classname, third.name) == ("ok", "none (x)")
    assert "<script>alert(1)</script>" in first.classname  # escaped once, not twice
    ElementTree.fromstring(output.junit(mixed))


def test_markdown_shows_names_as_they_are(mixed):
    page = output.markdown(mixed)
    assert page.startswith("### ❌ ShiftBench: regression\n")
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    # A pipe, an angle bracket or a backtick that is not escaped would be one of the page's own.
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert columns == {12}
    assert not re.search(r"(?<!\\)[<>`*&]", page)


def test_numbers_are_never_minus_zero(verdict):
    base, same = rows(), [{**row, "score": row["score"] + 1e-9} for row in rows()]
    assert "-0.0" not in output.text(verdict(base, same))
    assert not math.isnan(only(verdict(base, same)).detectable)


def test_the_hints_say_what_a_selection_takes():
    assert set(cells.Selection().named()) == {"agent", "task", "family", "level", "train_seed"}
