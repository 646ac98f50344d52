"""Third parties' packages: one that works, really installed, and some that do not."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import package

PACKAGE = Path(__file__).parent / "plugin_package"

#: Runs the command line, then prints which heavy packages were imported.
WATCHED = """
import sys
from shiftbench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print("\\nimported:", *sorted({"torch", "timm"} & set(sys.modules)))
    sys.exit(end.code)
"""


@pytest.fixture(scope="module")
def installed_plugin(tmp_path_factory) -> Path:
    """Build and install the example package into a folder of its own."""
    target = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", target, PACKAGE], check=True, timeout=300)
    return target


def watched(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run the command line in a process that finds the packages in ``folder``."""
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


@pytest.mark.parametrize(
    ("what", "name", "key", "value"),
    [
        ("agents", "example", "algorithm", "constant"),
        ("encoders", "tiny", "origin", "package 'shiftbench-example' (shiftbench_example.encoder"),
        ("shifts", "invert:severe", "origin", "package 'shiftbench-example'"),
        ("tasks", "example_task", "action_repeat", "4"),
    ],
)
def test_what_a_package_registers_is_listed(installed_plugin, what, name, key, value):
    done = watched(installed_plugin, "list", what, "--json")
    assert done.returncode == 0, done.stderr
    text, imported = done.stdout.split("\nimported:")
    (entry,) = [row for row in json.loads(text) if name in row.values()]
    assert str(entry[key]).startswith(value)
    assert imported == "\n"


def test_its_agent_runs_on_its_task_under_its_family_without_torch(installed_plugin, tmp_path):
    arguments = ["run", "--agent", "example", "--task", "example_task", "--episodes", "2"]
    arguments += ["--shift", "invert:severe", "--shift", "lighting:mild", "--json"]
    done = watched(installed_plugin, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text, imported = done.stdout.split("\nimported:")
    assert imported == "\n"
    assert json.loads(text)["leaderboard"]
    rows = []
    for path in sorted(tmp_path.glob("runs/mini-v1/cells/example_task-v1/example/*.csv")):
        with path.open(newline="") as file:
            rows += csv.DictReader(file)
    shifts = {(row["family"], row["level"]) for row in rows}
    assert shifts == {("none", "none"), ("invert", "severe"), ("lighting", "mild")}
    assert {row["length"] for row in rows} == {"100"}
    # It acts by the brightness of what it sees, and the shifts change that.
    assert len({row["return"] for row in rows}) == 6


def test_its_encoder_builds(installed_plugin):
    code = (
        "from shiftbench import encoders; import torch; "
        "print(encoders.build('tiny', pretrained=False)(torch.zeros(2, 3, 64, 64)).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed_plugin)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "torch.Size([2, 256])\n", done.stderr


@pytest.mark.parametrize(
    ("body", "group", "arguments"),
    [
        ("import no_such_package", "agents", ["list", "agents"]),
        ("raise RuntimeError('two\\nlines')", "agents", ["run", "--agent", "mine"]),
        ("def (", "families", ["run", "--agent", "random", "--shift", "mine:mild"]),
        ("x = 1", "encoders", ["train", "--agent", "scratch", "--encoder", "mine", "--steps", "9"]),
    ],
)
def test_a_package_that_fails_on_import_is_named(tmp_path, group, arguments, body):
    package(tmp_path, "bad-plugin", f"[shiftbench.{group}]\nmine = bad_module:X\n", bad_module=body)
    done = watched(tmp_path, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "\nimported:\n"
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "'mine' from package 'bad-plugin' (bad_module:X) cannot be imported" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("no_such_module", "module 'no_such_module' does not exist"),
        ("bad_module.tasks", "cannot be imported: RuntimeError: broken"),
    ],
)
def test_a_package_whose_tasks_cannot_be_found_is_named(tmp_path, value, expected):
    entry = f"[shiftbench.tasks]\nmine = {value}\n"
    package(tmp_path, "bad-plugin", entry, bad_module="raise RuntimeError('broken')")
    done = watched(tmp_path, "list", "tasks")
    assert (done.returncode, done.stdout) == (2, "\nimported:\n")
    assert done.stderr.startswith("Error: tasks of package 'bad-plugin'")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


@pytest.mark.parametrize(
    ("kind", "group", "names"),
    [("agent", "agents", ("same", "same")), ("encoder", "encoders", ("cnn",))],
)
def test_two_packages_with_one_name_are_both_named(tmp_path, kind, group, names):
    for index, name in enumerate(names):
        package(tmp_path, f"plugin-{index}", f"[shiftbench.{group}]\n{name} = m:X\n", m="X = 1")
    done = watched(tmp_path, "list", group)
    assert (done.returncode, done.stdout) == (2, "\nimported:\n")
    assert done.stderr.count("\n") == 1
    assert f"Error: {kind} '{names[0]}' is registered twice: by " in done.stderr
    assert "package 'plugin-0' (m:X)" in done.stderr
    other = "package 'plugin-1' (m:X)" if len(names) == 2 else "shiftbench (shiftbench.encoders"
    assert other in done.stderr


def test_two_packages_with_one_task_name_both_files(tmp_path, good_task):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "my_task.toml").write_text(good_task)
        package(tmp_path, f"plugin-{name}", f"[shiftbench.tasks]\n{name} = {name}\n")
    done = watched(tmp_path, "list", "tasks")
    assert (done.returncode, done.stdout) == (2, "\nimported:\n")
    for name in ("one", "two"):
        assert str(tmp_path / name / "my_task.toml") in done.stderr
