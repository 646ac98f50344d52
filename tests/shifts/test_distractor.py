"""The family ``distractor``."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from shiftbench.envs.pixels import PixelEnv
from shiftbench.shifts import distractor
from shiftbench.shifts.distractor import (
    POINTS,
    Distractor,
    _Bodies,
    _Course,
    _Eye,
    _Layout,
    _Turns,
)
from shiftbench.shifts.surfaces import Surfaces
from shiftbench.specs import LEVELS, Shift


def at(level):
    return Shift("distractor", level, LEVELS[level])


def test_they_are_in_the_frame_and_in_no_physics(shift_envs):
    for env in shift_envs.values():
        env.reset(0)
        drawn = env.scene.mjv.ngeom
        for level in LEVELS:
            env.reset(0, at(level) if level != "none" else None, 4)
            most = round(Distractor.numbers(LEVELS[level]).count)
            vertices = env.scene.solids._vertices
            seen = sum(np.ptp(solid, 0).min() > 0 for solid in vertices)
            assert env.scene.mjv.ngeom - drawn == (level != "none")  # all of them are one piece
            if level != "none":
                assert 0.5 * most <= seen <= most
            assert env.physics.model.nskin == 0
            assert env.scene.model.ngeom == env.physics.model.ngeom


def test_every_shape_fits_into_its_radius():
    reach = np.linalg.norm(POINTS[:, :8], axis=-1).max(1)
    assert ((reach > 0.9) & (reach <= 1.001)).all()


def test_corners_face_outwards():
    corners, facing = POINTS[:, :8], POINTS[:, 8:]
    np.testing.assert_allclose(np.linalg.norm(facing, axis=-1), 1, atol=1e-6)
    inside = corners.mean(1, keepdims=True)
    assert (((corners - inside) * facing).sum(-1) > 0.05).all()


@pytest.mark.parametrize("name", ["cartpole_balance", "reacher_easy", "manipulation_reach_site"])
def test_they_are_seen_and_leave_the_task_to_be_seen(tasks, name):
    """Of the pixels of the task's things most stay as they are, wherever the camera looks from."""
    env = PixelEnv(tasks[name])
    model = env.scene.model
    levels = [level for level in LEVELS if level != "none"]
    covered, changed = ({level: [] for level in levels} for _ in range(2))
    for episode in range(8):
        clean = env.reset(episode)
        things = env.scene.surfaces.solids()
        alpha = model.geom_rgba[things, 3].copy()
        model.geom_rgba[things, 3] = 0
        bodies = np.abs(clean.astype(int) - env.draw()).max(-1) > 20
        model.geom_rgba[things, 3] = alpha
        for level in levels:
            frame = env.reset(episode, at(level), episode).astype(int)
            other = np.abs(frame - clean).max(-1) > 8
            covered[level].append((other & bodies).sum() / bodies.sum())
            changed[level].append(other.mean())
    env.close()
    assert max(np.mean(shares) for shares in covered.values()) < 0.25
    assert min(np.median(shares) for shares in changed.values()) > 0.01


@pytest.mark.parametrize(("level", "moves"), [("moderate", False), ("severe", True)])
def test_they_move_from_severe_on(shift_envs, level, moves):
    env = shift_envs["finger_spin"]
    env.reset(0, at(level), 2)
    frames = []
    for t in (0, 5, 10, 5):
        env.agent_steps = t
        frames.append(env.draw())
    assert (frames[0] != frames[2]).any() == moves
    assert (frames[1] == frames[3]).all()  # one moment of it depends on no other


def test_they_never_run_out(shift_envs):
    env = shift_envs["cartpole_balance"]
    clean = env.reset(0).astype(int)
    env.reset(0, at("extreme"), 1)
    for t in range(0, 3000, 271):
        env.agent_steps = t
        assert (np.abs(env.draw() - clean).max(-1) > 8).mean() > 0.03


def test_a_place_and_its_ray_agree(shift_envs):
    env = shift_envs["finger_spin"]
    env.reset(0)
    env.scene.update()
    camera = env.scene.mjv.camera[0]
    eye = _Eye(camera, 1.0)
    where = np.random.default_rng(0).uniform(-1, 1, (1, 20, 2)) @ (1, 1j)
    rays = eye.along(where)[0]
    seen = 3.0 * rays @ eye.projection
    np.testing.assert_allclose(seen[:, 0] / seen[:, 2], where[0].real, atol=1e-5)
    np.testing.assert_allclose(seen[:, 1] / seen[:, 2], where[0].imag, atol=1e-5)
    np.testing.assert_allclose(seen[:, 2], 3.0, atol=1e-5)
    # Far away they would be below the ground, a unit under the camera: they lie on it.
    radius = np.full(20, 0.1, np.float32)
    floor = camera.pos[2] - 1
    still = np.zeros(20)
    turns = _Turns(np.tile((1.0, 0.0, 0.0), (20, 1)))
    points = np.ones((20, 16, 3), np.float32)
    start = np.stack([where[0].real, where[0].imag], 1)
    course = _Course(start, np.zeros((20, 2)), points, turns, still, still)
    shares = np.full(20, 1e3)
    layout = _Layout(eye, _Bodies(env.scene), course, shares, radius, 0.0, floor)
    assert layout.at(camera, 0) == 0
    np.testing.assert_allclose(course.where, where, atol=1e-12)
    half_frames = layout.vertices[0, :, 0, 0]
    down = rays[:, 2] < -1e-3
    assert down.any()
    lowest = layout.places[0, :, 2] - camera.pos[2] - 0.1 * half_frames
    np.testing.assert_allclose(lowest[down], -1.0, atol=1e-5)

    # So they do where the camera comes down; where it is under the ground nothing is seen.
    for height in (0.7, 0.02, 0.0, -0.1):
        position = np.array([*camera.pos[:2], floor + height], np.float32)
        lower = SimpleNamespace(pos=position, up=camera.up, forward=camera.forward)
        assert layout.at(lower, 0) == 0
        half_frames = layout.vertices[0, :, 0, 0]
        lowest = layout.places[0, :, 2] - 0.1 * half_frames
        if height > 0:
            np.testing.assert_allclose(lowest[down], floor, atol=1e-5)
        else:
            assert not half_frames.any()


@pytest.mark.parametrize("level", ["mild", "extreme"])
def test_they_stay_above_the_ground_where_the_camera_follows_a_fall(tasks, level):
    env = PixelEnv(tasks["walker_walk"])
    rng = np.random.default_rng(0)
    for look in range(3):
        env.reset(look, at(level), look)
        began = env.scene.mjv.camera[0].pos[2]
        for _ in range(20):
            env.step(rng.uniform(-1, 1, env.action_dim))
            solids = env.scene.solids._vertices
            shown = np.ptp(solids, axis=1).max(1) > 0
            assert shown.any()
            assert solids[shown].mean(1)[:, 2].min() > 0
        assert env.scene.mjv.camera[0].pos[2] < began - 0.3
    env.close()


def test_a_scene_without_things_of_the_task_can_be_drawn(shift_envs, monkeypatch):
    env = shift_envs["cartpole_balance"]
    monkeypatch.setattr(Surfaces, "solids", lambda self: np.zeros(0, int))
    monkeypatch.setattr(Distractor, "_shapes", ())
    clean = env.reset(0).astype(int)
    frame = env.reset(0, Shift("distractor", "severe", 0.74), 1)  # with a family of its own
    assert not len(env._family._bodies.radii)
    assert (np.abs(frame - clean).max(-1) > 8).mean() > 0.03


@pytest.mark.parametrize("frames", [1, 5])
def test_a_moment_does_not_depend_on_how_many_are_worked_out_at_once(
    shift_envs, monkeypatch, frames
):
    env = shift_envs["finger_spin"]
    env.reset(0, at("severe"), 2)

    def seen():
        drawn = []
        for t in (0, 15, 16, 40):
            env.agent_steps = t
            drawn.append(env.draw())
        return np.stack(drawn)

    usual = seen()
    monkeypatch.setattr(distractor, "AHEAD", frames)
    env.reset(0, at("severe"), 2)
    assert (seen() == usual).all()


def test_turns_are_rotations():
    axes = np.random.default_rng(0).standard_normal((5, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    for matrix, axis in zip(_Turns(axes).by(np.full(5, 0.7)), axes, strict=True):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(axis @ matrix, axis, atol=1e-6)
        assert np.trace(matrix) == pytest.approx(1 + 2 * np.cos(0.7), abs=1e-6)


def test_without_numbers_nothing_is_added(shift_envs):
    env = shift_envs["finger_spin"]
    env.reset(0)
    family = Distractor()
    family.use(env.scene, Distractor.numbers(0.0), np.random.default_rng(0))
    env.scene.update()
    before = env.scene.mjv.ngeom
    family.decorate(env.scene, 0)
    assert env.scene.mjv.ngeom == before
