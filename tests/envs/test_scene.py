"""The visual model: equal to the physics where it must be, and restored after any edit."""

from __future__ import annotations

import msgspec
import mujoco
import numpy as np
import pytest

from shiftbench.envs.pixels import PixelEnv
from shiftbench.shifts.models import SPARE_2D, SPARE_CUBE
from shiftbench.specs import Shift


def frame_of(env) -> np.ndarray:
    """Draw the scene as it now stands."""
    env.scene.update()
    return env._renderer.draw()[0]


def test_indices_and_names_equal_those_of_the_physics(envs):
    for env in envs.values():
        ours, theirs = env.scene.model, env.physics.model.ptr
        for count in ("nbody", "ngeom", "nsite", "ncam", "nlight", "ntendon", "nq", "njnt"):
            assert getattr(ours, count) == getattr(theirs, count)
        assert [ours.geom(i).name for i in range(ours.ngeom)] == [
            theirs.geom(i).name for i in range(theirs.ngeom)
        ]
        assert len(set(env.scene.spare_2d)) == SPARE_2D
        assert len(set(env.scene.spare_cube)) == SPARE_CUBE
        assert min(env.scene.spare_2d + env.scene.spare_cube) >= theirs.nmat
        for material in env.scene.spare_2d + env.scene.spare_cube:
            assert env.scene.texture_size(material) >= 24


def test_positions_equal_those_of_the_physics(envs):
    for env in envs.values():
        env.reset(1)
        env.step(np.ones(env.action_dim))
        for field in ("geom_xpos", "geom_xmat", "site_xpos", "cam_xpos", "cam_xmat", "light_xpos"):
            assert (getattr(env.scene.data, field) == getattr(env.physics.data, field)).all(), field


def test_restore_undoes_every_visual_edit(env):
    clean = env.reset(0)
    scene, model = env.scene, env.scene.model
    for name in dir(model):
        if name.startswith(("mat_", "light_", "cam_", "geom_rgba")):
            array = getattr(model, name)
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                array += 0.25
    model.geom_matid[:] = scene.spare_cube[0]
    scene.mjv.flags[:] = 0
    model.vis.headlight.diffuse[:] = 0.9
    model.vis.map.haze = 0.9
    size = scene.texture_size(scene.spare_cube[0])
    scene.set_texture(scene.spare_cube[0], np.zeros((size, size, 3), np.uint8))
    assert (frame_of(env) != clean).any()
    scene.restore()
    assert (frame_of(env) == clean).all()
    # The spare textures too: an episode must not see what an earlier one painted.
    model.geom_matid[:] = scene.spare_cube[0]
    white = frame_of(env)
    scene.restore()
    model.geom_matid[:] = scene.spare_cube[1]
    assert (frame_of(env) == white).all()
    scene.restore()


@pytest.mark.parametrize("kind", ["spare_2d", "spare_cube"])
def test_a_texture_shows_where_its_material_is_used(env, kind):
    env.reset(0)
    scene = env.scene
    material = getattr(scene, kind)[0]
    floor, cart = (scene.model.geom(name).id for name in ("floor", "cart"))
    geom = floor if kind == "spare_2d" else cart
    scene.model.geom_matid[geom] = material
    scene.model.geom_rgba[geom] = 1.0
    size = scene.texture_size(material)
    counts = []
    for colour in ((255, 0, 0), (0, 255, 0)):
        scene.set_texture(material, np.full((size, size, 3), colour, np.uint8))
        frame = frame_of(env).astype(int)
        channel = colour.index(255)
        others = np.delete(frame, channel, axis=-1).max(axis=-1)
        counts.append((frame[..., channel] > 40 + others).sum())
    assert counts[0] > 20
    assert 0.5 < counts[1] / counts[0] < 2
    scene.restore()


def test_a_wrong_texture_is_an_error(env):
    scene = env.scene
    material = scene.spare_2d[0]
    size = scene.texture_size(material)
    with pytest.raises(ValueError, match="not a spare"):
        scene.set_texture(0, np.zeros((size, size, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        scene.set_texture(material, np.zeros((size, size, 3), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        scene.set_texture(material, np.zeros((size, size + 1, 3), np.uint8))


def test_the_tendon_of_the_cup_reddens_as_in_the_physics(envs):
    env = envs["ball_in_cup_catch"]
    env.reset(0)
    limit = env.physics.model.tendon_range[0, 1]
    reds = set()
    for _ in range(30):
        env.step(np.ones(2))
        string = env.scene.mjv.geoms[env.scene.mjv.ngeom - 1]
        taut = bool(env.physics.data.ten_length[0] > limit)
        reds.add((taut, bool(string.rgba[0] > string.rgba[1])))
    assert reds == {(False, False), (True, True)}


@pytest.fixture(scope="module")
def cheetah(cartpole):
    """A task whose camera and light follow the body's centre of mass."""
    task = msgspec.structs.replace(
        cartpole, domain="cheetah", task="run", action_repeat=4, positions=()
    )
    env = PixelEnv(task)
    yield env
    env.close()


def test_a_tracking_camera_that_is_moved_still_tracks(cheetah):
    scene = cheetah.scene
    clean = cheetah.reset(0)
    assert scene.model.cam_mode[scene.camera] == mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM.value
    offset = np.array([0.5, 0.0, 0.25])
    starts = []
    for _ in range(2):
        for _ in range(20):
            cheetah.step(np.ones(cheetah.action_dim))
        before = scene.data.cam_xpos[scene.camera].copy()
        starts.append(before[0])
        scene.model.cam_pos[scene.camera] += offset
        frame = frame_of(cheetah)
        # The cheetah's body is not turned at qpos0: the offset is the same in the world.
        np.testing.assert_allclose(scene.data.cam_xpos[scene.camera], before + offset)
        assert (frame != cheetah.render()).any()
        scene.restore()
        assert (frame_of(cheetah) == cheetah.render()).all()
    assert starts[0] != starts[1]
    assert (cheetah.reset(0) == clean).all()


def test_a_tracking_camera_that_is_turned_stays_turned(cheetah):
    scene = cheetah.scene
    cheetah.reset(0)
    before = scene.data.cam_xmat[scene.camera].reshape(3, 3).copy()
    turn = np.array([np.cos(0.1), 0.0, 0.0, np.sin(0.1)])  # 0.2 rad about the line of sight
    mujoco.mju_mulQuat(
        scene.model.cam_quat[scene.camera], scene.model.cam_quat[scene.camera].copy(), turn
    )
    frame_of(cheetah)
    after = scene.data.cam_xmat[scene.camera].reshape(3, 3)
    relative = before.T @ after
    np.testing.assert_allclose(np.arctan2(relative[1, 0], relative[0, 0]), 0.2, atol=1e-6)
    scene.restore()


def test_a_tracking_light_that_is_moved_moves(cheetah):
    scene = cheetah.scene
    cheetah.reset(0)
    scene.update()
    before = scene.data.light_xpos.copy()
    scene.model.light_pos[:] += (1.0, 2.0, 3.0)
    scene.update()
    np.testing.assert_allclose(scene.data.light_xpos, before + np.array((1.0, 2.0, 3.0)))
    scene.restore()


def test_what_a_task_changes_at_reset_shows(cartpole):
    task = msgspec.structs.replace(cartpole, domain="finger", task="turn_easy", positions=())
    env = PixelEnv(task)
    target = env.scene.model.site("target").id
    seen = set()
    for seed in range(3):
        env.reset(seed, Shift("everything", "mild", 0.25), seed)
        assert (env.scene.model.site_pos == env.physics.model.site_pos).all()
        assert env.scene.model.site_rgba[target, 3] > 0
        seen.add(tuple(env.scene.data.site_xpos[target]))
    assert len(seen) == 3
    env.close()


def test_what_a_shift_costs_in_restoring(env):
    import timeit

    env.reset(0)
    assert min(timeit.repeat(env.scene.restore, number=20, repeat=5)) / 20 < 1e-3
