"""Scenes → arrays on disk, rendered in shards that do not depend on one another.

A shard is drawn from a seed of its own name, so shards can be made in any order, by several
processes, or again, and come out the same. Each has its own textures.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from shiftbench import files, seeding
from shiftbench.envs import gl
from shiftbench.pretrain import scenes, textures

#: Height and width of a frame in pixels.
SIZE = 64
#: Scenes and backgrounds in a shard: 16 MiB and 1.5 MiB.
SCENES, BACKGROUNDS = 500, 128
#: Channels of a stored scene: two appearances, part numbers, inverse depth.
FIRST, SECOND, PARTS, DEPTH, CHANNELS = slice(0, 3), slice(3, 6), 6, 7, 8
#: Stored inverse depth of a surface as far away as the point that the camera looks at.
DEPTH_UNIT = 100
#: Part numbers of what is no object; objects count from 2.
SKY, FLOOR = 0, 1

_FLAT, _FLAT_SIZE, _SOLID, _SOLID_SIZE = 96, 64, 48, 32
_MAX_PARTS = 60


def _model(rng: np.random.Generator) -> mujoco.MjModel:
    """Return a model of nothing but materials, filled with fresh textures."""
    assets = [
        f'<texture name="t{i}" type="{"2d" if i < _FLAT else "cube"}" builtin="flat" '
        f'width="{s}" height="{s if i < _FLAT else 6 * s}"/>'
        f'<material name="m{i}" texture="t{i}"/>'
        for i, s in enumerate([_FLAT_SIZE] * _FLAT + [_SOLID_SIZE] * _SOLID)
    ]
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco>
          <visual>
            <global offwidth="{SIZE}" offheight="{SIZE}"/>
            <quality shadowsize="0" offsamples="0" numslices="14" numstacks="8" numquads="4"/>
          </visual>
          <asset>{"".join(assets)}</asset>
          <worldbody><geom size="1"/></worldbody>
        </mujoco>"""
    )
    model.stat.extent, model.vis.map.znear, model.vis.map.zfar = 1.0, 0.05, 60.0
    for i in range(model.ntex):
        side = int(model.tex_width[i])
        faces = model.tex_height[i] // side
        # One picture for all faces of a cube keeps its edges from betraying the object.
        image = np.tile(textures.texture(rng, side), (faces, 1, 1))
        start = model.tex_adr[i]
        model.tex_data[start : start + image.size] = image.ravel()
        if i < _FLAT:
            model.mat_texrepeat[i] = np.exp(rng.uniform(np.log(0.4), np.log(3.0)))
            model.mat_texuniform[i] = 1
    return model


class Painter:
    """Draws layouts, writing MuJoCo's abstract scene directly: no model and no physics a scene."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._model = _model(rng)
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._scene = mujoco.MjvScene(self._model, maxgeom=_MAX_PARTS + 1)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._camera = mujoco.MjvCamera()
        self._context = gl.drawing_context(self._model)
        self._window = mujoco.MjrRect(0, 0, SIZE, SIZE)

    def close(self) -> None:
        """Free the graphics side."""
        self._context.free()

    def place(self, layout: scenes.Layout) -> None:
        """Set geometry and camera."""
        scene, parts = self._scene, layout.parts
        for i, part in enumerate(parts):
            self._put(i, part.kind, part.size, part.position, part.rotation, i + FLOOR)
        scene.ngeom = len(parts)
        if layout.floor:
            # A flat box takes any material; a plane is compiled with the model's.
            size = np.array([layout.floor, layout.floor, 0.01])
            below = np.array([0.0, 0.0, -0.01])
            self._put(len(parts), scenes.BOX, size, below, np.eye(3), FLOOR - 1)
            scene.ngeom += 1
        self._model.vis.global_.fovy = layout.fovy
        camera = self._camera
        camera.lookat[:] = layout.lookat
        camera.distance, camera.azimuth = layout.distance, layout.azimuth
        camera.elevation = layout.elevation
        mujoco.mjv_updateCamera(self._model, self._data, camera, scene)

    def place_next(self, rng: np.random.Generator) -> tuple[scenes.Layout, np.ndarray]:
        """Set the next random layout whose objects can be seen, and return it with its `numbers`.

        Their pixels are then 1 to 70 % of the picture's.
        """
        while True:
            layout = scenes.layout(rng)
            if len(layout.parts) > _MAX_PARTS:
                continue
            self.place(layout)
            numbers = self.numbers()
            if 0.01 <= (numbers > FLOOR).mean() <= 0.7:
                return layout, numbers

    def dress_next(self, layout: scenes.Layout, rng: np.random.Generator) -> None:
        """Set a random appearance of the layout that was placed."""
        self.dress(scenes.appearance(rng, len(layout.parts), _FLAT, _SOLID))

    def _put(self, i, kind, size, position, rotation, number) -> None:
        geom = self._scene.geoms[i]
        mujoco.mjv_initGeom(
            geom, kind, size, position, rotation.ravel(), np.ones(4, dtype=np.float32)
        )
        # Drawn as number + 1 in the red channel of the pass that draws numbers.
        geom.segid = number
        geom.category = mujoco.mjtCatBit.mjCAT_DYNAMIC

    def dress(self, look: scenes.Appearance) -> None:
        """Set surfaces and lights."""
        scene = self._scene
        for i in range(scene.ngeom):
            # The floor, where there is one, stands behind the parts, and so does its surface.
            surface, geom = look.surfaces[i], scene.geoms[i]
            geom.matid = surface.material
            geom.rgba[:3] = surface.rgb
            geom.specular, geom.shininess = surface.specular, surface.shininess
            geom.emission = surface.emission
        scene.nlight = len(look.lights)
        for light, lamp in zip(look.lights, scene.lights, strict=False):
            lamp.headlight = light.head
            kind = mujoco.mjtLightType
            lamp.type = kind.mjLIGHT_DIRECTIONAL if light.directional else kind.mjLIGHT_SPOT
            lamp.pos[:] = scene.camera[0].pos if light.head else light.position
            lamp.dir[:] = scene.camera[0].forward if light.head else light.direction
            lamp.ambient[:], lamp.diffuse[:] = light.ambient, light.diffuse
            lamp.specular[:] = light.specular
            lamp.attenuation[:] = (1.0, 0.0, 0.0)
            lamp.cutoff, lamp.exponent, lamp.castshadow = 60.0, 2.0, 0
            lamp.texid = -1

    def numbers(self) -> np.ndarray:
        """Return part numbers, uint8 (SIZE, SIZE)."""
        flags = self._scene.flags
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            flags[flag] = 1
        image, _ = self._draw(None)
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            flags[flag] = 0
        return image[..., 0]

    def frame(self) -> np.ndarray:
        """Return the picture, uint8 (SIZE, SIZE, 3), black where nothing is."""
        return self._draw(None)[0]

    def frame_and_depth(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture and stored inverse depth, uint8 (SIZE, SIZE), 0 where nothing is."""
        depth = np.empty((SIZE, SIZE), np.float32)
        image, depth = self._draw(depth)
        camera = self._scene.camera[0]
        near, far = camera.frustum_near, camera.frustum_far
        metres = near * far / (far - depth * (far - near))
        stored = np.clip(DEPTH_UNIT * self._camera.distance / metres, 1, 255)
        return image, np.where(depth < 1.0, stored, 0.0).astype(np.uint8)

    def _draw(self, depth: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        image = np.empty((SIZE, SIZE, 3), np.uint8)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjr_render(self._window, self._scene, self._context)
        mujoco.mjr_readPixels(image, depth, self._window, self._context)
        # OpenGL's first row is the bottom one.
        return image[::-1], None if depth is None else depth[::-1]


def render(seed: int, index: int, count: int = SCENES) -> tuple[np.ndarray, np.ndarray]:
    """Draw one shard.

    Args:
        seed: seed of the whole pre-training run.
        index: number of the shard.
        count: number of scenes.

    Returns:
        Scenes, uint8 (count, CHANNELS, SIZE, SIZE), and backgrounds, uint8
        (BACKGROUNDS, 3, SIZE, SIZE).

    Raises:
        ShiftBenchError: no OpenGL backend works.
    """
    rng = seeding.rng(seeding.seed_of("pretrain", seed, "shard", index))
    pictures = np.stack([textures.background(rng, SIZE) for _ in range(BACKGROUNDS)])
    gl.make_current()
    painter = Painter(rng)
    out = np.empty((count, CHANNELS, SIZE, SIZE), np.uint8)
    for record in out:
        layout, record[PARTS] = painter.place_next(rng)
        painter.dress_next(layout, rng)
        image, record[DEPTH] = painter.frame_and_depth()
        record[FIRST] = image.transpose(2, 0, 1)
        painter.dress_next(layout, rng)
        record[SECOND] = painter.frame().transpose(2, 0, 1)
    painter.close()
    return out, np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


def write(folder: Path, seed: int, index: int) -> None:
    """Render shard ``index`` into ``folder`` unless its files are there already.

    Raises:
        ShiftBenchError: the folder cannot be written, or no OpenGL backend works.
    """
    paths = paths_of(folder, index)
    if all(path.exists() for path in paths):
        return
    for path, array in zip(paths, render(seed, index), strict=True):
        with files.replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, array)


def paths_of(folder: Path, index: int) -> tuple[Path, Path]:
    """Return the files of a shard: scenes and backgrounds."""
    return folder / f"scenes-{index:05d}.npy", folder / f"backgrounds-{index:05d}.npy"
