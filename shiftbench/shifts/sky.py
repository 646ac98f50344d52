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
    """Return the ray through the middle of each pixel, of depth 1: float (H, W, 3)."""
    forward, up = np.asarray(camera.forward), np.asarray(camera.up)
    tall = np.linspace(camera.frustum_top, camera.frustum_bottom, 2 * height + 1)[1::2]
    # A camera without intrinsics of its own leaves the width to the shape of the frame.
    half = camera.frustum_width or (
        0.5 * width / height * (camera.frustum_top - camera.frustum_bottom)
    )
    wide = np.linspace(-half, half, 2 * width + 1)[1::2] + camera.frustum_center
    near = camera.frustum_near
    across = wide[:, None] / near * np.cross(forward, up)
    return forward + tall[:, None, None] / near * up + across


def view_of(camera: mujoco.MjvGLCamera) -> bytes:
    """Return what `rays` depend on, for comparison."""
    frustum = (
        *(camera.frustum_top, camera.frustum_bottom, camera.frustum_near),
        *(camera.frustum_width, camera.frustum_center),
    )
    return np.concatenate([camera.forward, camera.up, frustum]).tobytes()


class Ground:
    """The horizontal planes of one scene.

    Args:
        model: gives them.
        height, width: size of a frame in pixels.
    """

    #: How far from its plane a pixel of the ground may be found, in extents of the model.
    TOLERANCE = 0.005

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        level = (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & (model.geom_bodyid == 0)
        level &= np.abs(model.geom_quat[:, 1:3]).max(1) < 1e-3  # it faces upwards
        self.heights = np.unique(model.geom_pos[level, 2])
        self._tolerance = np.float32(self.TOLERANCE * model.stat.extent)
        self._size = height, width
        self._view = b""
        self._falls = np.zeros((height, width), np.float32)

    def seen_by(self, camera: mujoco.MjvGLCamera, depth: np.ndarray) -> np.ndarray:
        """Return where a frame shows the ground: bool (H, W).

        Args:
            camera: that the frame was drawn by.
            depth: float32 (H, W) in [0, 1], 1 at the far plane.
        """
        view = view_of(camera)
        if view != self._view:
            self._falls = rays(camera, *self._size)[..., 2].astype(np.float32)
            self._view = view
        # A depth d in [0, 1] is near / (1 - d (1 - near / far)) away.
        near, far = camera.frustum_near, camera.frustum_far
        above = self._falls * (near / (1 - np.float32(1 - near / far) * depth)) + camera.pos[2]
        found = np.zeros(depth.shape, bool)
        for height in self.heights:
            found |= np.abs(above - height) < self._tolerance
        return found & (depth < 1)


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
        view = view_of(camera)
        if view != self._view:
            if self._faces is None:
                self._faces = skybox(self._model, self._height)
            self._seen, self._view = self._look_up(camera), view
        return self._seen

    def _look_up(self, camera: mujoco.MjvGLCamera) -> np.ndarray:
        """Follow the rules for cube maps of OpenGL 4.6, section 8.13."""
        seen = rays(camera, self._height, self._width)

        # MuJoCo turns the box so that its second axis points up.
        x, y, z = seen[..., 0], seen[..., 2], -seen[..., 1]
        axis = np.abs([x, y, z]).argmax(0)
        major = np.choose(axis, (x, y, z))
        sign = np.sign(major)
        u = np.choose(axis, (-sign * z, x, sign * x)) / np.abs(major)
        v = np.choose(axis, (-y, sign * z, -y)) / np.abs(major)
        size = self._faces.shape[1]
        column, row = (((0.5 + 0.5 * a) * size).astype(int).clip(0, size - 1) for a in (u, v))
        return self._faces[2 * axis + (sign < 0), row, column]
