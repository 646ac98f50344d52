"""The shift families in real frames: seeded, graded, undone afterwards, and blind to physics."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from shiftbench.envs.pixels import PixelEnv
from shiftbench.shifts import background, texture
from shiftbench.shifts.lighting import Lighting
from shiftbench.shifts.patterns import LUMA
from shiftbench.shifts.sky import skybox
from shiftbench.shifts.surfaces import Surfaces
from shiftbench.specs import LEVELS, Shift

FAMILIES = pytest.mark.parametrize(
    "family",
    [
        *("lighting", "texture", "background", "color", "camera", "sensor", "distractor"),
        *("weather", "combined"),
    ],
)
TASKS = pytest.mark.parametrize("task", ["cartpole_balance", "ball_in_cup_catch", "finger_spin"])
SHIFTED = {level: severity for level, severity in LEVELS.items() if severity > 0}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def dissimilarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return 1 − SSIM of the lumas, over windows of 8 px (Wang et al. 2004)."""

    def windows(image):
        return np.lib.stride_tricks.sliding_window_view(image, (8, 8))[::2, ::2]

    x, y = (windows(image @ [0.2126, 0.7152, 0.0722]) for image in (a, b))
    mx, my = x.mean((2, 3)), y.mean((2, 3))
    covariance = (x * y).mean((2, 3)) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar = (2 * mx * my + c1) * (2 * covariance + c2)
    return float(
        1 - (similar / ((mx**2 + my**2 + c1) * (x.var((2, 3)) + y.var((2, 3)) + c2))).mean()
    )


@FAMILIES
@TASKS
def test_levels_are_graded(shift_envs, first_frame, task, family):
    """Half of all episodes, at least, look stranger with every level, by two measures."""
    env = shift_envs[task]
    clean = [first_frame(env, i) for i in range(40)]
    medians = []
    for level, severity in SHIFTED.items():
        shift = Shift(family, level, severity)
        shifted = [first_frame(env, i, shift) for i in range(len(clean))]
        pairs = list(zip(clean, shifted, strict=True))
        medians.append([np.median([f(*p) for p in pairs]) for f in (distance, dissimilarity)])
    assert (np.diff(medians, axis=0, prepend=0) > 0).all(), medians


@FAMILIES
def test_a_seed_gives_one_look_and_another_seed_another(shift_envs, cartpole, family):
    env, fresh = shift_envs[cartpole.name], PixelEnv(cartpole)
    shift = Shift(family, "severe", 0.75)
    first = env.reset(0, shift, 7)
    other = env.reset(0, shift, 8)
    env.reset(1, Shift("texture", "extreme", 1.0), 3)
    assert (env.reset(0, shift, 7) == first).all()
    assert (fresh.reset(0, shift, 7) == first).all()
    assert distance(first, other) > 1
    fresh.close()


@FAMILIES
@TASKS
def test_only_pixels_change_and_nothing_stays(shift_envs, task, family):
    env = shift_envs[task]

    def play(shift):
        frames, rewards = [env.reset(5, shift, 5)], []
        for action in np.random.default_rng(0).uniform(-1, 1, (4, env.action_dim)):
            frame, reward, _, _ = env.step(action)
            frames.append(frame)
            rewards.append(reward)
        return np.array(frames), rewards, env.state()

    clean = play(None)
    for level, severity in SHIFTED.items():
        frames, rewards, state = play(Shift(family, level, severity))
        assert frames.dtype == np.uint8
        assert (frames != clean[0]).any(axis=(1, 2, 3)).all()
        assert rewards == clean[1]
        assert (state == clean[2]).all()
    assert (play(None)[0] == clean[0]).all()


@FAMILIES
def test_any_severity_works_and_small_ones_change_little(shift_envs, family):
    env = shift_envs["cartpole_balance"]
    clean = env.reset(0)
    slight = distance(clean, env.reset(0, Shift(family, "slight", 0.01), 1))
    assert slight < (6 if family == "combined" else 3)  # several families each round down
    for severity in (0.1, 0.6, 0.749):
        assert distance(clean, env.reset(0, Shift(family, "own", severity), 1)) > slight


@FAMILIES
@pytest.mark.parametrize(("level", "moves"), [("mild", False), ("severe", True)])
def test_mild_shifts_stand_still_and_severe_ones_move(shift_envs, family, level, moves):
    """The physics is held, so whatever moves is the shift."""
    env = shift_envs["finger_spin"]
    for seed in range(3):
        first = env.reset(0, Shift(family, level, LEVELS[level]), seed)
        moved = False
        for env.agent_steps in (1, 2, 9):
            moved |= bool((env.draw() != first).any())
        assert moved == moves


@FAMILIES
@TASKS
def test_the_agent_stays_visible(shift_envs, first_frame, task, family):
    """Where the moving bodies are, the frame differs plainly from the same one without them."""
    env = shift_envs[task]
    model = env.scene.model
    bodies = model.geom_bodyid > 0

    def seen(frame):
        """Return where the bodies stand out from what is behind them."""
        shown = model.geom_rgba[bodies, 3].copy()
        model.geom_rgba[bodies, 3] = 0
        behind = env.draw().astype(int)
        model.geom_rgba[bodies, 3] = shown
        return np.abs(frame - behind).max(-1) > 20

    for level, severity in SHIFTED.items():
        for episode in range(10):
            clean = seen(first_frame(env, episode)).sum()
            shifted = seen(first_frame(env, episode, Shift(family, level, severity))).sum()
            assert shifted > 0.4 * clean, (level, episode)


# -- lighting --------------------------------------------------------------------------------------


def test_light_reaches_the_sky_and_never_overflows(shift_envs):
    env = shift_envs["cartpole_balance"]
    clean = env.reset(0)[:8].mean()
    skies = [env.reset(0, Shift("lighting", "extreme", 1.0), s)[:8].mean() for s in range(20)]
    darker = np.mean(np.array(skies) < clean)
    assert 0.5 < darker < 1
    assert max(skies) > 1.2 * clean
    grey, white = (np.full((64, 64, 3), value, np.uint8) for value in (100, 255))
    family = Lighting()
    brighter = 0
    for seed in range(20):
        family.apply(env.scene, 1.0, np.random.default_rng(seed))
        gain = family.post(grey, None, 0) > 100
        assert (family.post(white, None, 0)[gain] == 255).all()
        brighter += gain.any()
    assert brighter > 2


# -- background ------------------------------------------------------------------------------------


def test_the_sky_that_is_looked_up_is_the_one_that_is_drawn(cartpole):
    """Whichever way the camera looks, with faces that tell left from right and up from down."""
    env = PixelEnv(cartpole)
    env.reset(0)
    scene, model = env.scene, env.scene.model
    box = int(np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)[0])
    size, start = model.tex_width[box], model.tex_adr[box]
    faces = model.tex_data[start : start + 6 * size * size * 3].reshape(6, size, size, 3)
    ramp = np.linspace(20, 230, size).astype(np.uint8)
    for i, face in enumerate(faces):
        face[..., 0], face[..., 1], face[..., 2] = 40 * i + 10, ramp, ramp[:, None]
    mujoco.mjr_uploadTexture(model, env._renderer._context, box)
    model.geom_rgba[:, 3] = 0
    for yaw, pitch in ((0, 10), (100, -20), (190, 0), (280, 5), (30, 80), (60, -75)):
        turn = np.empty(4)
        mujoco.mju_euler2Quat(turn, np.deg2rad([yaw, 90 + pitch, 0]), "ZXY")
        model.cam_quat[scene.camera] = turn
        frame = env.draw()
        looked_up = scene.sky()
        difference = np.abs(frame.astype(int) - looked_up)
        assert looked_up.std() > 5
        # Where two faces meet, half a texel decides.
        assert (difference.max(-1) < 8).mean() > 0.95, (yaw, pitch)
    env.close()


@pytest.mark.parametrize("level", ["mild", "moderate", "severe", "extreme"])
def test_the_background_leaves_what_stands_before_it(shift_envs, level):
    env = shift_envs["finger_spin"]
    model = env.scene.model
    clean = env.reset(0)
    model.geom_rgba[:, 3] = 0
    bodies = np.abs(clean.astype(int) - env.draw()).max(-1) > 8
    env.reset(0)
    planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    model.geom_rgba[planes, 3] = 0
    floor = np.abs(clean.astype(int) - env.draw()).max(-1) > 8
    bodies &= ~floor
    assert bodies.sum() > 50
    assert floor.sum() > 500

    frame = env.reset(0, Shift("background", level, LEVELS[level]), 1)
    assert (frame == clean).all(-1)[bodies].mean() > 0.9
    kept = (frame == clean).all(-1)[floor].mean()
    assert kept < 0.1 if level in ("severe", "extreme") else kept > 0.9
    assert (frame[:10] != clean[:10]).any(-1).mean() > 0.9


@pytest.mark.parametrize(("level", "moves"), [("moderate", False), ("severe", True)])
def test_the_background_moves_from_severe_on(shift_envs, level, moves):
    env = shift_envs["cartpole_balance"]
    frames = [env.reset(0, Shift("background", level, LEVELS[level]), 2)]
    for _ in range(5):
        frames.append(env.step(np.zeros(1))[0])
    corner = np.array(frames)[:, :8, :8]  # the cart never gets there
    assert (corner != corner[0]).any() == moves


def test_the_background_scrolls_without_end(shift_envs):
    env = shift_envs["cartpole_balance"]
    family, depth = background.Background(), np.ones((64, 64), np.float32)
    family.apply(env.scene, 1.0, np.random.default_rng(0))
    shown = [family.post(np.zeros((64, 64, 3), np.uint8), depth, t) for t in range(0, 2000, 37)]
    assert all(frame.shape == (64, 64, 3) for frame in shown)
    assert np.mean([frame.mean() for frame in shown]) > 10


def test_a_scene_without_a_sky_is_black_behind():
    bare = mujoco.MjModel.from_xml_string("<mujoco/>")
    assert skybox(bare, 64).shape == (6, 1, 1, 3)
    assert not skybox(bare, 64).any()


# -- texture ---------------------------------------------------------------------------------------


def test_textures_leave_the_sky(shift_envs):
    env = shift_envs["cartpole_balance"]
    clean = env.reset(0)
    frame = env.reset(0, Shift("texture", "extreme", 1.0), 3)
    assert (frame[:8] == clean[:8]).all()
    assert (frame[-16:] != clean[-16:]).any(-1).mean() > 0.9


LOOKS = """
<mujoco>
  <asset>
    <texture name="red" type="2d" builtin="flat" width="4" height="4" rgb1="1 0 0"/>
    <material name="tinted" texture="red" rgba=".5 1 1 1"/>
    <material name="glass" rgba=".2 .4 .6 .3"/>
  </asset>
  <worldbody>
    <geom type="plane" size="1 1 1" material="tinted"/>
    <geom type="box" size="1 1 1" material="glass"/>
    <geom type="sphere" size="1" material="glass"/>
    <geom type="sphere" size="1" rgba="0 1 0 1"/>
    <geom type="sphere" size="1" rgba="0 1 0 0"/>
    <geom type="sphere" size="1" group="3"/>
  </worldbody>
</mujoco>
"""


class FewSpares:
    """What the family needs of a scene, with one spare material of each kind."""

    spare_2d, spare_cube = (0,), (1,)

    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(LOOKS)
        self.surfaces = Surfaces(self)
        self.painted = {}

    def update(self):
        pass

    def seen(self):
        return np.full((16, 16), -1)

    def texture_size(self, material):
        return 16

    def set_texture(self, material, rgb):
        self.painted[material] = rgb


def test_geoms_are_grouped_by_their_look():
    surfaces = FewSpares().surfaces
    planes, solids = surfaces.looks()
    assert [geoms.tolist() for geoms in planes] == [[0]]
    assert [geoms.tolist() for geoms in solids] == [[1, 2], [3]]  # what is not seen is left out
    assert surfaces.solids().tolist() == [1, 2, 3]


def test_a_surfaces_own_colours_are_those_that_are_drawn():
    surfaces = FewSpares().surfaces
    for geom, drawn in ((0, (0.5, 0, 0)), (1, (0.2, 0.4, 0.6)), (3, (0, 1, 0))):
        colour, texels = surfaces.own(geom, 8)
        assert (texels is not None) == (geom == 0)
        if texels is not None:
            assert (texels.shape, texels.dtype) == ((8, 8, 3), np.uint8)
            colour = colour * (texels / 255)
        np.testing.assert_allclose(colour, np.broadcast_to(drawn, colour.shape), atol=1e-6)
        assert surfaces.luma(geom) == pytest.approx(np.dot(drawn, LUMA), abs=1e-6)


def test_glass_stays_glass_and_many_looks_share_the_spare_materials():
    scene = FewSpares()
    texture.Texture().apply(scene, 1.0, np.random.default_rng(0))
    assert scene.model.geom_matid[:4].tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(scene.model.geom_rgba[:4, 3], (1, 0.3, 0.3, 1))
    shapes = {material: rgb.shape for material, rgb in scene.painted.items()}
    assert shapes == {0: (16, 16, 3), 1: (16, 16, 3)}


@pytest.mark.parametrize(("floor", "solids_are_lighter"), [((0.1, 0, 0), True), ((1, 1, 1), False)])
@pytest.mark.parametrize("severity", SHIFTED.values())
def test_solids_keep_their_side_of_the_floor(floor, solids_are_lighter, severity):
    for seed in range(10):
        scene = FewSpares()
        scene.model.geom_matid[0] = -1
        scene.model.geom_rgba[0, :3] = floor
        texture.Texture().apply(scene, severity, np.random.default_rng(seed))
        ground, solids = (scene.painted[i] @ LUMA for i in (0, 1))
        gap = solids.min() - ground.max() if solids_are_lighter else ground.min() - solids.max()
        assert gap > 0.1 * 255
