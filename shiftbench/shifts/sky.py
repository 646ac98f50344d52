"""What stands behind everything else as a camera sees it: the sky, and where the ground is.

The renderer cannot draw the sky and read a usable depth in one pass (the sky leaves depths below
1), so where depth is wanted the sky is looked up and put in afterwards, one ray a pixel. The ground
is what lies at the height of a horizontal plane.
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


def rays(camera: mujoco.MjvGLCamera, height: int, width: int) -> np.ndarray:
    """Return the ray through the middle of each pixel, of depth 1: float32 (3, H, W)."""
    right, up, forward = axes = np.array([(0.0, 0.0, 0.0), camera.up, camera.forward])
    mujoco.mju_cross(right, forward, up)
    top, bottom = camera.frustum_top, camera.frustum_bottom
    tall = top + (bottom - top) / height * (np.arange(height) + 0.5)
    # A camera without intrinsics of its own leaves the width to the shape of the frame.
    half = camera.frustum_width or (
        0.5 * width / height * (camera.frustum_top - camera.frustum_bottom)
    )
    wide = half / width * (2 * np.arange(width) + 1 - width) + camera.frustum_center
    right, up, forward = (axes / [[camera.frustum_near], [camera.frustum_near], [1.0]])[..., None]
    across, upright = right * wide, forward + up * tall
    return upright.astype(np.float32)[:, :, None] + across.astype(np.float32)[:, None]


class Rays:
    """The rays of the present camera, found once for all who ask.

    Args:
        height, width: size of a frame in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.size = height, width
        self._view = b""
        self._rays = np.zeros((3, height, width), np.float32)

    def of(self, camera: mujoco.MjvGLCamera) -> np.ndarray:
        """Return `rays`; the same array for as long as the camera does not turn."""
        frustum = (
            *(camera.frustum_top, camera.frustum_bottom, camera.frustum_near),
            *(camera.frustum_width, camera.frustum_center),
        )
        view = np.concatenate([camera.forward, camera.up, frustum]).tobytes()
        if view != self._view:
            self._rays, self._view = rays(camera, *self.size), view
        return self._rays


class Ground:
    """The horizontal planes of one scene.

    Args:
        model: gives them.
        rays: of the scene's camera.
    """

    #: How far from its plane a pixel of the ground may be found, in extents of the model.
    TOLERANCE = 0.005

    def __init__(self, model: mujoco.MjModel, rays: Rays) -> None:
        level = (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & (model.geom_bodyid == 0)
        level &= np.abs(model.geom_quat[:, 1:3]).max(1) < 1e-3  # it faces upwards
        self.heights = np.unique(model.geom_pos[level, 2])
        self._tolerance = np.float32(self.TOLERANCE * model.stat.extent)
        self._rays = rays

    def seen_by(self, camera: mujoco.MjvGLCamera, depth: np.ndarray) -> np.ndarray:
        """Return where a frame shows the ground: bool (H, W).

        Args:
            camera: that the frame was drawn by.
            depth: float32 (H, W) in [0, 1], 1 at the far plane.
        """
        falls = self._rays.of(camera)[2]
        # A depth d in [0, 1] is near / (1 - d (1 - near / far)) away.
        near, far = camera.frustum_near, camera.frustum_far
        above = falls * (near / (1 - np.float32(1 - near / far) * depth)) + camera.pos[2]
        found = np.zeros(depth.shape, bool)
        for height in self.heights:
            found |= np.abs(above - height) < self._tolerance
        return found & (depth < 1)


class Sky:
    """The sky of one scene.

    Args:
        model: gives the texture.
        rays: of the scene's camera.
    """

    def __init__(self, model: mujoco.MjModel, rays: Rays) -> None:
        self._model, self._rays = model, rays
        self._faces: np.ndarray | None = None  # made when first needed: 800 px take 30 ms
        self._along: np.ndarray | None = None
        self._seen = np.zeros((*rays.size, 3), np.uint8)
        self._few, self._few_along = Rays(8, 8), self._along
        self._mean = np.zeros(3)

    def seen_by(self, camera: mujoco.MjvGLCamera) -> np.ndarray:
        """Return the sky behind a frame of this camera: uint8 (H, W, 3), not to be changed.

        A camera that does not turn sees the same sky, which is then looked up once.
        """
        along = self._rays.of(camera)
        if along is not self._along:
            self._seen, self._along = self._look_up(along), along
        return self._seen

    def colour(self, camera: mujoco.MjvGLCamera) -> np.ndarray:
        """Return the mean colour of the sky in the direction of a camera: float (3,), of 255."""
        along = self._few.of(camera)
        if along is not self._few_along:
            self._mean, self._few_along = self._look_up(along).mean((0, 1)), along
        return self._mean

    def _look_up(self, along: np.ndarray) -> np.ndarray:
        """Return the sky along rays, float32 (3, H, W): uint8 (H, W, 3).

        By the rules for cube maps of OpenGL 4.6, section 8.13.
        """
        if self._faces is None:
            self._faces = skybox(self._model, self._rays.size[0])
        # MuJoCo turns the box so that its second axis points up.
        x, z, y = along
        z = -z
        wide, tall, deep = np.abs(x), np.abs(y), np.abs(z)
        on_x = (wide >= tall) & (wide >= deep)
        on_y = ~on_x & (tall >= deep)
        major = np.where(on_x, x, np.where(on_y, y, z))
        back, size = major < 0, self._faces.shape[1]
        half = np.float32(0.5 * size) / np.abs(major)
        u = np.where(on_x, np.where(back, z, -z), np.where(~on_y & back, -x, x))
        v = np.where(on_y, np.where(back, -z, z), -y)
        middle, last = np.float32(0.5 * size), size - 1
        column, row = (np.clip(middle + a * half, 0, last).astype(np.intp) for a in (u, v))
        face = np.where(on_x, 0, np.where(on_y, 2, 4)) + back
        texels = self._faces.view(_PIXEL)[..., 0].ravel()
        return texels[(face * size + row) * size + column].view(np.uint8).reshape(*x.shape, 3)
