"""The sky as a camera sees it, looked up instead of drawn.

The renderer cannot draw the sky and read a usable depth in one pass (the sky leaves depths below
1), so where depth is wanted the sky is put in afterwards, one ray a pixel.
"""

from __future__ import annotations

import mujoco
import numpy as np

#: Three bytes as one item: NumPy copies pixels under a mask ten times faster than channels.
_PIXEL = np.dtype((np.void, 3))


def put(rgb: np.ndarray, picture: np.ndarray, where: np.ndarray) -> None:
    """Copy the pixels of ``picture`` into ``rgb`` where bool (H, W) ``where`` holds.

    Both are uint8 (H, W, 3) with contiguous pixels.
    """
    rgb.view(_PIXEL)[..., 0][where] = picture.view(_PIXEL)[..., 0][where]


def skybox(model: mujoco.MjModel, height: int) -> np.ndarray:
    """Return the six faces of a model's sky: uint8 (6, N, N, 3), black without one.

    They are reduced by an integer factor to about the resolution of a frame of ``height`` pixels,
    as the renderer's mipmaps are; the specks on dm_control's sky would otherwise be picked out
    whole.
    """
    boxes = np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    if not len(boxes):
        return np.zeros((6, 1, 1, 3), np.uint8)
    size = int(model.tex_width[boxes[0]])
    # A frame of dm_control's usual 45° spans about 0.4 of a face.
    most = max(1, size // (2 * height))
    factor = max(k for k in range(1, most + 1) if size % k == 0)
    start = model.tex_adr[boxes[0]]
    texels = model.tex_data[start : start + 6 * size * size * 3]
    blocks = texels.reshape(6, size // factor, factor, size // factor, factor, 3)
    return blocks.mean((2, 4), dtype=np.float32).astype(np.uint8)


class Sky:
    """The sky of one scene.

    Args:
        model: gives the texture.
        height, width: size of a frame in pixels.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        self._model, self._height, self._width = model, height, width
        self._faces: np.ndarray | None = None  # made when first needed: 800 px take 30 ms
        self._view = b""
        self._seen = np.zeros((height, width, 3), np.uint8)

    def seen_by(self, camera: mujoco.MjvGLCamera) -> np.ndarray:
        """Return the sky behind a frame of this camera: uint8 (H, W, 3), not to be changed.

        A camera that does not turn sees the same sky, which is then looked up once.
        """
        frustum = (
            *(camera.frustum_top, camera.frustum_bottom, camera.frustum_near),
            *(camera.frustum_width, camera.frustum_center),
        )
        view = np.concatenate([camera.forward, camera.up, frustum]).tobytes()
        if view != self._view:
            if self._faces is None:
                self._faces = skybox(self._model, self._height)
            self._seen, self._view = self._look_up(camera), view
        return self._seen

    def _look_up(self, camera: mujoco.MjvGLCamera) -> np.ndarray:
        """Follow the rules for cube maps of OpenGL 4.6, section 8.13."""
        forward, up = np.asarray(camera.forward), np.asarray(camera.up)
        tall = np.linspace(camera.frustum_top, camera.frustum_bottom, 2 * self._height + 1)[1::2]
        # A camera without intrinsics of its own leaves the width to the shape of the frame.
        half = camera.frustum_width or (
            0.5 * self._width / self._height * (camera.frustum_top - camera.frustum_bottom)
        )
        wide = np.linspace(-half, half, 2 * self._width + 1)[1::2] + camera.frustum_center
        rays = camera.frustum_near * forward + tall[:, None, None] * up
        rays = rays + wide[:, None] * np.cross(forward, up)

        # MuJoCo turns the box so that its second axis points up.
        x, y, z = rays[..., 0], rays[..., 2], -rays[..., 1]
        axis = np.abs([x, y, z]).argmax(0)
        major = np.choose(axis, (x, y, z))
        sign = np.sign(major)
        u = np.choose(axis, (-sign * z, x, sign * x)) / np.abs(major)
        v = np.choose(axis, (-y, sign * z, -y)) / np.abs(major)
        size = self._faces.shape[1]
        column, row = (((0.5 + 0.5 * a) * size).astype(int).clip(0, size - 1) for a in (u, v))
        return self._faces[2 * axis + (sign < 0), row, column]
