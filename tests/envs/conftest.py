"""Shift families for the tests, one for each thing that a family may do, and environments."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from shiftbench.envs.pixels import PixelEnv
from shiftbench.registry import FAMILIES
from shiftbench.shifts.base import ShiftFamily


class Everything(ShiftFamily):
    """Edits every visual field that the interface names, still and moving, and the image."""

    needs_depth = True

    def apply(self, scene, severity, rng):
        model = scene.model
        self._drift = rng.normal(0, 0.01, 3)
        model.mat_rgba[:, :3] = rng.uniform(0, 1, (model.nmat, 3))
        model.light_diffuse[:] = rng.uniform(0, 1)
        model.light_pos[:] += 1.0
        model.cam_pos[:] += 0.1
        model.cam_fovy[:] *= 1.1
        model.vis.headlight.ambient[:] = rng.uniform(0, 1, 3)
        model.vis.map.znear *= 1.5
        scene.mjv.flags[0] = 1
        for i, material in enumerate((scene.spare_2d[0], scene.spare_cube[1])):
            size = scene.texture_size(material)
            scene.set_texture(material, rng.integers(0, 255, (size, size, 3), dtype=np.uint8))
            model.mat_texrepeat[material] = 3.0
            model.geom_matid[i] = material

    def step(self, scene, t):
        scene.model.cam_pos[:] += self._drift

    def post(self, rgb, depth, t):
        assert depth.dtype == np.float32
        assert depth.shape == rgb.shape[:2]
        rgb[depth == 1.0] = (255, 0, 255)
        return rgb


class Nothing(ShiftFamily):
    """Changes nothing."""


class Deep(ShiftFamily):
    """Reads the depth and changes nothing."""

    needs_depth = True


class Floats(ShiftFamily):
    """Returns an image of the wrong type."""

    def post(self, rgb, depth, t):
        return rgb / 255


class Sky(ShiftFamily):
    """Paints what lies at the far plane."""

    needs_depth = True

    def post(self, rgb, depth, t):
        rgb[depth == 1.0] = (255, 0, 255)
        return rgb


class Decorated(ShiftFamily):
    """Adds a red ball and a lamp to what is drawn, and nothing to any model."""

    def decorate(self, scene, t):
        scene.add_geom(
            mujoco.mjtGeom.mjGEOM_SPHERE,
            np.full(3, 0.2),
            np.array([0.0, 0.0, 1.8]),
            np.eye(3).ravel(),
            np.array([1, 0, 0, 1], np.float32),
        )
        scene.add_lamp(np.array([0.0, 0.0, -1.0]), 0.5)


@pytest.fixture(autouse=True)
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the families above under their lower-case names for one test."""
    FAMILIES.names()  # loads the table
    mine = {kind.__name__.lower(): kind for kind in ShiftFamily.__subclasses__()}
    monkeypatch.setattr(
        FAMILIES,
        "_targets",
        FAMILIES._targets | {n: k for n, k in mine.items() if k.__module__ == __name__},
    )


@pytest.fixture(scope="session")
def envs(tasks) -> Iterator[dict[str, PixelEnv]]:
    """One environment for each shipped task, all alive at once."""
    made = {name: PixelEnv(task) for name, task in tasks.items()}
    yield made
    for env in made.values():
        env.close()


@pytest.fixture
def env(envs) -> PixelEnv:
    return envs["cartpole_balance"]
