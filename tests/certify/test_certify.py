"""The certificate on real frames: good families pass, every kind of fault is caught and named."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from bad_families import BAD, GOOD, Falling, Hiding, Tint

from shiftbench import certify as certificate
from shiftbench.certify import cells, episodes, plot, reader, run, tables, verdicts
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import FAMILIES
from shiftbench.shifts.base import ShiftFamily
from shiftbench.specs import Shift, Suite, Task

CAUGHT = [
    (family.__name__.lower(), check)
    for check, families in vars(BAD).items()
    if check != "solvable"
    for family in families
]


FEW = {"states": 12, "solvable": False, "workers": 1}
LEVELS = {"low": 0.3, "high": 0.9}


#: What else is wrong with a family: levels in the wrong order are not comparable at either, and
#: what sticks is more than a tint.
ALSO = {"falling": {"comparable"}, "sticky": {"comparable"}}


@pytest.fixture(scope="module")
def short(tasks) -> Task:
    """A task that is quickly played to its end."""
    return msgspec.structs.replace(tasks["finger_spin"], episode_steps=60)


@pytest.fixture(scope="module")
def make_suite() -> Iterator[Callable[..., Suite]]:
    """Return the suite of some families, which are registered until the tests are over."""
    registered = FAMILIES._load()
    before = dict(registered)

    def make(*families: type[ShiftFamily]) -> Suite:
        registered.update({family.__name__.lower(): family for family in families})
        names = tuple(family.__name__.lower() for family in families)
        return Suite("faulty", 1, ("finger_spin",), names, levels=LEVELS)

    yield make
    registered.clear()
    registered.update(before)


class Certified(NamedTuple):
    """A suite, where its cells are, and these."""

    suite: Suite
    out: Path
    cells: list[verdicts.Cell]


@pytest.fixture(scope="module")
def measured(short, make_suite, tmp_path_factory) -> Certified:
    """All families of `bad_families` but the one that needs readers."""
    families = [f for check, some in vars(BAD).items() if check != "solvable" for f in some]
    suite = make_suite(*GOOD, *families)
    out = tmp_path_factory.mktemp("certificate")
    return Certified(suite, out, run.certify(suite, [short], out, **FEW))


@pytest.fixture(scope="module")
def certified(measured) -> dict[str, list[verdicts.Verdict]]:
    """The verdicts on their cells."""
    found: dict[str, list[verdicts.Verdict]] = {}
    for verdict in verdicts.judge(measured.cells):
        found.setdefault(verdict.cell.family, []).append(verdict)
    return found


@pytest.fixture(scope="module")
def env(short):
    env = PixelEnv(short)
    yield env
    env.close()


# -- what is caught --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [family.__name__.lower() for family in GOOD])
def test_a_good_family_passes(certified, family):
    assert [str(fault) for v in certified[family] for fault in v.faults] == []
    low, high = (v.cell for v in certified[family])
    assert 0 < low.ssim < high.ssim < 1
    assert 0 < low.features < high.features < 1
    assert (low.states, low.severity, low.task) == (12, 0.3, "finger_spin")


@pytest.mark.parametrize(("family", "check"), CAUGHT)
def test_a_bad_family_is_caught_and_its_fault_named(certified, family, check):
    wrong = {fault.check for v in certified[family] for fault in v.faults}
    assert wrong == {check} | ALSO.get(family, set())


def test_faults_say_what_is_wrong(certified):
    def text(family):
        return "; ".join(tables.faults(certified[family]))

    assert "finger_spin falling:high: graded: √(1 − SSIM)" in text("falling")
    assert "states, rewards or lengths differ" in text("nudging")
    assert "the clean frames are others after the shift" in text("sticky")
    assert "different seeds give equal frames" in text("fixed")
    for family in ("unseeded", "counting"):
        assert "one seed gives other frames in another process and order" in text(family)


@pytest.mark.slow
def test_a_family_that_hides_the_agent_is_not_solvable(short, make_suite, tmp_path):
    suite = make_suite(*GOOD, Hiding)
    found = run.certify(suite, [short], tmp_path, states=24, workers=2)
    failed = {v.cell.family for v in verdicts.judge(found) if v.failed("solvable")}
    assert failed == {"hiding"}
    hidden = [cell for cell in found if cell.family == "hiding"]
    assert all(cell.r2 < 0.2 < 0.5 < cell.r2_clean for cell in hidden)
    assert {cell.r2_clean for cell in found} == {hidden[0].r2_clean}

    # What is there is not done again; the cells are the same.
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert len(files) == len(found) + len(cells.READERS)
    assert run.certify(suite, [short], tmp_path, states=24) == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == files


# -- resuming --------------------------------------------------------------------------------------


def test_only_what_is_missing_is_measured(measured, short, monkeypatch):
    files = {path: path.stat().st_mtime_ns for path in measured.out.rglob("*.json")}
    assert len(files) == len(measured.cells) == 2 * len(measured.suite.families)
    gone = next(path for path in files if path.name.startswith("haze-high"))
    gone.unlink()
    asked = []
    work = cells.measuring_work
    monkeypatch.setattr(cells, "measuring_work", lambda p, f: asked.append(f) or work(p, f))

    def again():
        return run.certify(measured.suite, [short], measured.out, **FEW)

    assert again() == measured.cells
    assert asked == ["haze"]
    kept = {path for path in files if path.stat().st_mtime_ns == files[path]}
    assert {path.name[:5] for path in files.keys() - kept} == {"haze-"}

    whole = gone.read_bytes()
    gone.write_text('{"task": 1}')
    with pytest.raises(ShiftBenchError, match=r"haze-high.*not a cell .*delete it"):
        again()
    gone.write_bytes(whole)


def test_another_process_looks_in_the_same_places(tasks, make_suite, tmp_path):
    suite = make_suite(*GOOD)
    for name in (*suite.tasks, "cartpole_balance"):
        plan = cells.Plan.of(suite, tasks[name], 8, True)
        sent = pickle.loads(pickle.dumps(plan))
        for kind in cells.READERS:
            assert sent.reader_path(tmp_path, kind) == plan.reader_path(tmp_path, kind)
        for shift in plan.shifts:
            assert sent.cell_path(tmp_path, shift) == plan.cell_path(tmp_path, shift)


def test_a_cells_address_depends_on_what_changes_it(short, make_suite, tmp_path):
    suite = make_suite(*GOOD)
    plan = cells.Plan.of(suite, short, 8, True)
    shift, other = plan.shifts[:2]
    again = cells.Plan.of(suite, short, 8, True)
    assert again.cell_path(tmp_path, shift) == plan.cell_path(tmp_path, shift)
    paths = {plan.cell_path(tmp_path, shift), plan.cell_path(tmp_path, other)}
    for name, value in {
        "states": 12, "solvable": False, "image_size": 84, "render": "dm_control",
        "task": msgspec.structs.replace(short, version=2), "shifts": plan.shifts[:3],
    }.items():  # fmt: skip
        changed = msgspec.structs.replace(plan, **{name: value})
        paths.add(changed.cell_path(tmp_path, shift))
        assert changed.reader_path(tmp_path, "shifted") != plan.reader_path(tmp_path, "shifted")
    assert len(paths) == 8
    stronger = msgspec.structs.replace(shift, severity=0.4)
    assert plan.cell_path(tmp_path, stronger) not in paths
    # The clean reader and cells without readers know nothing of the other shifts.
    fewer = msgspec.structs.replace(plan, shifts=plan.shifts[:3])
    assert fewer.reader_path(tmp_path, "clean") == plan.reader_path(tmp_path, "clean")
    plan, fewer = (msgspec.structs.replace(p, solvable=False) for p in (plan, fewer))
    assert fewer.cell_path(tmp_path, shift) == plan.cell_path(tmp_path, shift)


def test_an_error_in_a_worker_is_one_line_and_leaves_no_cell(make_suite, short, tmp_path):
    suite = make_suite(Tint)
    lost = msgspec.structs.replace(short, camera="nowhere")
    with pytest.raises(ShiftBenchError, match="camera 'nowhere' does not exist"):
        run.certify(suite, [lost], tmp_path, states=4, solvable=False, workers=1)
    assert not list(tmp_path.rglob("*.*"))


# -- episodes and readers --------------------------------------------------------------------------


def test_actions_are_held_and_random_by_turns(short):
    long = episodes.actions(short, "test", 0, 2, 500)
    assert long.shape == (500, 2)
    assert np.abs(long).max() <= 1
    held = (long[1:] == long[:-1]).all(1).mean()
    assert 0.2 < held < 0.6
    assert (episodes.actions(short, "test", 0, 2, 9) == long[:9]).all()
    assert (episodes.actions(short, "test", 1, 2, 9) != long[:9]).all()
    assert (episodes.actions(short, "other", 0, 2, 9) != long[:9]).all()


def test_the_look_changes_and_the_physics_does_not(env):
    shift = Shift("texture", "severe", 0.75)
    clean, first = episodes.play(env, "test", 0), episodes.play(env, "test", 0, shift)
    other = episodes.play(env, "test", 0, shift, look=1)
    assert first.frames.shape == (episodes.STEPS, 64, 64, 3)
    assert first.states.shape[0] == episodes.STEPS + 1
    assert first.length == episodes.STEPS * env.task.action_repeat
    assert clean.same_physics(first)
    assert first.same_physics(other)
    assert len({clean.digest(), first.digest(), other.digest()}) == 3
    assert episodes.play(env, "test", 0, shift).digest() == first.digest()
    assert not clean.same_physics(episodes.play(env, "test", 1))
    assert (clean.positions == first.positions).all()
    whole = episodes.play(env, "test", 0, steps=1000)
    assert whole.length == env.task.episode_steps
    assert whole.ends[-1].tolist() == [1, 1]


def test_explained_variance_is_r2_of_each_position():
    true = np.array([[0.0, 1.0, 5.0], [1.0, 2.0, 5.0], [2.0, 3.0, 5.0]])
    read = np.array([[0.0, 2.0, 5.0], [1.0, 2.0, 5.0], [2.0, 2.0, 5.0]])
    np.testing.assert_array_equal(reader.explained(read, true), [1, 0, np.nan])


def test_a_reader_comes_back_from_its_file_and_counts_its_work(env, tmp_path):
    ticks = []
    trained = reader.train(env, [None], 160, ticks.append)
    assert sum(ticks) == reader.work(160)
    reader.save(trained, tmp_path / "reader.safetensors")
    frames = episodes.play(env, "test", 0).frames
    found = reader.load(tmp_path / "reader.safetensors", 64).read(frames)
    assert found.shape == (episodes.STEPS, len(env.position_names))
    np.testing.assert_array_equal(found, trained.read(frames))
    again = reader.train(env, [None], 160)
    np.testing.assert_array_equal(again.read(frames), trained.read(frames))


def test_work_is_counted_as_it_is_done(short, make_suite, tmp_path):
    plan = cells.Plan.of(make_suite(Tint), short, 8, False)
    ticks = []
    cells.measure(plan, "tint", tmp_path, ticks.append)
    assert sum(ticks) == cells.measuring_work(plan, "tint")


# -- tables, plot and command ----------------------------------------------------------------------


def test_tables_show_every_cell_and_mark_what_fails(certified, make_suite, tmp_path):
    suite = make_suite(*GOOD)
    found = [v for some in certified.values() for v in some]
    certificate.build(suite, found, tmp_path)
    with (tmp_path / "certificate.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == tables.COLUMNS
    assert [(row["family"], row["level"]) for row in rows] == [
        (v.cell.family, v.cell.level) for v in found
    ]
    by_family = {row["family"]: row for row in rows}
    assert by_family["tint"]["harmless"] == by_family["tint"]["comparable"] == "pass"
    assert by_family["tint"]["solvable"] == by_family["tint"]["fault"] == ""
    assert (by_family["heavy"]["harmless"], by_family["heavy"]["passed"]) == ("fail", "False")
    assert float(rows[0]["ssim"]) == pytest.approx(found[0].cell.ssim, rel=1e-5)

    text = tables.text(found)
    red = [re.sub(r"\x1b\[0m.*", "", part) for part in text.split("\x1b[31m")[1:]]
    failed = sum(not v.passed for v in found)
    assert failed > 10
    assert len(red) == 2 * failed  # in the table, and what is wrong below
    assert f"{failed} of {len(found)} cells fail." in text

    lines = (tmp_path / "certificate.md").read_text(encoding="utf-8").splitlines()
    assert sum(line.count("❌") for line in lines if line.startswith("|")) == failed
    assert "❌" not in next(line for line in lines if line.startswith("| tint "))
    assert any(found[0].cell.network in line for line in lines)
    good = [v for v in found if v.passed]
    assert "All 4 cells pass." in tables.text(good)
    assert "\x1b[31m" not in tables.text(good)

    data = json.loads(certificate.to_json(suite, found))
    assert data["passed"] is False
    assert len(data["cells"]) == len(found)
    assert tuple(data["cells"][0]) == tables.COLUMNS


def test_the_plot_rings_what_fails_where_it_shows(certified):
    found = [v for some in certified.values() for v in some]
    axes = plot.draw(found).axes
    assert len(axes) == 2  # no readers, no panel of theirs
    for panel, measure in zip(axes, verdicts.MEASURES, strict=True):
        rings = [line for line in panel.lines if line.get_markersize() == 9]
        wrong = [v for v in found if any(f.measure in (measure, "") for f in v.faults)]
        assert len(rings) == len(wrong)
        assert [ring.get_ydata()[0] for ring in rings] == [
            getattr(v.cell, measure) for v in sorted(wrong, key=lambda v: found.index(v))
        ]


def test_the_documentation_names_every_column():
    text = (Path(__file__).parents[2] / "docs" / "certificate.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", " ".join(listed))) == tables.COLUMNS


def test_the_command_tells_failure_by_its_code_and_resumes(mine, call, make_suite):
    make_suite(Tint, Falling)
    with Path("suites.toml").open("a") as file:
        for name, families in {"bad": ["tint", "falling"], "good": ["tint"]}.items():
            file.write(
                f'[{name}]\nversion = 1\ntasks = ["my_task"]\nfamilies = {families}\n'
                "levels = { half = 0.5, full = 1.0 }\n"
            )

    def certify(suite, *more):
        few = ("--states", 4, "--no-solvable", "--workers", 1, "--out", "out")
        return call("certify", *mine[2:], "--suite", suite, *few, *more)

    done = certify("bad")
    assert done.code == 1
    assert "falling:full: graded" in done.out
    assert {path.name for path in Path("out").iterdir()} == {
        "cells", "certificate.csv", "certificate.md", "certificate.png", "certificate.svg",
    }  # fmt: skip
    done = certify("bad", "--json")
    assert done.code == 1
    assert done.err == "tables and plots: out\n"  # nothing was measured again
    data = json.loads(done.out)
    assert data["passed"] is False
    assert [(c["family"], c["level"]) for c in data["cells"]] == [
        (family, level) for family in ("tint", "falling") for level in ("half", "full")
    ]
    done = certify("good")  # whose cells are among those
    assert (done.code, done.err) == (0, "tables and plots: out\n")
    assert "All 2 cells pass." in done.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "task 'my_task' lists no positions in its file"),
        (("--states", "3"), "--states"),
        (("--no-solvable", "--out", "/proc/nowhere"), "--out /proc/nowhere"),
        (("--task", "cartpole_balanc"), "Did you mean 'cartpole_balance'?"),
    ],
)
def test_bad_input_is_one_line(mine, call, flags, message):
    done = call("certify", *mine, *flags)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(io.StringIO(done.err).readlines()) == 1
