"""Bad input: one line on stderr that names what to mend, exit code 2, nothing new on disk."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support import MINE, flat, still, video

from shiftbench import checkpoints

RUN = ("run", "--agent", "random", "--episodes", "1", *MINE)
TRAIN = ("train", "--agent", "scratch", "--steps", "100", *MINE)


@pytest.fixture
def refused(call, mine, tmp_path):
    """Run a command that must fail as this file says; returns its line."""

    def files() -> dict[Path, bytes | None]:
        return {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")}

    def refused(*arguments: object) -> str:
        before = files()
        done = call(*arguments)
        assert (done.code, done.out) == (2, ""), done.err
        assert done.err.startswith("Error: ")
        assert done.err.count("\n") == 1
        assert done.err.endswith("\n")
        assert files() == before
        return done.err

    return refused


# -- names and numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((*RUN, "--agent", "randm"), ["'randm' for --agent", "'random'", "pvm-partial"]),
        ((*TRAIN, "--agent", "scrach"), ["'scrach' for --agent", "'scratch'"]),
        ((*RUN, "--task", "my_tsk"), ["'my_tsk' for --task", "'my_task'"]),
        ((*RUN, "--suite", "mni"), ["'mni' for --suite", "'mini'"]),
        ((*RUN, "--shift", "textur"), ["'textur' for --shift", "'texture'"]),
        ((*RUN, "--shift", "textur:full"), ["'textur' for --shift", "'texture'"]),
        ((*RUN, "--shift", "texture:ful"), ["level 'ful' for --shift", "'full'"]),
        ((*RUN, "--shift", "severe"), ["'severe' for --shift", "half"]),
        ((*RUN, "--shift", "preset:nope"), ["preset 'nope' for --shift", "dcs-hard"]),
        ((*RUN, "--shift", "preset:dcs-hrad"), ["'dcs-hrad' for --shift", "mean 'dcs-hard'"]),
        ((*RUN, "--shift", "preset:full"), ["preset 'full' for --shift", "dcs-hard"]),
        ((*RUN, "--shift", "texture:dcs-hard"), ["level 'dcs-hard' for --shift", "full"]),
        ((*RUN, "--shift", "preset"), ["--shift preset: ", "name one: preset:dcs-easy, "]),
        ((*TRAIN, "--encoder", "synht"), ["'synht' for --encoder", "'synth'", "timm:<name>"]),
        ((*TRAIN, "--encoder", "timm:resnet81"), ["'resnet81' for --encoder", "timm:resnet18"]),
        ((*RUN, "--encoder", "cnn"), ["--encoder cnn", "'random' has no encoder"]),
        (("list", "shifts", "--suite", "min"), ["'min' for --suite", "'mini'"]),
        (("list", "task"), ["'task' is not one of 'tasks'"]),
        (("list", "tasks", "--suite-file", "no.toml"), ["--suite-file no.toml: cannot be read"]),
        (("list", "agents", "--tasks-dir", "no"), ["--tasks-dir no: not a folder"]),
        (("runn",), ["No such command 'runn'"]),
        ((*RUN, "--agnt", "x"), ["No such option '--agnt'", "--agent"]),
        (("run",), ["Missing option '--agent'", "shiftbench run --help"]),
        ((*RUN, "--seed", "-1"), ["'--seed'", "-1"]),
        ((*RUN, "--seed", "9" * 30), ["'--seed'", "9" * 30]),
        ((*RUN, "--episodes", "0"), ["'--episodes'"]),
        ((*RUN, "--episodes", "1e3"), ["'--episodes'", "'1e3' is not a valid integer."]),
        ((*RUN, "--episodes", "1000000000"), ["'--episodes'"]),
        ((*TRAIN, "--steps", "-5"), ["'--steps'"]),
        ((*RUN, "--device", "gpu"), ["'--device'", "cuda"]),
        ((*TRAIN, "--device", "cuda:99"), ["--device cuda:99"]),
        (("train", "--agent", "random", "--steps", "9", *MINE), ["--agent random", "no training"]),
        ((*RUN, "--agent", ""), ["'' for --agent"]),
        ((*RUN, "--agent", "../random"), ["'../random' for --agent"]),
        ((*RUN, "--shift", "texture:half\nfull"), ["level"]),
        ((*TRAIN, "--finetune-blocks", "2"), ["--finetune-blocks", "'scratch'"]),
        ((*TRAIN, "--encoder-weights", "suites.toml"), ["--encoder-weights", "'scratch'"]),
        (("run", "--agent", "pvm-full", "--encoder-weights", "no"), ["--encoder-weights no: no"]),
    ],
    ids=lambda value: " ".join(map(str, value))[-60:].encode("ascii", "replace").decode(),
)
def test_names_and_numbers(refused, arguments, expected):
    line = refused(*arguments)
    for part in expected:
        assert part in line, line


def test_nothing_to_evaluate_says_how_to_train_it(call, mine, tmp_path):
    done = call("run", "--agent", "scratch", "--seed", "3", "--out", "o", *mine)
    assert (done.code, done.out) == (2, "")
    left_out, error = done.err.splitlines()
    assert left_out.endswith(
        "shiftbench train --agent scratch --task my_task --seed 3 --suite mine "
        "--suite-file suites.toml --tasks-dir tasks --out o --steps 100000"
    )
    assert error.startswith("Error: nothing is left to evaluate")
    assert not (tmp_path / "o").exists()


# -- task and suite files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version = 1", "version = ", "not valid TOML"),
        ("action_repeat = 4", "", "action_repeat"),
        ("action_repeat = 4", "action_repeats = 4", "action_repeat"),
        ("action_repeat = 4", 'action_repeat = "four"', "action_repeat"),
        ("action_repeat = 4", "action_repeat = 0", "action_repeat"),
        ("value = 5.0", "value = inf", "anchors"),
        ("value = 5.0", "value = 500.0", "anchors"),
        ('name = "my_task"', 'name = "other"', "'my_task'"),
        ('domain = "cartpole"', 'domain = "cartpol"', "cartpol/swingup"),
        ('task = "swingup"', 'task = "swing"', "swingup"),
        ("version = 1", 'version = 1\ncamera = "side"', "side"),
    ],
)
def test_broken_task_files(refused, tmp_path, good_task, old, new, expected):
    assert old in good_task
    (tmp_path / "tasks" / "my_task.toml").write_text(good_task.replace(old, new))
    line = refused(*RUN)
    assert "my_task" in line
    assert expected in line


def test_task_files_that_are_no_text_or_there_twice(refused, tmp_path, good_task):
    (tmp_path / "tasks" / "my_task.toml").write_bytes(b"\xff\xfe\x00")
    assert "tasks/my_task.toml: cannot be read" in refused(*RUN)
    (tmp_path / "tasks" / "my_task.toml").write_text(good_task)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "my_task.toml").write_text(good_task)
    line = refused(*RUN, "--tasks-dir", "more")
    assert "more/my_task.toml: task 'my_task' is already defined in tasks/my_task.toml" in line
    assert "--tasks-dir no: not a folder" in refused(*RUN, "--tasks-dir", "no")
    assert "--tasks-dir" in refused(*RUN, "--tasks-dir", "")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[mine]", '["../mine"]', "name"),
        ("[mine]", "[mini]", "'mini' is already defined"),
        ("half = 0.5", '"a/b" = 0.5', "levels"),
        ("half = 0.5", "texture = 0.5", "levels"),
        ("half = 0.5", "all = 0.5", "levels"),
        ("half = 0.5", "half = nan", "levels.half"),
        ("half = 0.5", "half = 1.01", "levels.half: allowed is a severity in 0..1"),
        ("half = 0.5", "half = -0.5", "levels.half: allowed is a severity in 0..1"),
        ("half = 0.5", 'half = "much"', "levels"),
        ('tasks = ["my_task"]', 'tasks = ["my_tusk"]', "Did you mean 'my_task'"),
        ('tasks = ["my_task"]', "tasks = []", "tasks"),
        ("episodes = 2", "episode = 2", "episode"),
        ("episodes = 2", 'render = "pretty"', "dm_control"),
        ("episodes = 2", "image_size = 2048", "image_size: allowed is 16 to 1024"),
        (
            "episodes = 2",
            'image_size = 1024\nrender = "dm_control"',
            "image size 1024 is larger than the buffer of render profile 'dm_control': at most 480",
        ),
        ("[mine]", "x = 3\n[mine]", "'x' must be a table"),
    ],
)
def test_broken_suite_files(refused, tmp_path, old, new, expected):
    path = tmp_path / "suites.toml"
    path.write_text(path.read_text().replace(old, new))
    assert expected in refused(*RUN)


def test_suite_files_that_are_not_there(refused):
    assert "--suite-file no.toml: cannot be read" in refused(*RUN, "--suite-file", "no.toml")
    assert "--suite-file tasks: cannot be read" in refused(*RUN, "--suite-file", "tasks")


# -- backgrounds of one's own ----------------------------------------------------------------------


@pytest.mark.parametrize("command", [RUN, ("preview", *MINE)], ids=["run", "preview"])
def test_folders_of_backgrounds(refused, tmp_path, command):
    def attempt(*expected: str, folder: object = "pictures") -> None:
        # The folder is looked at whether or not a shift shows pictures.
        for shift in ("background:full", "lighting:half"):
            line = refused(*command, "--shift", shift, "--backgrounds", folder)
            for part in expected:
                assert part in line, line

    attempt("--backgrounds pictures: No such file or directory")
    attempt("'--backgrounds': the path is empty", folder="")
    attempt("--backgrounds suites.toml: Not a directory", folder="suites.toml")
    folder = tmp_path / "pictures"
    folder.mkdir()
    attempt("--backgrounds pictures: no image, GIF or video in it", ".png", ".gif", ".mp4")
    (folder / "notes.txt").write_text("no picture")
    (folder / "inner.png").mkdir()
    attempt("--backgrounds pictures: no image, GIF or video in it")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_of_backgrounds_that_is_closed(refused, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir(mode=0)
    try:
        line = refused(*RUN, "--shift", "background:full", "--backgrounds", "pictures")
    finally:
        folder.chmod(0o700)
    assert "--backgrounds pictures: Permission denied" in line


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("x.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "cannot be decoded"),
        ("x.webp", lambda path: path.write_text("a page that says 404"), "cannot be decoded"),
        ("x.gif", lambda path: path.write_bytes(b""), "cannot be decoded"),
        ("x.webm", lambda path: path.write_bytes(b"\x1aE\xdf\xa3 cut"), "cannot be decoded"),
        ("x.avi", lambda path: video(path, []), "x.avi: "),
        ("x.mkv", lambda path: video(path, []), "x.mkv: "),
        ("x.mp4", lambda path: video(path, []), "x.mp4: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_backgrounds(refused, tmp_path, name, write, expected):
    folder = tmp_path / "pictures"
    folder.mkdir()
    still(folder / "good.png", (1, 2, 3))
    write(folder / name)
    line = refused(*RUN, "--shift", "background:full", "--backgrounds", "pictures")
    assert f"--backgrounds {folder / name}: " in line
    assert expected in line


def test_a_video_without_the_extra(refused, tmp_path, monkeypatch):
    folder = tmp_path / "pictures"
    folder.mkdir()
    video(folder / "film.mp4", [flat(9)])
    monkeypatch.setitem(sys.modules, "av", None)
    line = refused(*RUN, "--shift", "background:full", "--backgrounds", "pictures")
    assert "film.mp4: videos need PyAV: pip install 'shiftbench[video]'" in line


# -- checkpoints and weights ----------------------------------------------------------------------


@pytest.fixture
def policy(call, mine, tiny, tmp_path) -> Path:
    """A checkpoint of the agent `tiny` on the task of one's own."""
    done = call("train", "--agent", tiny, "--steps", "100", "--out", "trained", "--json", *mine)
    return Path(json.loads(done.out)[0]["policy"])


def test_checkpoints(refused, policy, tiny, tmp_path, good_task):
    given = ("run", "--agent", tiny, "--episodes", "1", *MINE, "--checkpoint")
    whole = policy.read_bytes()
    tensors, meta = checkpoints.read(policy)
    bad = tmp_path / "bad.safetensors"

    def attempt(*expected: str) -> None:
        line = refused(*given, bad)
        assert line.startswith(f"Error: --checkpoint {bad}: "), line
        for part in expected:
            assert part in line

    for keep in (0, 7, 200, len(whole) - 10):
        bad.write_bytes(whole[:keep])
        attempt("not a complete safetensors file")
    bad.write_text("not safetensors at all, but long enough to look like it")
    attempt("not a complete safetensors file")
    save_file(tensors, bad)
    attempt("not written by shiftbench")

    def change(**changes: object) -> None:
        checkpoints.write(bad, tensors, {**meta, **changes})

    change(schema=checkpoints.SCHEMA + 1)
    attempt("newer", "install a newer shiftbench")
    change(task="finger_spin")
    attempt("made for task 'finger_spin'", "my_task")
    change(task_version=2)
    attempt("task_version 2, not 1")
    change(image_size=96)
    attempt("image_size 96, not 64")
    change(agent={**meta["agent"], "encoder": "synth", "mode": "frozen"})
    attempt("encoder 'synth'", "'cnn'")
    options = {**meta["agent"]["options"], "weights": "0123456789ab"}
    change(agent={**meta["agent"], "options": options})
    attempt("its agent has weights '0123456789ab'", "has None")
    change(config={**meta["config"], "units": "many"})
    attempt("broken description")
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    change()
    attempt(f"tensor '{name}' is missing, misshapen or not finite")
    tensors[name] = torch.zeros(3, 5, 7)
    change()
    attempt(f"tensor '{name}' is missing, misshapen or not finite")
    del tensors[name]
    change()
    attempt(f"tensor '{name}' is missing, misshapen or not finite")

    bad.unlink()
    attempt("no such file")
    bad.mkdir()
    attempt("a folder, not a file")
    assert "one --agent" in refused(*given, policy, "--seed", "0", "--seed", "1")
    assert "'random' has no checkpoints" in refused(*RUN, "--checkpoint", policy)
    assert "trained with --seed 0, not 1" in refused(*given, policy, "--seed", "1")
    assert "--steps: trains, but with --checkpoint" in refused(*given, policy, "--steps", "9")


def test_an_earlier_run_that_is_broken(refused, policy, tiny):
    policy.write_bytes(policy.read_bytes()[:100])
    earlier = ("--agent", tiny, "--out", "trained", *MINE)
    for command in (("run",), ("run", "--steps", "200"), ("train", "--steps", "200")):
        assert f"{policy}: not a complete safetensors file" in refused(*command, *earlier)


def test_a_training_that_cannot_go_on(call, policy, tiny):
    training = policy.with_name("training.safetensors")
    whole, wanted = training.read_bytes(), policy.read_bytes()
    train = ("train", "--agent", tiny, "--out", "trained", *MINE)

    def attempt(expected: str, *more: str) -> None:
        before = {file: file.read_bytes() for file in policy.parent.glob("*.*")}
        done = call(*train, "--steps", "200", *more)
        assert (done.code, done.out) == (2, "")
        error = done.err.splitlines()[-1]  # found where the run begins, after its plan
        assert error.startswith(f"Error: {training}: {expected}"), error
        assert "--fresh begins anew" in error
        assert {file: file.read_bytes() for file in policy.parent.glob("*.*")} == before

    training.write_bytes(whole[:-10])
    attempt("not a complete safetensors file")
    training.unlink()
    tensors, meta = checkpoints.read(policy)
    checkpoints.write(policy, tensors, {**meta, "train_steps": 5000})
    done = call(*train, "--steps", "6000")
    assert done.code == 2
    assert f"Error: {training}: is lost" in done.err
    # The policy is made anew from what was trained.
    training.write_bytes(whole)
    policy.unlink()
    assert call(*train, "--steps", "100").code == 0
    assert policy.read_bytes() == wanted


def test_a_training_with_other_settings(call, policy, tiny, tmp_path):
    path = tmp_path / "suites.toml"
    path.write_text(path.read_text().replace("episodes = 2", "image_size = 32"))
    before = policy.with_name("training.safetensors").read_bytes()
    done = call("train", "--agent", tiny, "--steps", "200", "--out", "trained", *MINE)
    assert (done.code, done.out) == (2, "")
    # Found where the run begins, when the plan has been printed.
    error = done.err.splitlines()[-1]
    assert error.startswith(f"Error: {policy.parent}: the run there was started with image_size 64")
    assert policy.with_name("training.safetensors").read_bytes() == before


def test_hub_weights_without_a_network_fail_at_once(refused, tmp_path, monkeypatch):
    import huggingface_hub.constants

    def no_network(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    line = refused(
        "train", "--agent", "pvm-frozen", "--encoder", "timm:test_resnet", "--steps", "9", *MINE
    )
    assert "Name or service not known" in line
    assert "model.safetensors from https://huggingface.co/timm/test_resnet" in line
    assert "--encoder-weights FILE" in line
    assert sum(slept) < 3.0


# -- places and rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        RUN,
        TRAIN,
        ("preview", *MINE),
        ("pretrain", "--scenes", "1", "--views", "1"),
    ],
    ids=lambda command: command[0],
)
def test_an_out_that_is_a_file_or_below_one(refused, command):
    for out in ("suites.toml", "suites.toml/below", "a" * 300):
        assert f"--out {out}" in refused(*command, "--out", out)
    assert "the path is empty" in refused(*command, "--out", "")


def test_a_file_where_a_folder_must_be_is_found_before_the_work(refused, tmp_path):
    (tmp_path / "o").mkdir()
    for name in ("mine-v1", "train"):
        (tmp_path / "o" / name).write_text("")
    assert "--out o/mine-v1/cells" in refused(*RUN, "--out", "o")
    assert "--out o/train/my_task-v1" in refused(*TRAIN, "--out", "o")


ROW = "random,my_task,none,none,0,0,5.0"
HEADING = "agent,task,family,level,train_seed,episode,return"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "missing columns"),
        (HEADING, "no rows"),
        (
            f"{HEADING.removesuffix(',return')}\n{ROW.removesuffix(',5.0')}",
            "missing columns return",
        ),
        (f"{HEADING}\n{ROW.replace('5.0', 'much')}", "row 2: 'return' is 'much'"),
        (f"{HEADING}\n{ROW.replace('5.0', 'nan')}", "row 2: 'return' is 'nan'"),
        (f"{HEADING}\n{ROW}\n{ROW}", "the same key twice"),
        (f"{HEADING}\n{ROW},more", "8 fields"),
        (f"{HEADING},schema\n{ROW},99", "schema 99 is newer"),
        ("\x00\x01\x02", "rows.csv"),
    ],
)
def test_row_files(refused, tmp_path, text, expected):
    (tmp_path / "rows.csv").write_text(text)
    line = refused("report", "rows.csv", "--tasks-dir", "tasks")
    assert "rows.csv" in line
    assert expected in line


def test_reports_of_nothing_and_to_nowhere(refused, tmp_path):
    assert "runs: no such file or folder" in refused("report")
    assert "the path is empty" in refused("report", "")
    assert "holds no CSV file with rows" in refused("report", "tasks")
    (tmp_path / "rows.csv").write_text(f"{HEADING}\n{ROW}\n")
    known = ("rows.csv", "--tasks-dir", "tasks")
    for command in ("report", "export"):
        assert "--out suites.toml: nothing" in refused(command, *known, "--out", "suites.toml")
        assert "--anchors no.toml: cannot be read" in refused(
            command, *known, "--anchors", "no.toml"
        )
    (tmp_path / "rows.csv").rename(tmp_path / "families.csv")
    line = refused("report", "families.csv", *known[1:], "--out", ".")
    assert "--out .: families.csv holds the rows and would be written over" in line
