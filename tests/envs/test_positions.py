"""Positions: what one frame shows of the state, listed in the task file."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from shiftbench import specs
from shiftbench.envs.pixels import PixelEnv
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import Position, Shift


def with_positions(base, *positions, **change):
    return msgspec.structs.replace(base, positions=positions, **change)


def of(env) -> dict[str, float]:
    return dict(zip(env.position_names, env.positions(), strict=True))


def test_every_shipped_task_lists_some(envs):
    for name, env in envs.items():
        env.reset(0)
        values = env.positions()
        assert values.dtype == np.float32
        assert values.shape == (len(env.position_names),)
        assert len(values) >= 2, name
        assert len(set(env.position_names)) == len(values)


def test_they_move_with_the_state_and_hold_no_velocity(envs):
    for name, env in envs.items():
        rng = np.random.default_rng(0)
        seen = []
        for seed in range(12):
            env.reset(seed)
            for _ in range(8):
                env.step(rng.uniform(-1, 1, env.action_dim))
            seen.append(env.positions())
            env.physics.data.qvel[:] = 7.0
            assert (env.positions() == seen[-1]).all()
        spread = np.std(seen, axis=0)
        assert (spread > 1e-3).all(), (name, dict(zip(env.position_names, spread, strict=True)))


def test_a_shift_does_not_move_them(envs):
    for env in envs.values():
        env.reset(4)
        clean = env.positions()
        env.reset(4, Shift("everything", "severe", 0.75), 1)
        assert (env.positions() == clean).all()


def test_what_the_camera_follows_does_not_count(tasks):
    env = PixelEnv(
        with_positions(tasks["walker_walk"], Position(body="torso"), Position(geom="floor"))
    )
    env.reset(0)
    before = of(env)
    env.physics.named.data.qpos["rootx"] += 3.0
    env.physics.forward()
    after = of(env)
    for axis in "xyz":
        assert after[f"torso.{axis}"] == pytest.approx(before[f"torso.{axis}"], abs=1e-5)
    assert after["floor.x"] == pytest.approx(before["floor.x"] - 3.0, abs=1e-5)
    env.close()


def test_joints(cartpole):
    env = PixelEnv(with_positions(cartpole, Position(joint="hinge_1"), Position(joint="slider")))
    assert env.position_names == ("hinge_1.sin", "hinge_1.cos", "slider")
    env.reset(0)
    env.physics.data.qpos[:] = (0.25, 0.1)
    one = env.positions()
    np.testing.assert_allclose(one, [np.sin(0.1), np.cos(0.1), 0.25], rtol=1e-6)
    env.physics.data.qpos[1] += 2 * np.pi
    np.testing.assert_allclose(env.positions(), one, atol=1e-6)
    env.close()


def test_a_symmetric_hinge_looks_the_same_after_its_part_of_a_turn(envs):
    env = envs["finger_spin"]
    env.reset(0)
    hinge = env.physics.named.data.qpos
    looks, values = [], []
    for angle in (0.4, 0.4 + np.pi, 0.4 + np.pi / 2):
        hinge["hinge"] = angle
        env.physics.forward()
        looks.append(env.draw().astype(int))
        values.append(env.positions())
    same, other = (np.abs(look - looks[0]) > 8 for look in looks[1:])
    assert same.any(axis=-1).sum() < 5 < 50 < other.any(axis=-1).sum()
    np.testing.assert_allclose(values[1], values[0], atol=1e-5)
    assert np.abs(values[2] - values[0]).max() > 0.5


def test_places_are_where_the_frame_shows_them(envs):
    env = envs["reacher_easy"]
    target = env.scene.model.geom("target").id
    for seed in range(3):
        frame = env.reset(seed)
        env.scene.model.geom_rgba[target, 3] = 0
        row, column = np.argwhere((env.draw() != frame).any(axis=-1)).mean(axis=0)
        place = of(env)
        # The camera stands 0.75 m above the floor and sees 45°; the target's middle is at 0.01 m.
        metres = 2 * np.tan(np.deg2rad(22.5)) * 0.74 / 64
        assert place["target.x"] == pytest.approx((column - 31.5) * metres, abs=0.015)
        assert place["target.y"] == pytest.approx((31.5 - row) * metres, abs=0.015)


def test_the_free_camera_gives_places_in_the_world(cartpole):
    env = PixelEnv(with_positions(cartpole, Position(body="cart", axes="x"), camera=-1))
    env.reset(0)
    assert of(env)["cart.x"] == pytest.approx(env.physics.named.data.xpos["cart", "x"])
    env.close()


def test_a_task_may_list_none(cartpole):
    env = PixelEnv(with_positions(cartpole))
    env.reset(0)
    assert env.positions().shape == (0,)
    env.close()


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([Position(joint="hinge")], r"'hinge' for cartpole_balance.toml, key positions\[0\].joint"),
        ([Position(joint="hinge")], r"Did you mean 'hinge_1'\? Valid: hinge_1, slider"),
        ([Position(site="tip")], r"unknown site 'tip'.*positions\[0\].site.*Valid: none"),
        ([Position(geom="cart"), Position(body="car")], r"positions\[1\].body.*mean 'cart'"),
        ([Position(joint="slider", symmetry=2)], "'slider' is a slide"),
        ([Position(geom="cart"), Position(body="cart", axes="y")], "'cart.y' is there already"),
    ],
)
def test_a_name_that_the_model_lacks_is_one_line(cartpole, positions, message):
    with pytest.raises(ShiftBenchError, match=message) as error:
        PixelEnv(with_positions(cartpole, *positions))
    assert "\n" not in str(error.value)


def test_a_free_joint_is_an_error(cartpole):
    task = with_positions(cartpole, Position(joint="root"), domain="quadruped", task="walk")
    with pytest.raises(ShiftBenchError, match="'root' is neither a hinge nor a slide.*body"):
        PixelEnv(task)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('{ joint = "slider", body = "cart" }', "one of joint, body, geom, site"),
        ("{ }", "one of joint, body, geom, site"),
        ('{ bone = "slider" }', "bone"),
        ('{ body = "cart", axes = "xw" }', "axes: allowed is x, y and z"),
        ('{ body = "cart", axes = "xx" }', "axes: allowed is x, y and z"),
        ('{ body = "cart", axes = "" }', "axes: allowed is x, y and z"),
        ('{ joint = "slider", axes = "x" }', "axes: allowed is only beside"),
        ('{ joint = "hinge_1", symmetry = 0 }', "symmetry: allowed is an integer"),
        ('{ body = "cart", symmetry = 2 }', "symmetry: allowed is only beside joint"),
        ('"slider"', "object"),
    ],
)
def test_a_broken_entry_names_file_and_key(tmp_path, good_task, entry, expected):
    text = good_task.replace("version = 1", f"version = 1\npositions = [{entry}]")
    (tmp_path / "my_task.toml").write_text(text)
    with pytest.raises(ShiftBenchError, match=expected) as error:
        specs.load_tasks((tmp_path,))
    assert "my_task.toml" in str(error.value)
    assert "positions[0]" in str(error.value)
    assert "\n" not in str(error.value)
