"""The visual side of one environment, which shift families edit.

The scene owns a *visual* MuJoCo model of its own: the task's MJCF compiled a second time with spare
textures and materials added. The physics model is another object, so nothing done here can change a
state, a reward or the length of an episode. Every frame the physics' positions are copied over.
"""

from __future__ import annotations

import mujoco
import numpy as np


class Scene:
    """What a `ShiftFamily` may edit.

    Attributes:
        model: the visual `mujoco.MjModel`. Visual fields (``mat_*``, ``light_*``, ``cam_*``,
            ``geom_rgba``, ``geom_matid``, ``vis``) may be edited in place during `apply` and
            `step`; `restore` undoes every edit.
        data: its `mujoco.MjData`, at the positions of the physics.
        camera: index of the camera that is rendered.
        height, width: size of a frame in pixels.
        spare_2d: material ids with a square 2-D texture of their own, for planes.
        spare_cube: material ids with a cube texture of their own, for solids.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    camera: int
    height: int
    width: int
    spare_2d: tuple[int, ...]
    spare_cube: tuple[int, ...]

    def set_texture(self, material: int, rgb: np.ndarray) -> None:
        """Fill the texture of a spare material; uploaded before the next frame.

        Args:
            material: an id from `spare_2d` or `spare_cube`.
            rgb: uint8 (S, S, 3) with S the size of that texture; all six faces of a cube get it.
        """
        raise NotImplementedError

    def restore(self) -> None:
        """Undo every edit: the next frame is bit-identical to the clean one."""
        raise NotImplementedError
