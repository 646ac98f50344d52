"""The family ``color``."""

from __future__ import annotations

from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from shiftbench.shifts import color
from shiftbench.specs import LEVELS, Shift

LOOKS = """
<mujoco>
  <asset><material name="grey" rgba=".6 .6 .6 1"/></asset>
  <worldbody>
    <geom size="1" material="grey"/>
    <geom size="1" material="grey" rgba="1 0 0 .5"/>
    <geom size="1"/>
    <site rgba="0 1 0 1"/>
  </worldbody>
</mujoco>
"""


def test_everything_that_has_a_colour_of_its_own_is_recoloured():
    model = mujoco.MjModel.from_xml_string(LOOKS)
    # The first geom has its material's colour; the last has none, and MuJoCo's default is its own.
    scene = SimpleNamespace(model=model, spare_2d=(1,), spare_cube=(2,))
    materials, geoms, sites = color._own_colours(scene, [])
    assert (materials[0] is model.mat_rgba, materials[1].tolist()) == (True, [0])
    assert geoms[0][geoms[1]].tolist() == [[1, 0, 0, 0.5], [0.5, 0.5, 0.5, 1]]
    assert sites[0][sites[1]].tolist() == [[0, 1, 0, 1]]
    _, geoms, _ = color._own_colours(scene, [np.array([1])])
    assert geoms[1].tolist() == [2]  # ground has its share already


def test_colours_stay_valid_and_opacity_stays(shift_envs):
    env = shift_envs["ball_in_cup_catch"]
    env.reset(0)
    model = env.scene.model
    clean = {name: getattr(model, name).copy() for name in ("mat_rgba", "geom_rgba", "site_rgba")}
    for seed in range(10):
        env.reset(0, Shift("color", "extreme", 1.0), seed)
        for name, before in clean.items():
            after = getattr(model, name)
            assert after.min() >= 0
            assert after.max() <= 1
            assert (after[:, 3] == before[:, 3]).all()
        spare = min(env.scene.spare_2d + env.scene.spare_cube)
        # White that should get lighter stays white.
        assert (model.mat_rgba[:spare, :3] != clean["mat_rgba"][:spare, :3]).any(1).mean() > 0.6


@pytest.mark.parametrize("quantity", ["hue", "saturation", "value", "rgb", "normal"])
def test_each_number_does_what_its_name_says(quantity):
    colour = np.array([0.5, 0.3, 0.2])
    size = 60.0 if quantity == "hue" else 0.4
    numbers = color.Color.numbers(0.0, **{quantity: size, "least": 1.0})
    (turn,), (offset,) = color._recolourings(numbers, np.random.default_rng(1), 1)
    new = turn @ colour + offset
    saturation = np.linalg.norm(new - new.mean()) / np.linalg.norm(colour - colour.mean())
    same = {
        "mean": np.isclose(new.mean(), colour.mean()),
        "distance from grey": np.isclose(saturation, 1),
        "direction": np.isclose(np.corrcoef(new, colour)[0, 1], 1),
        "scale": np.allclose(new / colour, new[0] / colour[0]),
    }
    kept = {
        "hue": {"mean", "distance from grey"},
        "saturation": {"direction"},
        "value": {"direction", "scale"},
        "rgb": set(),
        "normal": set(),
    }
    assert {name for name, holds in same.items() if holds} == kept[quantity]


def test_no_numbers_no_change():
    (turn,), (offset,) = color._recolourings(color.Color.numbers(0.0), np.random.default_rng(0), 1)
    np.testing.assert_allclose(turn, np.eye(3), atol=1e-12)
    assert not offset.any()


@pytest.mark.parametrize(("level", "moves"), [("moderate", False), ("extreme", True)])
def test_the_sky_is_recoloured_and_swings_from_severe_on(shift_envs, level, moves):
    env = shift_envs["cartpole_balance"]
    clean = env.reset(0)[:8].astype(int)
    first = env.reset(0, Shift("color", level, LEVELS[level]), 1)[:8]
    assert np.abs(first - clean).mean() > 15
    for _ in range(3):
        frame = env.step(np.zeros(1))[0]
    assert (frame[:8] != first).any() == moves


def test_the_ground_that_things_stand_out_from_is_the_one_before(shift_envs, monkeypatch):
    """What was read of it must not be what it was covered with since: texture came before."""
    seen, apart = [], color._apart
    monkeypatch.setattr(color, "_apart", lambda a, b: seen.append(np.array(b)) or apart(a, b))
    shift_envs["cartpole_balance"].reset(0, Shift("combined", "severe", 0.75), 1)
    (sky, ground), shown = seen
    assert (np.abs(shown - (sky, ground)).max(1) > 3).all()


def test_things_without_colours_of_their_own_are_left(shift_envs, monkeypatch):
    monkeypatch.setattr(color, "_own_colours", lambda scene, ground: [])
    env = shift_envs["cartpole_balance"]
    model, clean = env.scene.model, env.reset(0)
    before = model.mat_rgba.copy()
    assert (env.reset(0, Shift("color", "extreme", 1.0), 1) != clean).any()  # sky and ground
    assert (model.mat_rgba == before).all()
