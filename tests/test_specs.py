from pathlib import Path

import pytest

from shiftbench import specs
from shiftbench.errors import ShiftBenchError
from shiftbench.shifts.presets import PRESETS
from shiftbench.specs import Shift


def write(folder: Path, text: str, name: str = "my_task") -> Path:
    (folder / f"{name}.toml").write_text(text)
    return folder


def test_shipped_tasks_and_suites_are_complete(tasks):
    for suite in specs.load_suites().values():
        assert set(suite.tasks) <= set(tasks)
    assert {tasks[n].action_repeat for n in specs.get_suite("mini").tasks} == {8, 4, 2}
    for task in tasks.values():
        assert task.anchors.random.source
        assert task.anchors.reference.source


def test_user_task_needs_no_code(tmp_path, good_task):
    task = specs.load_tasks((write(tmp_path, good_task),))["my_task"]
    assert task.agent_steps == 25
    assert task.score(5.0) == 0.0
    assert task.score(100.0) == 100.0
    assert task.score(195.0) == 200.0  # not clipped


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version = 1", "version = 1\nspeed = 2", ["speed", "action_repeat"]),
        ("version = 1", "", ["version"]),
        ("action_repeat = 4", 'action_repeat = "four"', ["action_repeat", "int"]),
        ("action_repeat = 4", "action_repeat = 0", ["action_repeat", "at least 1"]),
        ("value = 100.0", "value = 1.0", ["anchors", "reference"]),
        ('name = "my_task"', 'name = "other"', ["other", "my_task"]),
        ("version = 1", "version = = 1", ["not valid TOML", "line"]),
    ],
)
def test_broken_task_file_names_file_and_key(tmp_path, good_task, old, new, expected):
    write(tmp_path, good_task.replace(old, new))
    with pytest.raises(ShiftBenchError) as error:
        specs.load_tasks((tmp_path,))
    for part in ["my_task.toml", *expected]:
        assert part in str(error.value)


def test_duplicate_task_names_both_files(tmp_path, good_task):
    text = good_task.replace("my_task", "finger_spin")
    with pytest.raises(ShiftBenchError, match=r"finger_spin.*already defined in.*finger_spin"):
        specs.load_tasks((write(tmp_path, text, "finger_spin"),))


def test_user_suite_with_its_own_levels(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[mine]\nversion = 2\ntasks = ["finger_spin"]\nfamilies = ["texture"]\n'
        "[mine.levels]\nhalf = 0.5\n"
    )
    suite = specs.get_suite("mine", path)
    assert suite.id == "mine-v2"
    assert [str(s) for s in suite.shifts()] == ["none:none", "texture:half"]
    assert Shift.parse("half", suite)[0].severity == 0.5


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("half = 1.5", "levels.half"),
        ("none = 0.5", "levels.none"),
    ],
)
def test_suite_levels_are_checked(tmp_path, line, expected):
    path = tmp_path / "s.toml"
    path.write_text(
        '[m]\nversion = 1\ntasks = ["finger_spin"]\nfamilies = ["texture"]\n[m.levels]\n' + line
    )
    with pytest.raises(ShiftBenchError, match=expected):
        specs.load_suites(path)


def test_unknown_family_in_suite_lists_the_valid_ones(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[m]\nversion = 1\ntasks = ["finger_spin"]\nfamilies = ["sound"]\n')
    with pytest.raises(ShiftBenchError, match="families.*texture"):
        specs.load_suites(path)


def test_overrides_change_the_id():
    plain = specs.AgentSpec("a", "dreamer")
    assert plain.id == "a"
    other = specs.AgentSpec("a", "dreamer", options={"encoder": "timm:x", "blocks": 2})
    assert other.id == "a+blocks=2+encoder=timm:x"


def test_a_suite_shows_a_family_at_its_own_levels(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[mine]\nversion = 1\ntasks = ["finger_spin"]\nfamilies = ["preset", "texture"]\n'
        "[mine.levels]\nhalf = 0.5\n"
    )
    names = [str(shift) for shift in specs.get_suite("mine", path).shifts()]
    assert names == ["none:none", *(f"preset:{name}" for name in PRESETS), "texture:half"]


def test_a_suite_does_not_pass_for_another(tmp_path):
    path = tmp_path / "suites.toml"
    path.write_text(
        "[mine]\nname = 'mini'\nversion = 1\ntasks = ['cartpole_balance']\n"
        "families = ['texture']\nlevels = {severe = 0.1}\n"
    )
    with pytest.raises(ShiftBenchError, match=r"\[mine\]: 'name' must be 'mine', or left out"):
        specs.load_suites(path)
