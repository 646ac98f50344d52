"""Backends: each really tried, one context a process."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from shiftbench.envs import gl
from shiftbench.errors import ShiftBenchError

linux = pytest.mark.skipif(sys.platform != "linux", reason="EGL and OSMesa are for Linux")

FRAME = """
from shiftbench.envs import gl
from shiftbench.envs.pixels import PixelEnv
from shiftbench.specs import load_tasks
frame = PixelEnv(load_tasks()["cartpole_balance"]).reset(0)
print(gl.backend(), int(frame.std() > 5))
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own, with no backend chosen unless given."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def working(name: str) -> bool:
    """Whether a backend works on this machine."""
    code = "from shiftbench.envs import gl; gl.backend()"
    return run(code, MUJOCO_GL=name).returncode == 0


@linux
def test_egl_comes_first_and_leaves_silently():
    if not working("egl"):
        pytest.skip("EGL does not work here: apt-get install libegl1 libgl1-mesa-dri")
    done = run(FRAME)
    assert (done.stdout, done.stderr, done.returncode) == ("egl 1\n", "", 0)


@linux
@pytest.mark.parametrize(
    "broken",
    [
        {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent", "__EGL_VENDOR_LIBRARY_FILENAMES": ""},
        {"MUJOCO_EGL_DEVICE_ID": "99"},
    ],
    ids=["no driver", "no device"],
)
def test_osmesa_stands_in_for_a_broken_egl(broken):
    if not working("osmesa"):
        pytest.skip("OSMesa does not work here: apt-get install libosmesa6")
    done = run(FRAME, **broken)
    assert (done.stdout, done.stderr, done.returncode) == ("osmesa 1\n", "", 0)


@linux
def test_osmesa_stands_in_for_a_missing_libegl():
    if not working("osmesa"):
        pytest.skip("OSMesa does not work here: apt-get install libosmesa6")
    hide = """
import ctypes
load = ctypes.CDLL.__init__
def without_egl(self, name, *args, **kwargs):
    if name and "EGL" in str(name):
        raise OSError(f"{name}: cannot open shared object file")
    load(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = without_egl
"""
    done = run(hide + FRAME)
    assert (done.stdout, done.returncode) == ("osmesa 1\n", 0), done.stderr


@linux
def test_no_backend_names_the_packages():
    done = run(
        "from shiftbench.envs import gl\n"
        "from shiftbench.errors import ShiftBenchError\n"
        "try:\n"
        "    gl.backend()\n"
        "except ShiftBenchError as error:\n"
        "    print(error)\n",
        MUJOCO_GL="egl",
        __EGL_VENDOR_LIBRARY_DIRS="/nonexistent",
        __EGL_VENDOR_LIBRARY_FILENAMES="",
    )
    assert done.stdout.count("\n") == 1
    for word in ("egl:", "libegl1", "libgl1-mesa-dri", "libosmesa6"):
        assert word in done.stdout


def test_an_unknown_backend_names_the_valid_ones():
    done = run("from shiftbench.envs import gl; gl.backend()", MUJOCO_GL="vulkan")
    assert "MUJOCO_GL='vulkan'" in done.stderr
    assert "egl, osmesa" in done.stderr


def test_another_thread_is_an_error(env):
    env.reset(0)
    caught = []

    def draw() -> None:
        try:
            env.reset(0)
        except ShiftBenchError as error:
            caught.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert "thread" in caught[0]
    assert env.reset(0).std() > 5


def _backend_in_child(queue) -> None:
    try:
        queue.put(gl.backend())
    except ShiftBenchError as error:
        queue.put(str(error))


@linux
@pytest.mark.parametrize(("method", "expected"), [("fork", "spawn"), ("spawn", "")])
def test_a_forked_process_is_an_error_and_a_spawned_one_is_not(env, method, expected):
    env.reset(0)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_backend_in_child, args=(queue,))
    process.start()
    answer = queue.get(timeout=60)
    process.join()
    assert expected in answer if expected else answer == gl.backend()


COMPARE = """
import sys
import numpy as np
from shiftbench import seeding
from shiftbench.envs.loading import load
from shiftbench.envs.pixels import PixelEnv
from shiftbench.specs import load_tasks
for task in load_tasks().values():
    ours = sys.argv[1] == "ours"
    if ours:
        env = PixelEnv(task, render="dm_control")
        frames = [env.reset(5)]
        repeat, dim = task.action_repeat, env.action_dim
    else:
        random = seeding.random_state(0)
        env, _, _ = load(task, random)
        random.set_state(seeding.random_state(5).get_state())
        env.reset()
        spec = env.action_spec()
        low, high = spec.minimum, spec.maximum
        repeat, dim = task.action_repeat, spec.shape[0]
        frames = [env.physics.render(64, 64, camera_id=task.camera)]
    rng = np.random.default_rng(1)
    for _ in range(3):
        action = rng.uniform(-1, 1, dim)
        if ours:
            frames.append(env.step(action)[0])
        else:
            for _ in range(repeat):
                env.step((high + low) / 2 + action * (high - low) / 2)
            frames.append(env.physics.render(64, 64, camera_id=task.camera))
    np.save(f"{sys.argv[2]}/{sys.argv[1]}-{task.name}.npy", np.array(frames))
"""


def test_the_dm_control_profile_gives_dm_control_frames(tmp_path, tasks):
    script = tmp_path / "compare.py"
    script.write_text(COMPARE)
    for side in ("ours", "theirs"):
        subprocess.run(
            [sys.executable, str(script), side, str(tmp_path)],
            env={**os.environ, "MUJOCO_GL": gl.backend()},
            check=True,
            timeout=120,
        )
    for name in tasks:
        ours, theirs = (np.load(tmp_path / f"{side}-{name}.npy") for side in ("ours", "theirs"))
        assert theirs.std() > 5
        assert (ours == theirs).all(), name
