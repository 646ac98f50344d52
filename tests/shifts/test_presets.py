"""Presets: the published numbers, in real frames and behind every face."""

from __future__ import annotations

import csv

import gymnasium
import numpy as np
import pytest

import shiftbench.envs.gym
from shiftbench.data import PACKAGE
from shiftbench.envs import dm
from shiftbench.errors import ShiftBenchError
from shiftbench.registry import FAMILIES
from shiftbench.shifts import combined
from shiftbench.shifts.combined import Preset
from shiftbench.shifts.presets import PRESETS
from shiftbench.specs import Shift

#: Name → the numbers of each look, copied from the publications by hand. Distracting Control Suite:
#: everything times .1, .2, .3; its code lets cartpole's floor keep .3 of itself.
PUBLISHED = {
    "dcs-easy": [
        {
            "camera": {"azimuth": 9, "elevation": 9, "roll": 9, "nearer": 0.05, "farther": 0.15},
            "color": {"rgb": 0.1},
            "background": {"opacity": 1, "floor": 0.7},
        }
    ],
    "dcs-medium": [
        {
            "camera": {"azimuth": 18, "elevation": 18, "roll": 18, "nearer": 0.1, "farther": 0.3},
            "color": {"rgb": 0.2},
            "background": {"opacity": 1, "floor": 0.7},
        }
    ],
    "dcs-hard": [
        {
            "camera": {"azimuth": 27, "elevation": 27, "roll": 27, "nearer": 0.15, "farther": 0.45},
            "color": {"rgb": 0.3},
            "background": {"opacity": 1, "floor": 0.7},
        }
    ],
    "dmcgb-color-easy": [{"color": {"normal": 0.10}}],
    "dmcgb-color-hard": [{"color": {"normal": 0.18}}],
    # The speed is ours: it makes a video play.
    "dmcgb-video-easy": [{"background": {"opacity": 1, "speed": 0.01}}],
    "dmcgb-video-hard": [{"background": {"opacity": 1, "speed": 0.01, "floor": 1}}],
    "dmcgb2-rotate-easy": [{"camera": {"roll": 90}}],
    "dmcgb2-rotate-hard": [{"camera": {"roll": 180}}],
    "dmcgb2-shift-easy": [{"camera": {"aside": 10 / 1.5}}],
    "dmcgb2-shift-hard": [{"camera": {"aside": 10}}],
    "rlvigen-light-easy": [{"lighting": {"nearest": 3, "farthest": 5, "tint": 0.2}}],
    "rlvigen-light-hard": [{"lighting": {"nearest": 9, "farthest": 11, "tint": 0.2}}],
    "rlvigen-camera-easy": [{"camera": {"offset": 0.08}}],
    "rlvigen-camera-hard": [{"camera": {"offset": 0.15}}],
    "jones2025-weak": [
        {"weather": {"cloud": 20, "fog": 20, "sun": 10}},
        {"weather": {"cloud": 80, "rain": 50, "fog": 30, "sun": 20}},
    ],
    "jones2025-strong": [
        {"weather": {"cloud": 100, "fog": 100, "sun": -90}},
        {"weather": {"cloud": 100, "fog": 100, "sun": -90, "rain": 100, "wind": 100}},
    ],
}
NAMES = pytest.mark.parametrize("name", PRESETS)


def shift(name: str) -> Shift:
    return Shift("preset", name, 1.0)


def test_the_numbers_are_those_of_the_publications():
    assert list(PRESETS) == list(PUBLISHED)
    for name, preset in PRESETS.items():
        assert len(preset.looks) == len(PUBLISHED[name]), name
        for look, published in zip(preset.looks, PUBLISHED[name], strict=True):
            assert set(look) == set(published), name
            for family, numbers in look.items():
                assert numbers == pytest.approx(published[family]), name
                assert set(numbers) <= set(FAMILIES.get(family).table), name


def test_the_page_lists_every_preset_with_its_source_and_no_other():
    page = PACKAGE.parent / "docs" / "presets.md"
    if not page.exists():
        pytest.skip("an installed package has no docs")
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if "`preset:" in line]
    rows = [line for line in lines if line.startswith("| `preset:")]
    assert [row.split("`")[1].removeprefix("preset:") for row in rows] == list(PRESETS)
    for row, preset in zip(rows, PRESETS.values(), strict=True):
        assert preset.source.split(" (")[0].split(" 20")[0] in row


@NAMES
@pytest.mark.parametrize("task", ["cartpole_balance", "ball_in_cup_catch", "finger_spin"])
def test_it_changes_pixels_only_and_follows_its_seed(shift_envs, task, name):
    env = shift_envs[task]

    def play(shift, look=5):
        frames, rewards = [env.reset(5, shift, look)], []
        for action in np.random.default_rng(0).uniform(-1, 1, (3, env.action_dim)):
            frame, reward, _, _ = env.step(action)
            frames.append(frame)
            rewards.append(reward)
        return np.array(frames), rewards, env.state()

    clean, first, other, again = (
        play(*which) for which in ((None,), (shift(name),), (shift(name), 6), (shift(name),))
    )
    for frames, rewards, state in (first, other):
        assert frames.dtype == np.uint8
        assert rewards == clean[1]
        assert (state == clean[2]).all()
        assert frames.std(axis=(1, 2)).max() > 3
    assert (first[0] != clean[0]).any(axis=(1, 2, 3)).all()
    assert (first[0] != other[0]).any()
    assert (first[0] == again[0]).all()
    assert (play(None)[0] == clean[0]).all()


def test_what_a_preset_does_not_name_changes_nothing(shift_envs, monkeypatch):
    """A family with the numbers of severity 0 gives the clean frame."""
    env = shift_envs["cartpole_balance"]
    clean = env.reset(2).astype(int)
    for family in ("camera", "color", "background", "lighting", "weather", "texture", "distractor"):
        nothing = PRESETS["dcs-easy"]._replace(looks=({family: {}},))
        monkeypatch.setitem(combined.PRESETS, f"no-{family}", nothing)
        frame = env.reset(2, shift(f"no-{family}"), 1)
        # The sky is looked up for some, not drawn: its specks differ a little.
        assert np.abs(frame - clean).mean() < 2, family


def views(env, name, seeds=40):
    """Return the camera's place and its three axes under each seed, in the clean camera's axes."""
    found = []
    for seed in (None, *range(seeds)):
        env.reset(0, None if seed is None else shift(name), seed or 0)
        eye = env.scene.mjv.camera[0]
        forward, up = np.array(eye.forward), np.array(eye.up)
        found.append((np.array(eye.pos), np.array([np.cross(forward, up), up, forward])))
    (place, axes), *others = found
    return [(axes @ (p - place), a @ axes.T) for p, a in others]


@pytest.mark.parametrize(("name", "most"), [("rotate-easy", 90), ("rotate-hard", 180)])
def test_dmcgb2_rotates_up_to_its_angle(shift_envs, name, most):
    seen = views(shift_envs["cartpole_balance"], f"dmcgb2-{name}")
    angles = [np.rad2deg(np.arctan2(axes[0, 1], axes[0, 0])) for _, axes in seen]
    assert 0.8 * most < np.max(np.abs(angles)) <= most + 1e-3
    assert np.min(angles) < 0 < np.max(angles)
    for place, axes in seen:
        np.testing.assert_allclose(place, 0, atol=1e-5)
        np.testing.assert_allclose(axes[2], (0, 0, 1), atol=1e-5)


@pytest.mark.parametrize(("name", "edge"), [("shift-easy", 10 / 1.5), ("shift-hard", 10.0)])
def test_dmcgb2_looks_at_the_edge_of_a_square(shift_envs, name, edge):
    for place, axes in views(shift_envs["cartpole_balance"], f"dmcgb2-{name}"):
        np.testing.assert_allclose(place, 0, atol=1e-5)
        angles = np.rad2deg(np.arctan(np.abs(axes[2, :2]) / axes[2, 2]))
        assert angles.max() == pytest.approx(edge, abs=1e-2)


@pytest.mark.parametrize(("name", "most"), [("camera-easy", 0.08), ("camera-hard", 0.15)])
def test_rlvigen_moves_the_camera_by_its_lengths(shift_envs, name, most):
    seen = views(shift_envs["cartpole_balance"], f"rlvigen-{name}")
    places = np.abs([place for place, _ in seen])
    assert 0.9 * most < places.max() <= most + 1e-5
    assert (places.max(0) > 0.8 * most).all()
    np.testing.assert_allclose([axes for _, axes in seen], [np.eye(3)] * len(seen), atol=1e-5)


@pytest.mark.parametrize(("name", "least", "most"), [("light-easy", 3, 5), ("light-hard", 9, 11)])
def test_rlvigen_moves_the_lamps_by_its_lengths(shift_envs, name, least, most):
    env = shift_envs["cartpole_balance"]
    env.reset(0)
    places, lights = env.scene.model.light_pos.copy(), env.scene.model.light_diffuse.copy()
    moved, tinted = [], []
    for seed in range(20):
        env.reset(0, shift(f"rlvigen-{name}"), seed)
        moved.append(env.scene.model.light_pos - places)
        tinted.append(env.scene.model.light_diffuse - lights)
    assert least <= np.min(moved) < np.max(moved) <= most
    assert np.max(np.abs(tinted)) <= 0.2 + 1e-6
    assert np.ptp(moved) > 0.8 * (most - least)
    assert np.ptp(tinted) > 0.2


def test_dcs_turns_and_zooms_within_its_ranges(shift_envs):
    env = shift_envs["cartpole_balance"]
    env.reset(0)
    eye = env.scene.mjv.camera[0]
    family = Preset.for_shift(shift("dcs-hard"))
    distances = []
    for place, axes in views(env, "dcs-hard"):
        # Azimuth and elevation together turn the line of sight by less than their sum.
        assert np.rad2deg(np.arccos(np.clip(axes[2, 2], -1, 1))) <= 27 * 2**0.5 + 0.1
        env.scene.restore()
        focus = family_distance(env)
        distances.append(np.linalg.norm(np.array([0, 0, focus]) - place) / focus)
    assert eye is not None
    assert 1 - 0.15 - 1e-3 <= min(distances) < 0.95
    assert 1.2 < max(distances) <= 1 + 0.45 + 1e-3
    assert list(family.members) == ["camera", "color", "background"]


def family_distance(env) -> float:
    """Return how far away the clean camera's point of sight is."""
    from shiftbench.shifts.camera import distance_to_solids

    env.reset(0)
    return distance_to_solids(env.scene)


@pytest.mark.parametrize("name", ["jones2025-weak", "jones2025-strong"])
def test_each_episode_draws_one_of_the_weathers(shift_envs, name):
    env = shift_envs["cartpole_balance"]
    family = Preset.for_shift(shift(name))
    rains = []
    for seed in range(20):
        env.reset(0)
        family.apply(env.scene, 1.0, np.random.default_rng(seed))
        rains.append(family.members["weather"]._rain is not None)
    assert 4 < sum(rains) < 16


# -- behind every face -----------------------------------------------------------------------------


def test_an_environment_takes_a_preset(cartpole):
    env = gymnasium.make("shiftbench/cartpole_balance-v1", shift="preset:dcs-hard")
    clean = gymnasium.make("shiftbench/cartpole_balance-v1")
    frame, _ = env.reset(seed=3)
    assert (frame != clean.reset(seed=3)[0]).any(-1).mean() > 0.5
    twin = dm.Environment(cartpole.name, shift="preset:dcs-hard", seed=3)
    assert (twin.reset().observation["pixels"] == frame).all()
    for each in (env, clean, twin):
        each.close()


@pytest.mark.parametrize("make", [dm.Environment, shiftbench.envs.gym.ShiftEnv])
def test_a_preset_that_does_not_exist_names_the_nearest(make):
    with pytest.raises(ShiftBenchError, match="unknown preset 'dcs-hrd' for shift. Did you mean"):
        make("cartpole_balance", shift="preset:dcs-hrd")
    with pytest.raises(ShiftBenchError, match="write FAMILY:LEVEL"):
        make("cartpole_balance", shift="preset")
    with pytest.raises(ShiftBenchError, match="unknown preset 'nope'"):
        Preset.for_shift(shift("nope"))


def test_run_and_preview_take_presets(call, mine, tmp_path):
    chosen = ("--shift", "preset:dcs-hard", "--shift", "preset:jones2025-weak")
    done = call("run", "--agent", "random", "--episodes", 1, *chosen, *mine)
    assert done.code == 0, done.err
    rows = []
    for path in (tmp_path / "runs").rglob("random/*.csv"):
        with path.open(newline="") as file:
            rows += csv.DictReader(file)
    found = {(row["family"], row["level"], row["severity"]) for row in rows}
    presets = {("preset", "dcs-hard", "1.0"), ("preset", "jones2025-weak", "1.0")}
    assert found == {("none", "none", "0.0"), *presets}
    assert len({row["return"] for row in rows}) == 1  # a random agent sees nothing
    done = call("preview", *chosen, *mine)
    assert done.code == 0, done.err
    assert (tmp_path / "preview" / "my_task.png").exists()


def test_presets_are_listed_and_belong_to_no_usual_level(call, mini):
    done = call("list", "shifts")
    assert all(f"preset:{name}" in done.out for name in PRESETS)
    assert "preset:severe" not in done.out
    assert not [s for s in Shift.parse("severe", mini) if s.family == "preset"]
