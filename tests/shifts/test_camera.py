"""The family ``camera``."""

from __future__ import annotations

import numpy as np
import pytest

from shiftbench.envs.pixels import PixelEnv
from shiftbench.shifts.camera import Camera
from shiftbench.specs import Shift


@pytest.fixture
def finger(shift_envs):
    env = shift_envs["finger_spin"]
    env.reset(0)
    env.scene.update()
    yield env
    env.scene.restore()


def view(env, numbers, t=0, seed=0):
    """Return position, line of sight and upward axis of the camera under these numbers."""
    family = Camera()
    family.use(env.scene, Camera.numbers(0.0, **numbers), np.random.default_rng(seed))
    env.scene.update()
    family.decorate(env.scene, t)
    eyes = env.scene.mjv.camera
    assert all((eyes[0].pos == eye.pos).all() for eye in eyes)
    return tuple(np.array(axis, float) for axis in (eyes[0].pos, eyes[0].forward, eyes[0].up))


def focus(env):
    clean, forward, _ = view(env, {})
    family = Camera()
    family.use(env.scene, Camera.numbers(0.0), np.random.default_rng(0))
    return clean + family._distance * forward, family._distance


def degrees(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


@pytest.mark.parametrize("quantity", ["azimuth", "elevation", "roll"])
def test_angles_turn_around_the_point_looked_at(finger, quantity):
    point, distance = focus(finger)
    position, forward, up = view(finger, {})
    for seed in range(6):
        at, ahead, above = view(finger, {quantity: 20.0, "least": 1.0}, seed=seed)
        np.testing.assert_allclose(at + distance * ahead, point, atol=1e-6)
        np.testing.assert_allclose([np.linalg.norm(ahead), ahead @ above], [1, 0], atol=1e-6)
        if quantity == "azimuth":
            assert at[2] == pytest.approx(position[2], abs=1e-6)
            flat = [v[:2] / np.linalg.norm(v[:2]) for v in (forward, ahead)]
            assert degrees(*flat) == pytest.approx(20, abs=0.01)
        elif quantity == "elevation":
            assert degrees(forward, ahead) == pytest.approx(20, abs=0.01)
            assert abs(at[0] - position[0]) < 1e-6
        else:
            assert degrees(forward, ahead) == pytest.approx(0, abs=0.1)
            assert degrees(up, above) == pytest.approx(20, abs=0.1)


def test_zoom_changes_the_distance_alone(finger):
    point, distance = focus(finger)
    _, forward, _ = view(finger, {})
    seen = set()
    for seed in range(8):
        numbers = {"nearer": 0.2, "farther": 0.5, "least": 1.0}
        at, ahead, _ = view(finger, numbers, seed=seed)
        np.testing.assert_allclose(ahead, forward, atol=1e-6)
        seen.add(round(float(np.linalg.norm(point - at) / distance), 4))
    assert seen == {0.8, 1.5}


def test_presets_may_shift_and_turn_the_view(finger):
    position, forward, _ = view(finger, {})
    at, ahead, _ = view(finger, {"offset": 0.1})
    assert 0 < np.abs(at - position).max() <= 0.1 * 3**0.5
    np.testing.assert_allclose(ahead, forward, atol=1e-6)
    at, ahead, above = view(finger, {"aside": 10.0})
    np.testing.assert_allclose(at, position, atol=1e-6)
    assert 9.99 <= degrees(forward, ahead) <= 10 * 2**0.5
    assert ahead @ above == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("level", "moves"), [("moderate", False), ("severe", True)])
def test_it_moves_from_severe_on_and_stays_within_its_range(finger, level, moves):
    numbers = vars(Camera.numbers({"moderate": 0.5, "severe": 0.75}[level]))
    positions = np.array([view(finger, numbers, t)[0] for t in range(0, 300, 3)])
    assert (np.ptp(positions, axis=0) > 0.05).any() == moves
    # One moment of it depends on no other.
    assert (view(finger, numbers, 150)[0] == positions[50]).all()
    point, distance = focus(finger)
    away = np.linalg.norm(positions - point, axis=1) / distance
    assert 1 - numbers["nearer"] - 1e-6 <= away.min()
    assert away.max() <= 1 + numbers["farther"] + 1e-6
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert steps.max() < 0.2 * distance  # it swings, it does not jump


def test_it_never_looks_from_under_the_floor(shift_envs):
    env = shift_envs["cartpole_balance"]
    for seed in range(20):
        env.reset(0, Shift("camera", "extreme", 1.0), seed)
        for t in range(0, 200, 10):
            env.agent_steps = t
            env.draw()
            assert env.scene.mjv.camera[0].pos[2] > 0.2


def test_a_tracking_camera_goes_on_tracking(tasks):
    env = PixelEnv(tasks["cheetah_run"])

    def offsets(shift):
        env.reset(0, shift, 3)
        found = []
        for _ in range(30):
            env.step(np.ones(env.action_dim))
            at = np.array(env.scene.mjv.camera[0].pos, float)
            found.append((at - env.scene.data.subtree_com[1], env.scene.data.subtree_com[1][0]))
        return np.array([o for o, _ in found]), np.ptp([x for _, x in found])

    clean, travelled = offsets(None)
    moved, _ = offsets(Shift("camera", "moderate", 0.5))
    assert travelled > 0.03
    # Seen from the body, the camera stands as still as the clean one does.
    assert np.ptp(moved, axis=0).max() < 0.05 * travelled
    assert np.linalg.norm(moved - clean, axis=1).min() > 0.1
    env.close()


def test_the_headlight_comes_along(finger):
    at, ahead, _ = view(finger, {"azimuth": 30.0, "least": 1.0})
    lamps = [finger.scene.mjv.lights[i] for i in range(finger.scene.mjv.nlight)]
    (headlight,) = [lamp for lamp in lamps if lamp.headlight]
    np.testing.assert_allclose(headlight.pos, at, atol=1e-6)
    np.testing.assert_allclose(headlight.dir, ahead, atol=1e-6)
