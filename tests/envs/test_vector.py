"""Environments side by side: the frames are those of one alone, and nothing outlives them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError
from gymnasium.vector import AutoresetMode

from shiftbench.envs.gym import ShiftEnv
from shiftbench.envs.vector import make_vec
from shiftbench.errors import ShiftBenchError

SHIFT = "texture:severe"


@pytest.fixture(scope="module")
def envs():
    made = make_vec("cartpole_balance", 3, processes=2, shift=SHIFT)
    yield made
    made.close()


@pytest.fixture
def alone():
    made = ShiftEnv("cartpole_balance", shift=SHIFT)
    yield made
    made.close()


def gone(pids: list[int], seconds: float = 60.0) -> bool:
    """Whether no process of ``pids`` is left before the time is up, not even as a zombie."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    "options", [{"seed": 5}, {"seed": [9, 3, 4]}, {"options": {"episode": 2}}], ids=str
)
def test_each_gives_the_frames_that_it_gives_alone(envs, alone, options):
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 4, 1)).astype(np.float32)
    frames = [envs.reset(**options)[0]]
    rewards = []
    for t in range(4):
        frame, reward, terminated, truncated, _ = envs.step(actions[:, t])
        assert not (terminated | truncated).any()
        frames.append(frame)
        rewards.append(reward)
    assert len(envs.processes) == 2
    assert frames[0].shape == (3, 64, 64, 3)
    assert frames[0].dtype == np.uint8
    assert (frames[0] != frames[-1]).any(axis=(1, 2, 3)).all()
    for i in range(3):
        if "seed" in options:
            seed = options["seed"]
            first, _ = alone.reset(seed=seed[i] if isinstance(seed, list) else seed + i)
        else:
            first, _ = alone.reset(options={"episode": 2 + i})
        assert (frames[0][i] == first).all()
        for t in range(4):
            frame, reward, *_ = alone.step(actions[i, t])
            assert (frames[t + 1][i] == frame).all()
            assert rewards[t][i] == reward


def test_the_next_episode_starts_with_the_step_after_the_last(envs, alone):
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    envs.reset(seed=1)
    action = np.zeros((3, 1), np.float32)
    for _ in range(124):
        assert not envs.step(action)[3].any()
    assert envs.step(action)[3].all()
    frame, reward, _, truncated, info = envs.step(action)
    assert (reward == 0).all()
    assert not truncated.any()
    assert (info["steps"] == 0).all()
    alone.reset(seed=1)
    assert (frame[0] == alone.reset()[0]).all()


def test_info_of_the_last_step_beside_the_next_first_frame(alone):
    same_step = AutoresetMode.SAME_STEP
    envs = make_vec("cartpole_balance", 3, processes=2, autoreset=same_step, shift=SHIFT)
    try:
        envs.reset(seed=1)
        # The last one is behind by a step, so its process has nothing to say of an end.
        action = np.zeros((3, 1), np.float32)
        envs.call("step", action[0])
        behind = envs.reset(seed=7, options={"reset_mask": np.array([False, False, True])})[1]
        assert behind["_steps"].tolist() == [False, False, True]
        for _ in range(123):
            assert not envs.step(action)[3].any()
        frames, _, _, truncated, info = envs.step(action)
        assert truncated.tolist() == [True, True, False]
        assert info["steps"].tolist() == [0, 0, 992]
        assert info["_final_obs"].tolist() == [True, True, False]
        assert info["final_info"]["steps"].tolist() == [1000, 1000, 0]
        assert info["final_obs"][2] is None
        alone.reset(seed=1)
        for _ in range(125):
            last, *_ = alone.step(action[0])
        assert (info["final_obs"][0] == last).all()
        assert (frames[0] == alone.reset()[0]).all()
        assert envs.get_attr("render_mode") == ("rgb_array",) * 3
        assert (np.array(envs.render()) == frames).all()
    finally:
        envs.close()


def test_a_reset_of_some_leaves_the_frames_of_the_others(alone):
    envs = make_vec("cartpole_balance", 3, processes=1, shift=SHIFT)
    try:
        envs.reset(seed=1)
        before = envs.step(np.ones((3, 1), np.float32))[0]
        after, _ = envs.reset(seed=7, options={"reset_mask": np.array([False, True, False])})
        assert (after[[0, 2]] == before[[0, 2]]).all()
        assert (after[1] == alone.reset(seed=8)[0]).all()
    finally:
        envs.close()


def test_trouble_in_a_process_is_told(capfd):
    envs = make_vec("cartpole_balance", 2, processes=2)
    with pytest.raises(ValueError, match="1 seeds for 2"):
        envs.reset(seed=[1])
    with pytest.raises(NoAsyncCallError):
        envs.step_wait()
    envs.reset(seed=0)
    with pytest.raises(TypeError, match="episode") as caught:
        envs.reset(options={"episode": "first"})
    assert "In a process of the environments" in caught.value.__notes__[0]
    with pytest.raises(AlreadyPendingCallError):
        envs.reset()
    envs.close()
    with pytest.raises(ClosedEnvironmentError):
        envs.reset()
    envs = make_vec("cartpole_balance", 2, processes=2)
    envs.reset(seed=0)
    os.kill(envs.processes[1].pid, signal.SIGKILL)
    envs.processes[1].join()
    with pytest.raises(ShiftBenchError, match="ended with exit code -9"):
        envs.step(np.zeros((2, 1), np.float32))
    envs.close()
    assert capfd.readouterr().err == ""


def test_frames_need_not_be_copied():
    envs = make_vec("cartpole_balance", 1, copy=False, autoreset=AutoresetMode.DISABLED)
    first, _ = envs.reset(seed=0)
    before = first.copy()
    second = envs.step(np.ones((1, 1), np.float32))[0]
    assert second is first
    assert (second != before).any()
    assert envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    pids = [process.pid for process in envs.processes]
    # Closing in the middle of a step must not wait for an answer that was read already.
    envs.step_async(np.ones((1, 1), np.float32))
    assert envs.pipes[0].recv()[1]
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs.close()
    assert time.monotonic() - start < 30
    assert gone(pids, 1)


def test_closing_when_a_step_was_asked_of_some(capfd):
    envs = make_vec("cartpole_balance", 2, processes=2)
    envs.reset(seed=0)
    pids = [process.pid for process in envs.processes]
    # Where Ctrl-C strikes between the two.
    envs.pipes[0].send(("step", {"actions": np.ones((1, 1), np.float32)}))
    assert envs.pipes[0].poll(30)
    envs.close()
    assert gone(pids)
    assert capfd.readouterr().err == ""


def test_bad_input_is_an_error_before_any_process_starts():
    before = multiprocessing.active_children()
    for count, options, message in (
        (0, {}, "0 environments: at least 1"),
        (2, {"processes": 0}, "0 processes: at least 1"),
        (2, {"shift": "texture:wild"}, "unknown level 'wild'"),
        (2, {"image_size": 8}, "16 to 1024"),
    ):
        with pytest.raises(ShiftBenchError, match=message):
            make_vec("cartpole_balance", count, **options)
    assert multiprocessing.active_children() == before


SCRIPT = """
import numpy as np
from shiftbench.envs.vector import make_vec

if __name__ == "__main__":
    envs = make_vec("cartpole_balance", 3, processes=2)
    envs.reset(seed=0)
    print(*(process.pid for process in envs.processes), flush=True)
    try:
        while True:
            envs.step(np.zeros((3, 1), np.float32))
    finally:
        if {close}:
            envs.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("close", [True, False], ids=["closed", "left"])
def test_ctrl_c_ends_every_process(tmp_path, close):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(close=close))
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert gone(pids)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1  # of the script, none of the others


BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "vector.py"


def test_the_benchmark_judges_what_it_measured(tmp_path):
    path = tmp_path / "vector.json"
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--count=2", "--blocks=2", "--steps=5", "--json", path],
        capture_output=True,
        text=True,
        timeout=300,
    )
    (found,) = json.loads(path.read_text())["rows"]
    assert found["alone"] > 0
    assert found["vector"]["2"]["speedup"] > 0
    assert done.returncode == int(found["vector"]["2"]["speedup"] < 1.7), done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--count", "1"], "--count must be at least 2"), (["--shift", "severe"], "FAMILY:LEVEL")],
)
def test_the_benchmark_refuses_bad_input(options, message):
    done = subprocess.run([sys.executable, BENCHMARK, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
