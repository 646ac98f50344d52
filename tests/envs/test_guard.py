"""A family that touches the physics is refused, whatever it touches and wherever."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from support import package

from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import FAMILIES
from shiftbench.shifts.base import ShiftFamily
from shiftbench.specs import Shift

METHODS = ("apply", "step", "decorate", "post")


def move(scene):
    scene._live.qpos[0] += 1e-12


def push(scene):
    scene._live.xfrc_applied[-1, 0] = 1.0


def grow(scene):
    scene._clean.geom_size[0] *= 1.001


def float_(scene):
    scene._clean.opt.gravity[2] = 0.0


def hurry(scene):
    scene._clean.opt.timestep *= 2


WRITES = {
    move: "the state of the physics",
    push: "the state of the physics",
    grow: "'geom_size' of the physics' model",
    float_: "'opt.gravity' of the physics' model",
    hurry: "'opt.timestep' of the physics' model",
}


@pytest.fixture
def register(monkeypatch):
    """Register a family at run time, for one test, and return a shift of it."""

    def register(family: type) -> Shift:
        monkeypatch.setattr(FAMILIES, "_targets", dict(FAMILIES._load()))
        FAMILIES.register("guilty", family)
        return Shift("guilty", "mild", 0.25)

    return register


def guilty(write, method: str, at: int = 0) -> type[ShiftFamily]:
    """Return a family that writes to the physics in ``method`` of frame ``at``."""

    class Guilty(ShiftFamily):
        def apply(self, scene, severity, rng):
            self.scene = scene
            self.work("apply", 0)

        def step(self, scene, t):
            self.work("step", t)

        def decorate(self, scene, t):
            self.work("decorate", t)

        def post(self, rgb, depth, t):
            self.work("post", t)
            return rgb

        def work(self, now, t):
            if (now, t) == (method, at):
                write(self.scene)

    return Guilty


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("method", METHODS)
def test_family_package_and_method_are_named(cartpole, register, method, write):
    env = PixelEnv(cartpole)
    shift = register(guilty(write, method))
    with pytest.raises(ShiftBenchError) as error:
        env.reset(0, shift, 0)
    assert str(error.value) == (
        f"shift family 'guilty' of module '{__name__}' changed {WRITES[write]} in {method}: "
        "a family may change pixels only"
    )
    env.close()


@pytest.mark.parametrize("write", [move, grow], ids=["state", "model"])
@pytest.mark.parametrize("method", METHODS[1:])
def test_later_frames_are_watched(cartpole, register, method, write):
    env = PixelEnv(cartpole)
    env.reset(0, register(guilty(write, method, at=2)), 0)
    env.step(np.zeros(1))
    with pytest.raises(ShiftBenchError, match=rf"'guilty' .* changed .* in {method}:"):
        env.step(np.zeros(1))
    env.close()


def test_the_state_is_watched_in_every_episode(cartpole, register):
    class Late(ShiftFamily):
        count = 0

        def apply(self, scene, severity, rng):
            self.scene, self.count = scene, self.count + 1

        def post(self, rgb, depth, t):
            if self.count == 3:
                move(self.scene)
            return rgb

    env = PixelEnv(cartpole)
    shift = register(Late)
    env.reset(0, shift)
    env.reset(1, shift)
    with pytest.raises(ShiftBenchError, match="in post:"):
        env.reset(2, shift)
    env.close()


def test_what_apply_puts_in_place_of_a_method_is_called(cartpole, register):
    class Inverts(ShiftFamily):
        def apply(self, scene, severity, rng):
            self.post = lambda rgb, depth, t: 255 - rgb

    env = PixelEnv(cartpole)
    clean = env.reset(0)
    assert (env.reset(0, register(Inverts)) == 255 - clean).all()
    env.close()


def test_whoever_looks_for_it_may_look_away(cartpole, register):
    env = PixelEnv(cartpole, guarded=False)
    env.reset(0)
    clean = env.state()
    env.reset(0, register(guilty(move, "apply")), 0)
    assert (env.state() != clean).any()
    env.close()


def test_the_visual_model_is_not_the_physics(cartpole, register):
    class Innocent(ShiftFamily):
        def apply(self, scene, severity, rng):
            scene.model.geom_rgba[:] = 0.5
            scene.model.geom_size[:] *= 2
            scene.model.opt.gravity[:] = 0

        def step(self, scene, t):
            scene.data.qpos[0] += 0.1

    env = PixelEnv(cartpole)
    env.reset(0, register(Innocent), 0)
    env.step(np.ones(1))
    env.close()


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda rgb: rgb.astype(np.float32), r"float32 \(64, 64, 3\)"),
        (lambda rgb: rgb[:, :, 0], r"uint8 \(64, 64\)"),
        (lambda rgb: rgb[:32], r"uint8 \(32, 64, 3\)"),
        (lambda rgb: rgb.tolist(), "list"),
        (lambda rgb: None, "NoneType"),
    ],
)
def test_a_wrong_image_is_refused(cartpole, register, returned, got):
    class Wrong(ShiftFamily):
        def post(self, rgb, depth, t):
            return returned(rgb)

    env = PixelEnv(cartpole)
    expected = rf"'guilty' of module '{__name__}' returned {got} from post, it must return uint8 \("
    with pytest.raises(ShiftBenchError, match=expected):
        env.reset(0, register(Wrong), 0)
    env.close()


MODULE = """
from shiftbench.shifts.base import ShiftFamily


class Heavy(ShiftFamily):
    def step(self, scene, t):
        scene._clean.body_mass[-1] *= 2


class Square(ShiftFamily):
    def post(self, rgb, depth, t):
        return rgb[:8, :8]
"""


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("heavy", "changed 'body_mass' of the physics' model in step"),
        ("square", "returned uint8 (8, 8, 3) from post"),
    ],
)
def test_a_package_is_named_in_one_line_and_writes_no_row(tmp_path, family, expected):
    entries = "[shiftbench.families]\nheavy = guilty_module:Heavy\nsquare = guilty_module:Square\n"
    package(tmp_path, "guilty-plugin", entries, guilty_module=MODULE)
    arguments = ["run", "--agent", "random", "--task", "cartpole_balance", "--episodes", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "shiftbench", *arguments, "--shift", f"{family}:mild"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    name = f"shift family '{family}' of package 'guilty-plugin' (guilty_module:{family.title()})"
    assert f"{name} {expected}" in errors[0]
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*.csv") if family in path.name]
