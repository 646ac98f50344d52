"""Scene → frame, in the process's one OpenGL context.

A render profile is part of a suite's version: it decides every pixel.

- ``fast``: a buffer of the frame's own size, no multisampling, no shadows, no reflections, round
  shapes of `SLICES` × `STACKS` facets.
- ``dm_control``: the model's own settings, which is what `dm_control`'s ``physics.render`` draws.
"""

from __future__ import annotations

import mujoco
import numpy as np

from shiftbench.envs import gl
from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.shifts.scene import Scene
from shiftbench.shifts.sky import put
from shiftbench.specs import RENDER_PROFILES

#: Facets around and along a round shape. MuJoCo's own 28 × 16 costs up to twice the time of a frame
#: in software, and of the 4096 pixels of a frame of the shipped tasks fewer than ten differ by more
#: than 8 of 255.
SLICES, STACKS = 20, 10

_SKYBOX = int(mujoco.mjtRndFlag.mjRND_SKYBOX)
#: Draw each geom in its number, without light and smoothing.
_NUMBERS = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]


class Renderer:
    """Draws one scene.

    Args:
        scene: what is drawn.
        profile: one of `shiftbench.specs.RENDER_PROFILES`.

    Raises:
        ShiftBenchError: no OpenGL backend works, no such profile, or a frame larger than the
            buffer of the ``dm_control`` profile.
    """

    def __init__(self, scene: Scene, profile: str = "fast") -> None:
        if profile not in RENDER_PROFILES:
            raise unknown("render profile", profile, RENDER_PROFILES)
        self._scene = scene
        height, width = scene.height, scene.width
        vis = scene.model.vis
        if profile == "fast":
            vis.global_.offheight, vis.global_.offwidth = height, width
            vis.quality.offsamples = vis.quality.shadowsize = 0
            vis.quality.numslices, vis.quality.numstacks = SLICES, STACKS
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                scene.mjv.flags[flag] = 0
        elif height > vis.global_.offheight or width > vis.global_.offwidth:
            raise ShiftBenchError(
                f"image size {height} is larger than the buffer of render profile 'dm_control': "
                f"at most {min(vis.global_.offheight, vis.global_.offwidth)}"
            )
        scene.set_clean()
        self._context = gl.drawing_context(scene.model)
        self._window = mujoco.MjrRect(0, 0, width, height)
        self._rgb = np.empty((height, width, 3), np.uint8)
        self._depth = np.empty((height, width), np.float32)

    def draw(self, depth: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw the scene as `Scene.update` left it.

        Args:
            depth: also read the depth image. The sky is then looked up, not drawn: the renderer's
                leaves depths below 1, and takes half a texel another way where two faces meet.

        Returns:
            uint8 (H, W, 3) and, where asked for, float32 (H, W) in [0, 1], 1 where nothing is; both
            contiguous, top row first, the caller's own.
        """
        gl.make_current()
        scene, context = self._scene, self._context
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        for texture in scene.stale_textures():
            mujoco.mjr_uploadTexture(scene.model, context, texture)
        for field in scene.stale_hfields():
            mujoco.mjr_uploadHField(scene.model, context, field)
        sky = scene.mjv.flags[_SKYBOX]
        if depth:
            scene.mjv.flags[_SKYBOX] = 0
        mujoco.mjr_render(self._window, scene.mjv, context)
        scene.mjv.flags[_SKYBOX] = sky
        mujoco.mjr_readPixels(self._rgb, self._depth if depth else None, self._window, context)
        rgb = self._rgb[::-1].copy()  # OpenGL's first row is the bottom one
        if not depth:
            return rgb, None
        far = self._depth[::-1].copy()
        put(rgb, scene.sky(), far == 1)
        return rgb, far

    def geoms(self) -> np.ndarray:
        """Return which geom of the model each pixel of the last frame drawn shows.

        Returns:
            int32 (H, W), top row first; -1 where there is none (the sky, or a site, a tendon …).
        """
        mjv = self._scene.mjv
        flags = mjv.flags.copy()
        mjv.flags[_NUMBERS], mjv.flags[_SKYBOX] = 1, 0
        rgb, _ = self.draw()
        mjv.flags[:] = flags
        # The number in the scene's list plus one, red being the lowest byte; 0 where nothing is.
        number = rgb.astype(np.int32) @ (1, 1 << 8, 1 << 16)
        known = np.full(mjv.maxgeom + 1, -1, np.int32)
        for geom in mjv.geoms[: mjv.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.segid >= 0:
                known[geom.segid + 1] = geom.objid
        return known[number]

    def close(self) -> None:
        """Free the buffers and textures on the graphics side; twice does no harm."""
        gl.make_current()
        self._context.free()
