"""Training and evaluating in slices, and several runs at a time, by the command line."""

from __future__ import annotations

import csv
import re
import shlex
import time

import pytest
import torch

from shiftbench import checkpoints, jobs
from shiftbench.agents import AGENTS
from shiftbench.agents.dreamer import DreamerAgent
from shiftbench.halt import Halt
from shiftbench.locks import locked
from shiftbench.results import file_name


@pytest.fixture
def folder(tmp_path, tiny):
    return tmp_path / "runs/train/my_task-v1" / file_name(AGENTS.get(tiny).id) / "seed-0"


@pytest.fixture
def train(call, mine, tiny):
    return lambda *more: call("train", "--agent", tiny, *mine, *more)


@pytest.fixture
def one_episode(monkeypatch):
    """Let the time be over when the first episode is stored, however fast the machine is."""

    def step(self, *arguments, plain=checkpoints.write):
        plain(self, *arguments)
        if self.name == checkpoints.TRAINING:
            Limited.over = True

    class Limited(Halt):
        over = False

        def allows(self, seconds):
            return not (self.limited and Limited.over)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", step)
        patch.setattr("shiftbench.commands.work.Halt", Limited)
        yield


def curve(folder):
    with (folder / "curve.csv").open() as file:
        return [{k: v for k, v in r.items() if k != "minutes"} for r in csv.DictReader(file)]


def test_a_slice_ends_with_its_own_code_and_goes_on(train, call, one_episode, folder, tmp_path):
    done = train("--steps", "300", "--max-minutes", "5", "--fresh")
    assert (done.code, done.out) == (4, "")
    error = done.err.splitlines()[-1]
    assert "the time is over (--max-minutes 5): 0 of 1 runs are trained" in error
    assert "seed 0 is at 100 of 300 environment steps" in error
    words = shlex.split(error.split("Go on: ")[1])
    assert words[:2] == ["shiftbench", "train"]
    assert "--fresh" not in words
    assert words[-1] == "--resume"
    # Without a limit it is done at once.
    cut = words.index("--max-minutes")
    assert call(*words[1:cut], *words[cut + 2 :]).code == 0
    assert train("--steps", "300", "--out", "whole").code == 0
    whole = tmp_path / "whole" / folder.relative_to(tmp_path / "runs")
    assert curve(folder) == curve(whole)
    assert checkpoints.sha256(folder / "policy.safetensors") == checkpoints.sha256(
        whole / "policy.safetensors"
    )


def test_what_is_half_trained_is_not_evaluated(train, call, one_episode, tiny, mine):
    run = ("run", "--agent", tiny, "--shift", "none", "--episodes", "1", *mine)
    done = call(*run, "--steps", "300", "--max-minutes", "5")
    assert (done.code, done.out) == (4, "")
    assert "Unfinished" in done.err
    done = call(*run)
    assert (done.code, done.out) == (2, "")
    assert "was stopped at 100 of 300 environment steps. Go on: shiftbench train" in done.err
    assert "--steps 300" in done.err
    assert "nothing is left to evaluate" in done.err
    # As it is, where one says so.
    assert call(*run, "--steps", "100").code == 0


def test_evaluation_keeps_finished_cells(call, mine, tmp_path, monkeypatch):
    run = ("run", "--agent", "random", "--episodes", "1", *mine)
    play, cells = jobs._play, []

    def slow(*arguments):
        cells.append(play(*arguments))
        return cells[-1]

    monkeypatch.setattr(jobs, "_play", slow)
    monkeypatch.setattr(Halt, "check", lambda self: self.limited and len(cells) and stop())
    done = call(*run, "--max-minutes", "5")
    assert (done.code, done.out) == (4, "")
    assert "1 of 5 cells are evaluated. Go on" in done.err
    done = call(*run, "--max-minutes", "5")
    assert "1 of 5 cells are evaluated, none of them in this slice" in done.err
    assert call(*run, "--resume").code == 0
    assert len(cells) == 5


def test_a_cell_whose_episodes_are_all_played_is_stored(call, mine, tmp_path, monkeypatch):
    over = []
    plain = jobs.rollout

    def rollout(*arguments, on_episode, **options):
        def played():
            over.append(True)
            on_episode()

        return plain(*arguments, on_episode=played, **options)

    monkeypatch.setattr(jobs, "rollout", rollout)
    monkeypatch.setattr(Halt, "check", lambda self: self.limited and over and stop())
    run = ("run", "--agent", "random", "--episodes", "1", *mine, "--max-minutes", "5")
    assert "1 of 5 cells are evaluated" in call(*run).err


def stop():
    from shiftbench.halt import Halted

    raise Halted


def test_fresh_begins_anew_and_loses_nothing(train, folder, call, tiny, mine):
    assert train("--steps", "100").code == 0
    first = (folder / "policy.safetensors").read_bytes()
    assert train("--steps", "100", "--fresh").code == 0
    assert (folder.with_name("seed-0.old-1") / "policy.safetensors").read_bytes() == first
    assert (folder / "policy.safetensors").read_bytes() == first
    done = call("run", "--agent", tiny, "--fresh", *mine)
    assert (done.code, done.out) == (2, "")
    assert "needs --steps" in done.err


def test_stopped_before_anything_is_set_aside_the_same_command_begins_anew(train, monkeypatch):
    fresh = ("--steps", "100", "--fresh")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    for stopped, goes_on in (("_expected", False), ("_train", True)):
        with monkeypatch.context() as patch:
            patch.setattr(f"shiftbench.schedule.{stopped}", interrupted)
            done = train(*fresh)
        assert done.code == 130
        last = done.err.splitlines()[-1]
        assert last.endswith("--resume" if goes_on else "The same command goes on from there.")


def test_a_run_that_is_the_last_to_train_keeps_its_share_of_the_threads(train, monkeypatch):
    asked = []

    def each(work, items, jobs, *others):
        asked.append((len(items), jobs))
        return []

    monkeypatch.setattr("shiftbench.parallel.each", each)
    train("--steps", "100", "--jobs", "3")
    assert asked == [(1, 3)]


def test_a_full_gpu_in_an_evaluation_is_named(train, call, tiny, mine, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB. GPU 0")

    assert train("--steps", "100").code == 0
    monkeypatch.setattr(DreamerAgent, "load", full)
    done = call("run", "--agent", tiny, *mine)
    assert (done.code, done.out) == (2, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("Error: evaluating tiny+")
    assert "my_task, seed 0: out of memory on 'auto' (CUDA out of memory); lower --jobs" in last


def test_a_slice_ends_with_the_time(train, folder):
    begun = time.monotonic()
    done = train("--steps", "1000000", "--max-minutes", "0.1")
    # Six seconds, and some for the start on a busy machine.
    assert time.monotonic() - begun < 30
    assert (done.code, done.out) == (4, "")
    assert "the time is over (--max-minutes 0.1)" in done.err
    assert curve(folder)


def test_a_second_training_of_one_folder_is_refused(train, folder):
    with locked(folder):
        done = train("--steps", "100")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert "seed-0: another process trains there" in line
    assert not folder.exists()


def test_several_at_a_time_give_what_one_by_one_gives(train, folder, tmp_path):
    both = ("--steps", "200", "--seed", "0", "--seed", "1")
    done = train(*both, "--jobs", "2", "--json")
    assert done.code == 0, done.err
    assert "seed 1: 200 steps, return" in done.err
    alone = train(*both, "--out", "whole")
    assert alone.code == 0
    # Where time and memory went, of each run.
    for err in (done.err, alone.err):
        (first, second) = re.findall(r"(\d+) environment steps/s; (.+); peak memory (\S+) GB", err)
        assert int(first[0]) > 0
        assert "learning" in first[1]
        assert float(second[2]) > 0.05
    for seed in ("seed-0", "seed-1"):
        own = folder.with_name(seed)
        assert curve(own) == curve(tmp_path / "whole" / own.relative_to(tmp_path / "runs"))


def test_several_at_a_time_evaluate_the_same_cells(call, mine, tmp_path):
    run = ("run", "--agent", "random", "--episodes", "1", "--seed", "0", "--seed", "1", *mine)
    together = call(*run, "--jobs", "2", "--json")
    alone = call(*run, "--out", "alone", "--json")
    assert together.code == alone.code == 0
    assert together.out == alone.out


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_limits_that_are_none(train, value):
    done = train("--steps", "9", "--max-minutes", value)
    assert (done.code, done.out) == (2, "")
    assert "--max-minutes" in done.err
