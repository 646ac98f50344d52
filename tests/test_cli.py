"""The command line: what its commands print and write, and what stops them."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import asdict
from support import COMMAND, MINE, package

from shiftbench import __version__
from shiftbench.agents import AGENTS
from shiftbench.data import data_dir
from shiftbench.results import file_name

#: No task is played twice under one shift, so that the tests are quick.
RUN = ("run", "--agent", "random", "--episodes", "1", *MINE)

TABLES = {
    "leaderboard.csv", "leaderboard.md", "leaderboard.tex", "by_family.csv", "by_task.csv",
    "comparisons.csv", "families.csv", "score_by_level.png",
    "score_by_level.svg", "families.png", "families.svg",
}  # fmt: skip
#: What `report` draws besides, of one agent.
PLOTS = {
    f"{name}.{kind}" for name in ("profiles", "clean_against_shifted") for kind in ("png", "svg")
}


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of all cells, sorted by shift and episode."""
    found = []
    for path in folder.glob("*/cells/**/*.csv"):
        with path.open(newline="") as file:
            found += csv.DictReader(file)
    return sorted(found, key=lambda r: (r["family"], r["level"], r["train_seed"], r["episode"]))


def cells(folder: Path) -> dict[Path, int]:
    """Return the files of the cells with the times when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/cells/**/*.csv")}


# -- what the commands print and write ------------------------------------------------------------


def test_the_installed_command(installed):
    assert installed("--version") == (0, f"shiftbench, version {__version__}\n", "")
    done = installed("list", "tasks")
    assert done.code == 0
    assert "cartpole_balance" in done.out
    assert done.err == ""
    # Not even a name that is no text.
    done = installed("run", "--agent", "\udcff")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: unknown agent ")


@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP library")
@pytest.mark.parametrize(("asked", "found"), [(None, "PASSIVE"), ("active", "ACTIVE")])
def test_threads_that_wait_leave_their_core_unless_asked_otherwise(asked, found):
    environment = {key: v for key, v in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": asked} if asked else {}
    environment |= {"OMP_DISPLAY_ENV": "true"}  # the library says what it has read
    command = [COMMAND, "agents", "show", "scratch"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert f"OMP_WAIT_POLICY = '{found}'" in done.stderr


def test_help_and_lists_import_nothing_heavy():
    code = """
import sys
from shiftbench.cli import cli, main
calls = [["--help"], ["tasks", "--help"], ["tasks", "anchors", "--help"]]
calls += [[name, "--help"] for name in cli.commands]
calls += [["list", what] for what in ("tasks", "suites", "shifts", "agents", "encoders")]
for arguments in calls:
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
    heavy = {"torch", "dm_control", "mujoco", "timm", "pandas"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("what", ["tasks", "suites", "shifts", "agents", "encoders"])
def test_lists_as_json_hold_what_the_tables_show(call, what):
    table, found = call("list", what), call("list", what, "--json")
    assert (table.code, found.code, found.err) == (0, 0, "")
    entries = json.loads(found.out)
    heading, *lines = table.out.splitlines()
    assert heading.split() == list(entries[0])
    assert [line.split()[0] for line in lines] == [next(iter(e.values())) for e in entries]


def test_a_task_and_a_suite_of_ones_own_run_end_to_end(call, mine, tmp_path):
    done = call(*RUN, "--shift", "all")
    assert done.code == 0, done.err
    heading, line, *_ = done.out.splitlines()
    assert heading.split()[1:5] == ["agent", "none", "half", "full"]
    assert line.split()[:2] == ["1", "random"]
    found = rows(tmp_path / "runs")
    shifts = [(r["family"], r["level"], float(r["severity"])) for r in found]
    assert shifts == [
        ("lighting", "full", 1.0),
        ("lighting", "half", 0.5),
        ("none", "none", 0.0),
        ("texture", "full", 1.0),
        ("texture", "half", 0.5),
    ]
    assert {r["suite"] for r in found} == {"mine"}
    assert {r["length"] for r in found} == {"100"}
    # The score is that of the anchors in the task's own file: 5 and 100.
    for row in found:
        assert float(row["score"]) == pytest.approx(100 * (float(row["return"]) - 5) / 95)
    report = tmp_path / "runs" / "mine-v1" / "report"
    assert {path.name for path in report.iterdir()} == TABLES


def test_the_clean_arm_is_always_played(call, mine, tmp_path):
    assert call(*RUN, "--shift", "texture:half").code == 0
    assert [(r["family"], r["level"]) for r in rows(tmp_path / "runs")] == [
        ("none", "none"),
        ("texture", "half"),
    ]


def test_finished_cells_are_not_played_again(call, mine, tmp_path):
    first = call(*RUN, "--shift", "texture:half")
    before = cells(tmp_path / "runs")
    second = call(*RUN, "--shift", "texture:half")
    assert cells(tmp_path / "runs") == before
    assert second.out == first.out
    third = call(*RUN, "--shift", "texture:full")
    assert third.code == 0
    after = cells(tmp_path / "runs")
    assert len(after) == 3
    assert before.items() <= after.items()


def test_run_and_report_print_the_same_json_and_nothing_else(call, mine):
    done = call(*RUN, "--shift", "half", "--json")
    board = json.loads(done.out)["leaderboard"]
    assert [entry["level"] for entry in board] == ["none", "half"]
    again = call("report", "runs", "--tasks-dir", "tasks", "--out", "tables", "--json")
    assert (again.code, json.loads(again.out)) == (0, json.loads(done.out))
    assert {path.name for path in Path("tables").iterdir()} == TABLES | PLOTS


def test_a_report_of_some_agents_on_some_tasks(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = str(data_dir("results") / "mini-pilot" / "episodes.csv")
    agents = ("--agent", "scratch", "--agent", "pvm-frozen")
    done = call("report", rows, *agents, "--task", "ball_in_cup_catch", "--out", "tables", "--json")
    found = json.loads(done.out)
    board = found["leaderboard"]
    assert (done.code, {entry["agent"] for entry in board}) == (0, {"scratch", "pvm-frozen"})
    assert {entry["tasks"] for entry in board} == {1}
    wrong = call("report", rows, "--task", "ball_in_cup", "--out", "others")
    assert (wrong.code, wrong.out) == (2, "")
    assert "unknown task 'ball_in_cup' for --task. Did you mean 'ball_in_cup_catch'?" in wrong.err
    assert wrong.err.count("\n") == 1
    head, *lines = Path(rows).read_text().splitlines()
    some = [line for line in lines if not line.startswith("pvm-partial,ball_in_cup_catch,")]
    Path("some.csv").write_text("\n".join([head, *some]) + "\n")
    partial = ("--agent", "scratch", "--agent", "pvm-partial")  # which has no rows there
    lacking = call("report", "some.csv", *partial, "--task", "ball_in_cup_catch", "--out", "others")
    assert (lacking.code, lacking.out) == (2, "")
    assert "unknown agent 'pvm-partial' for --agent" in lacking.err
    assert not Path("others").exists()


def test_anchors_as_json(call, mine):
    done = call("tasks", "anchors", "--episodes", "2", "--json", *mine)
    assert done.code == 0
    (row,) = json.loads(done.out)
    assert (row["task"], row["episodes"], row["in_file"]) == ("my_task", 2, 5.0)
    assert 0.0 <= row["mean"] <= 100.0
    text = call("tasks", "anchors", "--episodes", "2", *mine).out
    assert f"random {row['mean']:.2f}" in text
    assert "the task file says 5.00" in text


def test_doctor_as_json(call):
    done = call("doctor", "--json")
    report = json.loads(done.out)
    assert done.code == (2 if report["missing"] else 0)
    assert report["versions"]["shiftbench"] == __version__


def test_preview_writes_one_sheet_a_task(call, mine):
    done = call("preview", "--shift", "full", "--out", "sheets", *mine)
    assert (done.code, done.out) == (0, f"{Path('sheets', 'my_task.png')}\n")
    assert Path("sheets", "my_task.png").read_bytes().startswith(b"\x89PNG")


def test_train_as_json_then_run_from_where_it_lies(call, mine, tmp_path, tiny):
    left_out = call("run", "--agent", "random", "--agent", tiny, "--episodes", "1", *mine)
    assert left_out.code == 0
    command = next(line for line in left_out.err.splitlines() if line.startswith("left out: "))
    assert f"--agent {tiny} --task my_task --seed 0 --suite mine" in command
    trained = call("train", "--agent", tiny, "--steps", "200", "--json", *mine)
    (row,) = json.loads(trained.out)
    assert (row["task"], row["seed"], Path(row["policy"]).is_file()) == ("my_task", 0, True)
    assert "Training plan: 1 of 1 runs, up to 200 environment steps each." in trained.err
    assert re.search(r"Expected: \d.* (hours|minutes|seconds) on this machine", trained.err)
    done = call("run", "--agent", tiny, "--episodes", "1", "--shift", "none", *mine)
    assert done.code == 0
    (row,) = [r for r in rows(tmp_path / "runs") if r["agent"] != "random"]
    assert row["train_steps"] == "200"


# -- what stops them ------------------------------------------------------------------------------


def start(*arguments: str, plugins: str = "") -> subprocess.Popen:
    """Start the command in a process group of its own, as a shell or a scheduler does."""
    return subprocess.Popen(
        [COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": plugins},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def stop_when(
    process: subprocess.Popen,
    ready: Callable[[], object],
    how: signal.Signals,
    send: Callable[[int, signal.Signals], None] = os.kill,
) -> tuple[int, str]:
    """Send a signal as soon as ``ready()`` is true; return the exit code and stderr."""
    end = time.monotonic() + 300
    while not ready() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    send(process.pid, how)
    _, err = process.communicate(timeout=300)
    return process.returncode, err.decode()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_stopped_run_keeps_its_cells_and_goes_on(call, mine, tmp_path, how, code):
    arguments = ("run", "--agent", "random", "--episodes", "8", "--shift", "texture", *mine)
    out = tmp_path / "runs"
    got, err = stop_when(start(*arguments), lambda: cells(out), how)
    assert got == code, err
    if how == signal.SIGINT:
        assert err.splitlines()[-1].startswith("Stopped")
        assert "Traceback" not in err
    kept = cells(out)
    assert 1 <= len(kept) < 3
    assert len(rows(out)) == 8 * len(kept)
    assert call(*arguments).code == 0
    finished = cells(out)
    assert len(finished) == 3
    assert kept.items() <= finished.items()
    # Stopped in one process and finished in another, it is what one process gives.
    assert call(*arguments, "--out", "whole").code == 0
    assert [r["return"] for r in rows(out)] == [r["return"] for r in rows(tmp_path / "whole")]


@pytest.mark.parametrize("command", [("report", "mine.csv"), ("tasks", "anchors")], ids=" ".join)
def test_what_stores_nothing_in_between_does_not_say_so(call, mine, monkeypatch, command):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    Path("mine.csv").touch()
    monkeypatch.setattr("shiftbench.specs.load_tasks", interrupted)
    monkeypatch.setattr("shiftbench.plan.load_tasks", interrupted)
    done = call(*command)
    assert (done.code, done.out, done.err.strip()) == (130, "", "Stopped.")


def small_agent(tmp_path: Path, tiny: str) -> str:
    """Install the agent ``tiny`` for another process; return the folder that finds it."""
    spec = (
        f"from shiftbench.specs import AgentSpec\nSPEC = AgentSpec(**{asdict(AGENTS.get(tiny))})\n"
    )
    package(tmp_path, "small-agent", f"[shiftbench.agents]\n{tiny} = small:SPEC\n", small=spec)
    return str(tmp_path)


def trained(folder: Path) -> list[int]:
    """Return the environment steps in the curve of a training."""
    with (folder / "curve.csv").open(newline="") as file:
        return [int(row["env_steps"]) for row in csv.DictReader(file)]


def test_a_stopped_training_goes_on(call, mine, tmp_path, tiny):
    plugins = small_agent(tmp_path, tiny)
    folder = tmp_path / "runs/train/my_task-v1" / file_name(AGENTS.get(tiny).id) / "seed-0"
    arguments = ("train", "--agent", tiny, *mine, "--steps")
    state = folder / "policy.safetensors"  # the last of a checkpoint's files
    process = start(*arguments, "100000", plugins=plugins)
    got, err = stop_when(process, state.exists, signal.SIGINT)
    assert (got, err.splitlines()[-1][:7]) == (130, "Stopped"), err
    done = trained(folder)[-1]
    assert 100 <= done < 5000
    assert call(*arguments, str(done + 100)).code == 0
    assert trained(folder) == list(range(100, done + 101, 100))


def test_a_scheduler_that_ends_every_process_loses_nothing(mine, tmp_path, tiny):
    plugins = small_agent(tmp_path, tiny)
    agent = tmp_path / "runs/train/my_task-v1" / file_name(AGENTS.get(tiny).id)
    arguments = ("train", "--agent", tiny, *mine, "--seed", "0", "--seed", "1", "--jobs", "2")
    process = start(*arguments, "--envs", "2", "--steps", "100000", plugins=plugins)

    def both() -> bool:
        return all((agent / f"seed-{seed}/curve.csv").exists() for seed in (0, 1))

    got, err = stop_when(process, both, signal.SIGTERM, os.killpg)
    assert (got, err.splitlines()[-1][:7]) == (130, "Stopped"), err
    assert "Traceback" not in err
    assert all((agent / f"seed-{seed}/training.safetensors").exists() for seed in (0, 1))


def test_run_goes_on_with_a_training_that_was_stopped(call, mine, tmp_path, tiny):
    assert call("train", "--agent", tiny, "--steps", "100", *mine).code == 0
    run = ("run", "--agent", tiny, "--shift", "none", "--episodes", "1", *mine)
    assert call(*run, "--steps", "200").code == 0
    assert call(*run, "--steps", "100").code == 0
    assert [row["train_steps"] for row in rows(tmp_path / "runs")] == ["200"]


def test_without_an_opengl_driver_one_line_names_the_packages(installed, mine, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    hidden = {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent", "__EGL_VENDOR_LIBRARY_FILENAMES": ""}
    if sys.platform != "linux":
        pytest.skip("EGL and its vendor files are for Linux")
    done = installed(*RUN, MUJOCO_GL="egl", **hidden)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("Error: no OpenGL backend works here (egl: ")
    assert "apt-get install libegl1 libgl1-mesa-dri" in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_reader_that_leaves_is_no_traceback():
    done = subprocess.run(
        f"{COMMAND} list shifts --json | true",
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=300,
    )
    assert "Traceback" not in done.stderr


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "shiftbench", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "shiftbench,"), done


def test_a_crash_is_no_verdict(call, monkeypatch):
    """Exit code 1 of `check` says that a score dropped."""

    def broken(*_args, **_options):
        raise RuntimeError("a fault")

    monkeypatch.setattr("shiftbench.results.row_files", broken)
    done = call("check", "--baseline", "a.csv", "--candidate", "b.csv")
    assert done.code == 2
    assert "RuntimeError: a fault" in done.err
    assert done.err.endswith("Error: a fault of shiftbench itself, above\n")


def test_letters_that_the_output_lacks_are_replaced():
    done = subprocess.run(
        [COMMAND, "check", "--help"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"1 ? the chance of a false alarm" in done.stdout
