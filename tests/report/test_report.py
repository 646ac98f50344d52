import itertools
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from shiftbench import report, results
from shiftbench.errors import ShiftBenchError
from shiftbench.report import pairs, plots, tables
from shiftbench.report.runs import Every, order
from shiftbench.specs import LEVELS

#: Clean score of each run of agent "good": seeds of task x, then of task y.
RUNS = {("x", 0): 10.0, ("x", 1): 20.0, ("y", 0): 60.0, ("y", 1): 100.0}
FAMILIES = {"lighting": 4.0, "texture": -4.0}
FILES = {
    f"{name}.{suffix}"
    for name, suffixes in {
        "leaderboard": ("csv", "md", "tex"),
        "by_family": ("csv",),
        "by_task": ("csv",),
        "comparisons": ("csv",),
        "families": ("csv", "png", "svg"),
        "score_by_level": ("png", "svg"),
    }.items()
    for suffix in suffixes
}


#: What a report says of two training seeds.
TWO_SEEDS = (
    "with 2 training seeds the coverage of the 95 % intervals is not measured: docs/statistics.md"
)


def one(agent, task, seed, family, level, episode, score, **more):
    return {
        "agent": agent, "task": task, "train_seed": seed, "family": family, "level": level,
        "episode": episode, "return": 10.0 * score, "score": score, **more,
    }  # fmt: skip


def synthetic(levels=("none", "severe"), agents=("good", "weak"), seeds=(0, 1)):
    """At severity s "good" keeps the share 1 − s of its score; "weak" has 5, shifted 3 and 1."""
    rows = []
    for agent, level, (task, seed), episode in itertools.product(agents, levels, RUNS, range(2)):
        if seed not in seeds:
            continue
        for family, extra in {"none": 0.0}.items() if level == "none" else FAMILIES.items():
            score = RUNS[task, seed] * (1.0 - LEVELS[level]) + extra
            if agent != "good":
                score = 5.0 if level == "none" else 2.0 + extra / 4.0
            wobble = 2 * episode - 1  # −1 and 1, gone in the mean
            rows.append(one(agent, task, seed, family, level, episode, score + wobble))
    return rows


def read(folder, rows):
    results.write_rows(folder / "in" / "rows.csv", rows)
    return results.read_rows([folder / "in"])


def entry(board, agent, level):
    return board[(board["agent"] == agent) & (board["level"] == level)].iloc[0]


# -- the numbers --------------------------------------------------------------------------------


def test_the_leaderboard_by_hand(tmp_path):
    board, missing = tables.leaderboard(Every(read(tmp_path, synthetic())))
    assert missing == []
    assert tuple(board) == tables.LEADERBOARD
    assert board[["agent", "level"]].to_numpy().tolist() == [
        ["good", "none"], ["good", "severe"], ["weak", "none"], ["weak", "severe"],
    ]  # fmt: skip
    # Runs 10, 20, 60, 100: the quarter at either end goes, (20 + 60) / 2 stays.
    clean, severe = entry(board, "good", "none"), entry(board, "good", "severe")
    assert clean["score"] == pytest.approx(40.0)
    assert clean["retention"] == pytest.approx(1.0)
    # Each run keeps a quarter; the families' +4 and −4 weigh the same.
    assert severe["score"] == pytest.approx(10.0)
    assert severe["clean_score"] == pytest.approx(40.0)
    assert severe["retention"] == pytest.approx(0.25)
    assert (severe["severity"], severe["tasks"], severe["seeds"]) == (0.75, 2, 2)
    assert severe["episodes"] == 8  # 2 tasks × 2 seeds × 2 episodes, not once more a family
    assert severe["low"] < severe["score"] < severe["high"]
    weak = entry(board, "weak", "severe")
    assert weak["score"] == pytest.approx(2.0)
    assert math.isnan(weak["retention"])  # the clean score is 5
    assert math.isnan(weak["robustness"])  # two levels of five


def test_robustness_needs_all_levels_on_the_same_runs(tmp_path):
    rows = synthetic(LEVELS)
    board, _ = tables.leaderboard(Every(read(tmp_path, rows)))
    # 40 × the mean of 1, .75, .5, .25, 0
    assert entry(board, "good", "mild")["robustness"] == pytest.approx(20.0)
    assert entry(board, "weak", "none")["robustness"] == pytest.approx((5 + 4 * 2) / 5)
    less = [r for r in rows if (r["level"], r["task"], r["train_seed"]) != ("extreme", "y", 1)]
    board, missing = tables.leaderboard(Every(read(tmp_path, less)))
    assert board["robustness"].isna().all()
    assert missing == [f"{a} on y, seed 1, extreme: nothing" for a in ("good", "weak")]
    assert entry(board, "good", "extreme")["episodes"] == 6


def test_combined_is_shown_apart(tmp_path):
    rows = synthetic()
    combined = [
        one("good", task, seed, "combined", "severe", episode, -500.0)
        for (task, seed), episode in itertools.product(RUNS, range(2))
    ]
    with_, without = read(tmp_path / "a", rows + combined), read(tmp_path / "b", rows)
    pd.testing.assert_frame_equal(
        tables.leaderboard(Every(with_))[0], tables.leaderboard(Every(without))[0]
    )
    apart = tables.by_family(with_).query("family == 'combined'")
    assert apart["score"].tolist() == [-500.0, -500.0]  # one line a task
    with pytest.raises(ShiftBenchError, match="nothing to rank.*outside 'combined'"):
        tables.leaderboard(Every(read(tmp_path / "c", combined)))


def test_families_by_hand(tmp_path):
    table = tables.by_family(read(tmp_path, synthetic()))
    assert tuple(table) == tables.FAMILIES
    line = table.query("agent == 'good' and task == 'y' and family == 'texture'").iloc[0]
    assert line["score"] == pytest.approx((60 + 100) / 8 - 4)
    assert line["return"] == pytest.approx(10 * line["score"])
    assert (line["seeds"], line["episodes"], line["severity"]) == (2, 4, 0.75)
    assert line["clean_score"] == 80.0
    # Of the same seeds and episodes alone, and of no others.
    rows = read(tmp_path / "less", synthetic()).query("train_seed == 0 or family != 'texture'")
    lines = tables.by_family(rows).query("agent == 'good' and task == 'y'").set_index("family")
    assert lines["clean_score"].to_dict() == {"lighting": 80.0, "none": 80.0, "texture": 60.0}
    lacking = rows.query("family != 'none' or episode == 1")
    assert tables.by_family(lacking).query("family == 'texture'")["clean_score"].isna().all()


def test_agents_are_sorted_by_robustness_then_score_and_incomplete_ones_last(tmp_path):
    rows = synthetic(LEVELS, agents=("weak", "good"))
    # High scores on one task of two rank below any complete agent.
    lucky = [{**r, "agent": "lucky", "score": 99.0} for r in rows if r["task"] == "x"]
    lucky = [r for i, r in enumerate(lucky) if i < len(lucky) // 2]
    board, missing = tables.leaderboard(Every(read(tmp_path, rows + lucky)))
    assert list(board["agent"].unique()) == ["good", "weak", "lucky"]
    assert "lucky: nothing on y" in missing
    levels = board[board["agent"] == "good"]["level"].tolist()
    assert levels == ["none", "mild", "moderate", "severe", "extreme"]


def spread(agent, centre, half):
    """Rows of an agent whose four seeds lie evenly around a score, at two levels."""
    return [
        one(agent, "x", seed, *shift, episode, centre + half * (seed - 1.5) / 1.5)
        for seed, shift, episode in itertools.product(
            range(4), [("none", "none"), ("texture", "severe")], range(2)
        )
    ]


def test_ranks_count_those_whose_interval_lies_above(tmp_path):
    # 90 and 86 overlap; 82 overlaps 86 but not 90.
    centres = {"a": 90.0, "b": 86.0, "c": 82.0, "d": 40.0}
    rows = [line for agent, centre in centres.items() for line in spread(agent, centre, 2.0)]
    rows += [one("e", "x", 0, "none", "none", 0, 99.0)]
    board, _ = tables.leaderboard(Every(read(tmp_path, rows)))
    first = board.drop_duplicates("agent").set_index("agent")
    assert first.loc["a", "overall_low"] < first.loc["b", "overall_high"]
    assert first.loc["b", "overall_low"] < first.loc["c", "overall_high"]
    assert first.loc["c", "overall_high"] < first.loc["a", "overall_low"]
    assert first["rank"].fillna(0).to_dict() == {"a": 1, "b": 1, "c": 2, "d": 4, "e": 0}
    assert board["rank"].dtype == "Int64"


def test_only_agents_with_the_same_tasks_are_ranked(tmp_path):
    rows = synthetic(LEVELS, agents=("good", "weak"))
    # All of its one task, with the highest scores, and nothing of the other.
    half = [{**r, "agent": "half", "score": 99.0} for r in rows if r["task"] == "x"]
    half = half[: len(half) // 2]
    every = Every(read(tmp_path, rows + half))
    board, _ = tables.leaderboard(every)
    first = board.drop_duplicates("agent").set_index("agent")
    assert first.loc["half", "overall"] > first.loc["good", "overall"]
    assert first["rank"].fillna(0).to_dict() == {"good": 1, "weak": 2, "half": 0}
    ranks = tables.breakdown(every, "task").drop_duplicates(["task", "agent"])
    ranks = ranks.set_index(["task", "agent"])["rank"]
    assert ranks["x"].to_dict() == {"half": 1, "good": 2, "weak": 2}
    # Nor is one of two agents with a task each better than the other.
    apart = [r for r in rows if (r["agent"], r["task"]) in {("good", "x"), ("weak", "y")}]
    (tmp_path / "apart").mkdir()
    board, _ = tables.leaderboard(Every(read(tmp_path / "apart", apart)))
    assert board["rank"].isna().all()
    assert board["overall"].notna().all()


def test_leaderboards_by_family_and_task_have_the_clean_arm_beside_them(tmp_path):
    rows = read(tmp_path, synthetic())
    families = tables.breakdown(Every(rows), "family")
    assert tuple(families) == ("family", *tables.LEADERBOARD)
    line = families.query("family == 'texture' and agent == 'good' and level == 'severe'").iloc[0]
    assert line["score"] == pytest.approx(10.0 - 4.0)
    assert line["clean_score"] == pytest.approx(40.0)
    tasks = tables.breakdown(Every(rows), "task")
    line = tasks.query("task == 'y' and agent == 'good' and level == 'severe'").iloc[0]
    assert (line["score"], line["tasks"]) == (pytest.approx(20.0), 1)
    table = tables.by_family(rows).query("agent == 'good' and task == 'y'")
    assert table["clean_score"].to_numpy() == pytest.approx(80.0)


def test_comparisons_by_hand(tmp_path):
    rows = [line for agent, at in (("a", 90.0), ("b", 50.0)) for line in spread(agent, at, 2.0)]
    table = pairs.compare(Every(read(tmp_path, rows)).complete(), ["a", "b"], ["none", "severe"])
    assert tuple(table) == pairs.COMPARISONS
    line = table.iloc[1]
    assert line["difference"] == pytest.approx(40.0)
    assert (line["improvement"], line["verdict"]) == (1.0, "better")
    assert line["p"] == pytest.approx(2 / 70) == pytest.approx(line["smallest_p"])
    assert pairs.remarks(table) == []
    few = read(tmp_path / "few", [r for r in rows if r["train_seed"] < 3])
    table = pairs.compare(Every(few).complete(), ["a", "b"], ["none", "severe"])
    assert table["verdict"].tolist() == ["not separable"] * 2
    assert "a and b: so few training seeds cannot give a p under 0.1" in pairs.remarks(table)[0]


def test_verdicts_are_corrected_for_the_pairs_of_a_level(tmp_path):
    centres = {"a": 90.0, "b": 50.0, "c": 49.9}
    rows = [line for agent, at in centres.items() for line in spread(agent, at, 2.0)]
    table = pairs.compare(Every(read(tmp_path, rows)).complete(), ["a", "b", "c"], ["none"])
    assert table["p"].tolist()[:2] == [pytest.approx(2 / 70)] * 2
    # Three times the smallest, twice the next: alone each would be called better.
    assert table["p_holm"].tolist()[:2] == [pytest.approx(6 / 70)] * 2
    assert table["verdict"].tolist() == ["not separable"] * 3


def test_who_is_better_on_every_task_is_better(tmp_path):
    """With more seeds on the easy task the worse agent would have the higher mean of its runs."""
    rows = []
    for agent, better, easy, hard in (("a", 0.0, 6, 3), ("b", 5.0, 3, 6)):
        for task, at, seeds in (("easy", 90.0, easy), ("hard", 10.0, hard)):
            for seed, episode in itertools.product(range(seeds), range(4)):
                score = at + better + 0.1 * seed + 0.3 * episode
                rows.append(one(agent, task, seed, "none", "none", episode, score))
    every = Every(read(tmp_path, rows))
    board, _ = tables.leaderboard(every)
    assert board["agent"].tolist() == ["b", "a"]
    assert board["rank"].tolist() == [1, 2]
    line = pairs.compare(every.complete(), ["b", "a"], ["none"]).iloc[0]
    assert line["difference"] == pytest.approx(5.0, abs=0.2)
    assert (line["improvement"], line["verdict"]) == (1.0, "better")


def test_letters_that_the_font_lacks_are_no_warning(tmp_path, recwarn):
    rows = [{**r, "agent": "漢字"} for r in synthetic() if r["agent"] == "good"]
    report.build(read(tmp_path, rows), tmp_path / "out")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert "漢字" in (tmp_path / "out" / "score_by_level.svg").read_text(encoding="utf-8")


def test_names_are_escaped_wherever_they_stand(tmp_path):
    names = {"good": '=HYPERLINK("x")', "weak": "<script>|50%_{a}&~^\\"}
    rows = read(tmp_path, [{**r, "agent": names[r["agent"]]} for r in synthetic()])
    report.build(rows, tmp_path / "out")
    out = {path.name: path.read_text() for path in (tmp_path / "out").glob("leaderboard.*")}
    assert "\n1,\"'=HYPERLINK(" in out["leaderboard.csv"]
    assert "<script>" not in out["leaderboard.md"]
    assert "&lt;script&gt;\\|50%\\_{a}&amp;\\~^\\\\" in out["leaderboard.md"]
    assert (
        r"\textless{}script\textgreater{}\textbar{}50\%\_\{a\}\&\textasciitilde{}"
        r"\textasciicircum{}\textbackslash{} &"
    ) in out["leaderboard.tex"]
    assert {line.count(" & ") for line in out["leaderboard.tex"].splitlines() if " & " in line} == {
        6
    }


# -- what is missing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (
            {"family": "texture", "task": "x", "train_seed": 0},
            "good on x, seed 0, severe: no texture",
        ),
        ({"task": "x", "train_seed": 0, "level": "severe"}, "good on x, seed 0, severe: nothing"),
        (
            {"family": "texture", "task": "x", "train_seed": 0, "episode": 1},
            "good on x, seed 0, severe: not all episodes of texture",
        ),
        (
            {"task": "x", "train_seed": 0, "level": "severe", "episode": 1},
            "good on x, seed 0, severe: not all episodes of lighting, texture",
        ),
    ],
    ids=["a family", "a run", "an episode of a family", "an episode of a run"],
)  # fmt: skip
def test_what_is_missing_is_named_and_not_counted(tmp_path, gone, message):
    rows = [
        r for r in synthetic()
        if not (r["agent"] == "good" and all(r[key] == value for key, value in gone.items()))
    ]  # fmt: skip
    board, missing = tables.leaderboard(Every(read(tmp_path, rows)))
    assert missing == [message]
    severe = entry(board, "good", "severe")
    # Without x, seed 0, the run of 20 counts as much as those of 60 and 100 together: of the middle
    # half of the weight it and the one of 60 have a half each.
    assert severe["score"] == pytest.approx(40 / 4)
    assert severe["clean_score"] == pytest.approx(40.0)  # of the same runs
    assert severe["episodes"] == 6
    assert entry(board, "good", "none")["score"] == pytest.approx(40.0)


def test_a_task_a_level_and_a_clean_arm_that_an_agent_lacks(tmp_path):
    rows = [
        r for r in synthetic(("none", "mild", "severe"))
        if r["agent"] == "good" or (r["task"] == "x" and r["level"] == "severe")
    ]  # fmt: skip
    rows = read(tmp_path, rows)
    board = report.build(rows, tmp_path / "out")
    notes = board.attrs["notes"]
    assert notes == [
        "missing: weak: nothing on y",
        "missing: weak: nothing at none",
        "missing: weak: nothing at mild",
        "weak: no clean arm of the same episodes, so no retention at severe",
        TWO_SEEDS,
        "not separable, whatever the scores: good and weak: so few training seeds cannot give a p "
        "under 0.33 (permutation test)",
    ]
    assert board[board["agent"] == "weak"]["level"].tolist() == ["severe"]
    text = report.render_table(board)
    line = text.splitlines()[2].split()
    assert line == (["–", "weak", "missing", "missing", "2.0", *line[5:7], "–", "–", "1", "×", "2"])
    assert "note: missing: weak: nothing on y" in text
    markdown = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "- missing: weak: nothing on y" in markdown


def test_fewer_seeds_on_one_task_are_named(tmp_path):
    rows = [
        r for r in synthetic(("none", "severe"))
        if r["agent"] == "good" or (r["task"], r["train_seed"]) != ("y", 1)
    ]  # fmt: skip
    _, missing = tables.leaderboard(Every(read(tmp_path, rows)))
    assert missing == ["weak: y has 1 of 2 training seeds, each of which weighs more"]


def test_nothing_complete_is_an_error_and_writes_nothing(tmp_path):
    rows = [
        one("a", "x", 0, "lighting", "severe", 0, 1.0),
        one("b", "x", 0, "texture", "severe", 0, 1.0),
        one("a", "y", 0, "lighting", "severe", 0, 1.0),
        one("a", "y", 1, "lighting", "severe", 0, 1.0),
    ]
    # Why nothing counts comes first, before x having fewer seeds than y.
    with pytest.raises(ShiftBenchError, match="complete: a on x, seed 0, severe: no texture"):
        report.build(read(tmp_path, rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_remarks_on_unlike_agents(tmp_path):
    rows = [
        one("a", "x", 0, "none", "none", 0, 1.0, train_steps=1000),
        one("a", "x", 0, "texture", "mild", 0, 1.0, train_steps=1000, shift_hash="aa"),
        one("b", "x", 0, "none", "none", 0, 1.0, train_steps=2000),
        one("b", "x", 0, "none", "none", 1, 1.0, train_steps=2000),
        one("b", "x", 0, "texture", "mild", 0, 1.0, train_steps=2000, shift_hash="bb"),
        one("random", "x", 0, "none", "none", 0, 1.0, train_steps=0),
    ]
    rows = read(tmp_path, rows)
    assert tables.remarks(rows, tables.leaderboard(Every(rows))[0]) == [
        "trained for different numbers of environment steps: a 1000; b 2000",
        "none: the agents have different numbers of episodes on x",
        "drawn by different versions of the shift's source: texture:mild",
        "one training seed: the intervals speak of these checkpoints on further episodes, "
        "not of the training method",
        "one training seed and one episode of a, random: nothing tells how far the scores may be "
        "off, and the intervals have no width",
    ]
    plain = read(tmp_path / "plain", synthetic())
    assert tables.remarks(plain, tables.leaderboard(Every(plain))[0]) == [TWO_SEEDS]
    plain.loc[plain["task"] == "x", "checkpoint"] = "cc"  # task y has none
    assert tables.remarks(plain, tables.leaderboard(Every(plain))[0]) == [
        "one checkpoint is training seeds 0, 1 of good on x",
        "one checkpoint is training seeds 0, 1 of weak on x",
        TWO_SEEDS,
    ]
    # What is not complete does not count, here either.
    lacking = read(tmp_path / "lacking", synthetic()).query(
        "train_seed == 0 or family != 'texture' or agent != 'good'"
    )
    (_, few) = tables.remarks(lacking, tables.leaderboard(Every(lacking))[0])
    assert few.startswith("one training seed of good on some task: ")
    # Who has how many is said where the agents differ, or the tasks of one.
    mixed = read(tmp_path / "mixed", synthetic()).query("agent == 'good' or train_seed == 0")
    assert tables.remarks(mixed, tables.leaderboard(Every(mixed))[0]) == [
        TWO_SEEDS,
        "one training seed of weak on some task: the intervals speak of these checkpoints on "
        "further episodes, not of the training method",
    ]


def test_levels_of_ones_own_are_ordered_by_severity(tmp_path):
    rows = [
        one("a", "x", 0, "texture", level, 0, 1.0, severity=severity)
        for level, severity in {"wild": 0.9, "soft": 0.1, "severe": 0.5}.items()
    ]
    board, _ = tables.leaderboard(Every(read(tmp_path, rows)))
    assert board["level"].tolist() == ["soft", "severe", "wild"]
    assert board["severity"].tolist() == [0.1, 0.5, 0.9]


# -- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "agents"),
    [(("none",), ("good",)), (("none", "severe"), ("good",)), (tuple(LEVELS), ("good", "weak"))],
    ids=["clean only", "what the demo draws", "everything"],
)
def test_files(tmp_path, levels, agents):
    rows = read(tmp_path, synthetic(levels, agents, seeds=(0,)))
    board = report.build(rows, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    written = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    assert tuple(written) == tables.LEADERBOARD
    np.testing.assert_array_equal(written["score"], board["score"])
    for name in ("score_by_level", "families"):
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            assert image.width == plots.WIDTH * plots.DPI
            # A drawing, not an empty page: letters and colours beside the white.
            assert len(image.convert("RGB").getcolors(1 << 20)) > 50
        texts = " ".join(ElementTree.parse(tmp_path / "out" / f"{name}.svg").getroot().itertext())
        for word in (*agents, *("clean" if level == "none" else level for level in levels)):
            assert word in texts
    assert "one training seed" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = synthetic(LEVELS)
    report.build(read(tmp_path / "a", rows), tmp_path / "a" / "out")
    report.build(read(tmp_path / "b", rows[::-1]), tmp_path / "b" / "out")  # in any order
    for name in FILES:
        one_, other = (tmp_path / side / "out" / name for side in "ab")
        assert one_.read_bytes() == other.read_bytes(), name


def test_odd_and_long_names(tmp_path):
    long = (
        "pvm-full+encoder=timm:vit_small_patch14_dinov2.lvd142m+finetune_blocks=3+note=" + "x" * 99
    )
    names = {"good": "a|b$c$_^<&>", "weak": long}
    rows = [{**r, "agent": names[r["agent"]]} for r in synthetic()]
    board = report.build(read(tmp_path, rows), tmp_path / "out")
    table = [
        line for line in (tmp_path / "out" / "leaderboard.md").read_text().splitlines()
        if line.startswith("|")
    ]  # fmt: skip
    assert table[2].startswith("| 1 | a\\|b\\$c\\$\\_^&lt;&amp;&gt; |")
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert set(board["agent"]) == set(names.values())
    # Nothing is cut: whatever is drawn ends before the edges of the picture.
    for name in ("score_by_level", "families"):
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
        edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
        assert all((edge > 250).all() for edge in edges), name
    svg = ElementTree.parse(tmp_path / "out" / "score_by_level.svg").getroot()
    assert names["good"] in "".join(svg.itertext())


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    report.build(read(tmp_path, synthetic()), tmp_path / "out")
    assert dict(matplotlib.rcParams) == before


def test_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ShiftBenchError, match="cannot be written"):
        report.build(read(tmp_path, synthetic()), tmp_path / "file" / "out")


def test_json(tmp_path):
    board = report.build(read(tmp_path, synthetic()), tmp_path / "out")
    data = json.loads(report.to_json(board))
    assert [line["level"] for line in data["leaderboard"]] == ["none", "severe"] * 2
    assert data["leaderboard"][1]["score"] == pytest.approx(10.0)
    assert data["leaderboard"][3]["retention"] is None
    assert data["notes"][0] == TWO_SEEDS


# -- the command --------------------------------------------------------------------------------


def test_the_command_draws_without_torch_or_dm_control(tmp_path):
    read(tmp_path, synthetic())
    code = f"""
import sys
from shiftbench.cli import main
try:
    main(["report", {str(tmp_path / "in")!r}, "--out", {str(tmp_path / "out")!r}])
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"torch", "dm_control", "mujoco", "timm"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[:2] == ["1", "good"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | {
        f"{name}.{suffix}"
        for name in ("retention", "profiles", "improvement", "clean_against_shifted")
        for suffix in ("png", "svg")
    }


def test_the_command_refuses_bad_rows_in_one_line(tmp_path):
    (tmp_path / "rows.csv").write_text("agent,task\nx,y\n")
    code = (
        f"from shiftbench.cli import main; main(['report', {str(tmp_path / 'rows.csv')!r}, "
        f"'--out', {str(tmp_path / 'out')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "missing columns" in done.stderr
    assert not (tmp_path / "out").exists()


def test_levels_of_equal_severity_are_in_one_order_whatever_that_of_the_rows():
    table = pd.DataFrame({"level": ["rain", "none", "fog"], "severity": [1.0, 0.0, 1.0]})
    assert order(table) == order(table[::-1]) == ["none", "fog", "rain"]
