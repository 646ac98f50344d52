"""Family ``background``: a procedural picture behind the scene, and from `FLOOR_FROM` on under it.

The picture replaces the pixels where the depth image says that nothing stands, as the video
backgrounds of DMC-GB do (Hansen & Wang 2021, arXiv 2011.13389: behind the sky when easy, behind sky
and floor when hard). It is made once an episode; a frame costs one addition and one masked copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from shiftbench.shifts import patterns
from shiftbench.shifts.base import ShiftFamily

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: The severities of the tables below; between them values are interpolated.
SEVERITY = (0.0, 0.25, 0.5, 0.75, 1.0)

#: Share of the picture in its mixture with the clean sky. Ours.
OPACITY = (0.0, 0.25, 0.45, 0.65, 0.9)

#: Speed of the picture in frame widths per agent step. Ours: still up to ``moderate``.
SPEED = (0.0, 0.0, 0.0, 0.01, 0.02)

#: Severity from which the floor gives way to the picture, as in DMC-GB's hard set.
FLOOR_FROM = 0.75

#: Types of geoms that are floors and walls: planes and terrain.
GROUND = (int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD))

#: Darkest and lightest luma of the picture's palette, and its saturation. Bodies of dm_control are
#: mostly lighter than this when lit, so that they stay visible. Ours.
LUMA, SATURATION = (0.08, 0.45), 0.5

#: How much a second pattern darkens the first at most, like shade on a wall. Ours.
SHADE = 0.5


class Background(ShiftFamily):
    """Puts a picture behind the scene."""

    needs_depth = True
    _faces: np.ndarray | None = None

    def apply(self, scene: Scene, severity: float, rng: np.random.Generator) -> None:
        opacity, speed = (float(np.interp(severity, SEVERITY, t)) for t in (OPACITY, SPEED))
        height, width = scene.height, scene.width
        self._size = size = max(height, width)
        picture = (
            patterns.colour(
                patterns.field(rng, size), patterns.palette(rng, LUMA, saturation=SATURATION)
            )
            * (1 - SHADE * patterns.field(rng, size))[..., None]
        )
        # The mixture's two parts. Both are rounded down, so that their sum cannot exceed 255.
        if self._faces is None:  # it never changes, and costs more than all the rest
            self._faces = skybox(scene)
        self._sky = ((1 - opacity) * sky(scene, self._faces)).astype(np.uint8)
        self._picture = np.tile((opacity * picture).astype(np.uint8), (2, 2, 1))
        heading = rng.uniform(0, 2 * np.pi)
        self._velocity = speed * size * np.array([np.sin(heading), np.cos(heading)])
        if severity >= FLOOR_FROM:
            model = scene.model
            model.geom_rgba[np.isin(model.geom_type, GROUND), 3] = 0

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        y, x = (self._velocity * t % self._size).astype(int)
        height, width = depth.shape
        behind = self._sky + self._picture[y : y + height, x : x + width]
        np.copyto(rgb, behind, where=(depth == 1)[..., None])
        return rgb


def skybox(scene: Scene) -> np.ndarray:
    """Return the six faces of the scene's sky: float32 (6, N, N, 3), black without one.

    They are reduced by an integer factor to about the resolution of a frame, as the renderer's
    mipmaps are; the specks on dm_control's sky would otherwise be picked out whole.
    """
    model = scene.model
    boxes = np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    if not len(boxes):
        return np.zeros((6, 1, 1, 3), np.float32)
    size = int(model.tex_width[boxes[0]])
    # A frame of dm_control's usual 45° spans about 0.4 of a face.
    most = max(1, size // (2 * scene.height))
    factor = max(k for k in range(1, most + 1) if size % k == 0)
    start = model.tex_adr[boxes[0]]
    texels = model.tex_data[start : start + 6 * size * size * 3]
    blocks = texels.reshape(6, size // factor, factor, size // factor, factor, 3)
    return blocks.mean((2, 4), dtype=np.float32)


def sky(scene: Scene, faces: np.ndarray) -> np.ndarray:
    """Return the clean sky as the scene's camera sees it now.

    The renderer cannot draw the sky and read a usable depth in one pass, so the sky is looked up
    here, one ray a pixel, by the rules for cube maps of OpenGL 4.6, section 8.13.

    Args:
        scene: gives the camera.
        faces: float (6, N, N, 3), from `skybox`.

    Returns:
        float (H, W, 3) in [0, 255].
    """
    scene.update()
    camera = scene.mjv.camera[0]
    forward, up = np.asarray(camera.forward), np.asarray(camera.up)
    tall = np.linspace(camera.frustum_top, camera.frustum_bottom, 2 * scene.height + 1)[1::2]
    # A camera without intrinsics of its own leaves the width to the shape of the frame.
    half = camera.frustum_width or (
        0.5 * scene.width / scene.height * (camera.frustum_top - camera.frustum_bottom)
    )
    wide = np.linspace(-half, half, 2 * scene.width + 1)[1::2] + camera.frustum_center
    rays = camera.frustum_near * forward + tall[:, None, None] * up
    rays = rays + wide[:, None] * np.cross(forward, up)

    # MuJoCo turns the box so that its second axis points up.
    x, y, z = rays[..., 0], rays[..., 2], -rays[..., 1]
    axis = np.abs([x, y, z]).argmax(0)
    major = np.choose(axis, (x, y, z))
    sign = np.sign(major)
    u = np.choose(axis, (-sign * z, x, sign * x)) / np.abs(major)
    v = np.choose(axis, (-y, sign * z, -y)) / np.abs(major)
    size = faces.shape[1]
    column, row = (((0.5 + 0.5 * a) * size).astype(int).clip(0, size - 1) for a in (u, v))
    return faces[2 * axis + (sign < 0), row, column]
