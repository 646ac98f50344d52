"""The visual side of one environment, which shift families edit.

The scene owns a *visual* MuJoCo model of its own: the task's MJCF compiled a second time with spare
textures and materials added. The physics model is another object, so nothing done here can change a
state, a reward or the length of an episode. Every frame the physics' state is copied over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import mujoco
import numpy as np

from shiftbench.errors import ShiftBenchError
from shiftbench.shifts import solids
from shiftbench.shifts.models import check_equal, visual_model
from shiftbench.shifts.sky import Ground, Rays, Sky, rays
from shiftbench.shifts.surfaces import RGB, Surfaces

#: The groups of geoms that MuJoCo draws unless told otherwise.
_DRAWN = np.array([1, 1, 1, 0, 0, 0], np.uint8)

#: Fields of the model that decide how it looks and that a dm_control task may change at a reset
#: (targets that move or hide); the physics model's values are the clean ones.
_MIRRORED = (
    *("geom_matid", "geom_rgba", "geom_size", "geom_pos", "geom_quat", "geom_group"),
    *("site_matid", "site_rgba", "site_size", "site_pos", "site_quat", "site_group"),
    *("tendon_matid", "tendon_rgba", "tendon_width", "tendon_group"),
    *("skin_matid", "skin_rgba", "hfield_size"),
    *(
        name
        for name in dir(mujoco.MjModel)
        if name.startswith(("mat_", "light_", "cam_")) and name != "cam_ipd"
    ),
)


class Scene:
    """What a `ShiftFamily` may edit.

    Attributes:
        model: the visual `mujoco.MjModel`. Visual fields (``mat_*``, ``light_*``, ``cam_*``,
            ``geom_rgba``, ``geom_matid``, ``vis``) may be edited in place during `apply` and
            `step`; `restore` undoes every edit.
        data: its `mujoco.MjData`, a copy of the physics' data.
        mjv: the `mujoco.MjvScene` that is drawn; its ``flags`` are restored too.
        camera: index of the camera that is rendered; -1 is MuJoCo's free camera.
        height, width: size of a frame in pixels.
        spare_2d: material ids with a square 2-D texture of their own, for planes.
        spare_cube: material ids with a cube texture of their own, for solids.
        surfaces: what its geoms look like.
        solids: what stands in a frame and in no model; hidden unless a family shows it.

    Args:
        xml: the MJCF that the physics was compiled from.
        assets: file name → contents of what the MJCF includes.
        physics: dm_control physics; read, never written.
        camera: name or index of the camera.
        height, width: size of a frame in pixels.

    Raises:
        ShiftBenchError: the camera does not exist.
    """

    def __init__(
        self,
        xml: str,
        assets: Mapping[str, bytes],
        physics,
        camera: int | str,
        height: int,
        width: int,
    ) -> None:
        self.model, self.spare_2d, self.spare_cube = visual_model(xml, assets)
        # MuJoCo places two eyes and draws the view from between them; families read and move one.
        self.model.vis.global_.ipd = 0.0
        self.model.cam_ipd[:] = 0.0
        self.data = mujoco.MjData(self.model)
        self.height, self.width = height, width
        clean, self._live = physics.model.ptr, physics.data.ptr
        check_equal(clean, self.model)
        self.camera = _camera_id(self.model, camera)
        self.mjv = mujoco.MjvScene(self.model, maxgeom=_max_geoms(self.model))
        self._option = mujoco.MjvOption()
        self._option.flags[mujoco.mjtVisFlag.mjVIS_RANGEFINDER] = 0  # as dm_control draws
        self.solids = solids.Solids(self.model, self.mjv, self._option)
        self._view = mujoco.MjvCamera()
        if self.camera >= 0:
            self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
            self._view.fixedcamid = self.camera
        else:
            mujoco.mjv_defaultFreeCamera(self.model, self._view)
        self._perturb = mujoco.MjvPerturb()
        self._mirrored = _mirrored(self.model, clean)
        # Rows of the spare materials, which the physics model lacks.
        self._spare_rows = [
            (array[clean.nmat :], array[clean.nmat :].copy())
            for array in (getattr(self.model, n) for n in _MIRRORED if n.startswith("mat_"))
        ]
        self.surfaces = Surfaces(self)
        self.set_clean()
        self._tracked = _tracked(self.model, self.data, clean, self.camera)
        self._texture_of = {
            m: int(self.model.mat_texid[m, RGB])
            for m in (*self.spare_2d, *self.spare_cube, self.solids.material)
        }
        self._clean = clean
        seen_along = Rays(height, width)
        self._sky = Sky(self.model, seen_along)
        self._ground = Ground(self.model, seen_along)
        self._stale_hfields: list[int] = []
        self._filled: set[int] = set()
        self._stale: set[int] = set()

    def set_texture(self, material: int, rgb: np.ndarray) -> None:
        """Fill the texture of a spare material; uploaded before the next frame.

        Args:
            material: an id from `spare_2d` or `spare_cube`, or that of the `solids`.
            rgb: uint8 (S, S, 3) with S the size of that texture; all six faces of a cube get it.

        Raises:
            ValueError: another material, or an image of another shape or type.
        """
        if material not in self._texture_of:
            raise ValueError(f"material {material} is not a spare one")
        pixels = self._texture(material)
        if rgb.dtype != np.uint8 or rgb.shape != pixels.shape[1:]:
            raise ValueError(
                f"the texture must be uint8 {pixels.shape[1:]}, not {rgb.dtype} {rgb.shape}"
            )
        pixels[:] = rgb
        self._filled.add(material)
        self._stale.add(material)

    def texture_size(self, material: int) -> int:
        """Return the size in pixels S of a spare material's texture."""
        return self._texture(material).shape[1]

    def stale_textures(self) -> list[int]:
        """Return the ids of the textures that changed since the last call, for the renderer."""
        stale = [self._texture_of[material] for material in sorted(self._stale)]
        self._stale.clear()
        return stale

    def stale_hfields(self) -> list[int]:
        """Return the ids of the height fields that changed since the last call."""
        stale, self._stale_hfields = self._stale_hfields, []
        return stale

    def set_clean(self) -> None:
        """Take the present drawing flags and ``vis`` settings as the clean ones."""
        self._flags = self.mjv.flags.copy()
        self._vis = _read_vis(self.model)

    def restore(self) -> None:
        """Undo every edit: the next frame is bit-identical to the clean one."""
        for edited, clean in self._mirrored:
            edited[...] = clean
        for edited, clean in self._spare_rows:
            edited[...] = clean
        if not np.array_equal(self.model.hfield_data, self._clean.hfield_data):
            self.model.hfield_data[:] = self._clean.hfield_data
            self._stale_hfields = list(range(self.model.nhfield))
        for material in self._filled:
            self._texture(material)[:] = 255
        self._stale |= self._filled
        self._filled.clear()
        self.mjv.flags[:] = self._flags
        self.solids.hide()
        self.surfaces.restore()
        for group, field, value in self._vis:
            setattr(group, field, value)

    def sync(self) -> None:
        """Copy the physics' present state; nothing is drawn yet.

        All of it, in 6 µs: what is drawn depends on more than positions (a tendon reddens as its
        limit pulls).
        """
        mujoco.mj_copyData(self.data, self.model, self._live)

    def update(self) -> None:
        """Place cameras and lights and fill `mjv` with the present look."""
        for follow in self._tracked:
            follow()
        mujoco.mj_camlight(self.model, self.data)
        mujoco.mjv_updateScene(
            self.model,
            self.data,
            self._option,
            self._perturb,
            self._view,
            mujoco.mjtCatBit.mjCAT_ALL,
            self.mjv,
        )

    def add_geom(
        self,
        kind: mujoco.mjtGeom,
        size: np.ndarray,
        pos: np.ndarray,
        mat: np.ndarray,
        rgba: np.ndarray,
    ) -> mujoco.MjvGeom:
        """Add a geom to the present frame, and to no model; for `ShiftFamily.decorate`.

        Args:
            kind: a primitive shape.
            size: float64 (3,), half sizes as in a model.
            pos: float64 (3,), in the world.
            mat: float64 (9,), its axes in the world, row by row.
            rgba: float32 (4,) in [0, 1].

        Raises:
            ValueError: the frame holds as many geoms as it can.
        """
        if self.mjv.ngeom >= self.mjv.maxgeom:
            raise ValueError(f"a frame holds {self.mjv.maxgeom} geoms at most")
        geom = self.mjv.geoms[self.mjv.ngeom]
        mujoco.mjv_initGeom(geom, kind, size, pos, mat, rgba)
        self.mjv.ngeom += 1
        return geom

    def add_lamp(self, direction: np.ndarray, diffuse: float, specular: float = 0.3) -> None:
        """Add a lamp as far away as the sun to the present frame, for `ShiftFamily.decorate`.

        Args:
            direction: float (3,), where its light goes, a unit vector.
            diffuse, specular: strength of its white light in [0, 1].

        Raises:
            ValueError: the frame holds as many lamps as it can.
        """
        if self.mjv.nlight >= len(self.mjv.lights):
            raise ValueError(f"a frame holds {len(self.mjv.lights)} lamps at most")
        lamp = self.mjv.lights[self.mjv.nlight]
        lamp.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        lamp.dir, lamp.pos = direction, 0.0
        lamp.diffuse, lamp.specular, lamp.ambient = diffuse, specular, 0.0
        lamp.attenuation, lamp.exponent, lamp.cutoff = (1.0, 0.0, 0.0), 0.0, 180.0
        lamp.headlight = lamp.castshadow = 0
        self.mjv.nlight += 1

    def seen(self, side: int = 8) -> np.ndarray:
        """Return which geom each of a grid of rays through the frame meets: int32 (side, side).

        -1 stands for none, the sky. `update` must have placed the camera.
        """
        eye = self.mjv.camera[0]
        directions = np.moveaxis(rays(eye, side, side), 0, -1).astype(np.float64)
        found = np.full(side * side, -1, np.int32)
        mujoco.mj_multiRay(
            self.model,
            self.data,
            np.asarray(eye.pos, np.float64),
            directions.ravel(),
            _DRAWN,
            True,
            -1,
            found,
            np.empty(side * side),
            None,
            side * side,
            mujoco.mjMAXVAL,
        )
        return found.reshape(side, side)

    def sky(self) -> np.ndarray:
        """Return the clean sky behind the present frame: uint8 (H, W, 3), not to be changed."""
        return self._sky.seen_by(self.mjv.camera[0])

    def sky_colour(self) -> np.ndarray:
        """Return the mean of the clean sky where the camera looks: float (3,) in [0, 255]."""
        return self._sky.colour(self.mjv.camera[0])

    def ground(self, depth: np.ndarray) -> np.ndarray:
        """Return where the present frame, with its ``depth``, shows the ground: bool (H, W)."""
        return self._ground.seen_by(self.mjv.camera[0], depth)

    def floors(self) -> list[float]:
        """Return the heights of the horizontal planes under the present frame's camera."""
        return [h for h in self._ground.heights.tolist() if h < self.mjv.camera[0].pos[2]]

    def _texture(self, material: int) -> np.ndarray:
        """Return the texture of a spare material: a view, uint8 (faces, S, S, 3)."""
        texture = self._texture_of[material]
        size = self.model.tex_width[texture]
        start = self.model.tex_adr[texture]
        stop = start + size * self.model.tex_height[texture] * 3
        return self.model.tex_data[start:stop].reshape(-1, size, size, 3)


def _camera_id(model: mujoco.MjModel, camera: int | str) -> int:
    """Return the index of a camera given by name or index; -1 is the free one."""
    names = [model.camera(i).name for i in range(model.ncam)]
    if isinstance(camera, str):
        if camera in names:
            return names.index(camera)
    elif -1 <= camera < model.ncam:
        return camera
    raise ShiftBenchError(
        f"camera {camera!r} does not exist. Valid: -1 to {model.ncam - 1}, "
        f"or a name: {', '.join(n for n in names if n) or 'none'}"
    )


def _max_geoms(model: mujoco.MjModel) -> int:
    """Room for everything that the default options draw, and for what a family adds."""
    return 1000 + 3 * (model.ngeom + model.nsite) + 2 * model.nwrap + model.nlight


def _mirrored(model: mujoco.MjModel, clean: mujoco.MjModel) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (array of ours, the physics' array) for the non-empty ones of `_MIRRORED`.

    Spare materials come last, so an array of ours is cut to the physics' length.
    """
    return [
        (getattr(model, name)[: len(getattr(clean, name))], getattr(clean, name))
        for name in _MIRRORED
        if getattr(clean, name).size
    ]


def _read_vis(model: mujoco.MjModel) -> list[tuple[object, str, object]]:
    """Return every field of ``model.vis`` and ``model.stat`` as (group, field, value)."""
    vis = model.vis
    fields = []
    for group in (
        *(vis.global_, vis.headlight, vis.map, vis.quality, vis.rgba, vis.scale),
        model.stat,
    ):
        for field in (name for name in dir(group) if not name.startswith("_")):
            value = getattr(group, field)
            fields.append((group, field, value.copy() if isinstance(value, np.ndarray) else value))
    return fields


def _tracked(
    model: mujoco.MjModel, data: mujoco.MjData, clean: mujoco.MjModel, camera: int
) -> list[Callable[[], None]]:
    """Return what makes edits of tracking cameras and lights take effect.

    In the modes ``track`` and ``trackcom`` MuJoCo ignores ``cam_pos`` and keeps the offset in the
    world frame that the camera had at ``qpos0`` (``cam_pos0``, ``cam_poscom0``, ``cam_mat0``). The
    functions returned here move those by the edit, turned into the world frame at ``qpos0``.
    """
    mujoco.mj_kinematics(model, data)  # a new MjData stands at qpos0
    modes = (int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK), int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM))

    def follow(kind: str, i: int, turn: np.ndarray) -> None:
        pos, pos0, com0 = (f"{kind}_{field}" for field in ("pos", "pos0", "poscom0"))
        offset = turn @ (getattr(model, pos)[i] - getattr(clean, pos)[i])
        getattr(model, pos0)[i] = getattr(clean, pos0)[i] + offset
        getattr(model, com0)[i] = getattr(clean, com0)[i] + offset
        if kind == "light":
            if (model.light_dir[i] != clean.light_dir[i]).any():
                model.light_dir0[i] = turn @ model.light_dir[i]
        elif (model.cam_quat[i] != clean.cam_quat[i]).any():
            own = np.empty(9)
            mujoco.mju_quat2Mat(own, model.cam_quat[i])
            model.cam_mat0[i] = (turn @ own.reshape(3, 3)).ravel()

    found = [("light", i) for i in range(model.nlight) if model.light_mode[i] in modes]
    if camera >= 0 and model.cam_mode[camera] in modes:
        found.append(("cam", camera))
    return [
        partial(
            follow, kind, i, data.xmat[getattr(model, f"{kind}_bodyid")[i]].reshape(3, 3).copy()
        )
        for kind, i in found
    ]
