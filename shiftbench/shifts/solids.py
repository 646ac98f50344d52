"""Small solids that stand in a frame and in no physics, drawn in one go.

MuJoCo draws every geom by itself, at 0.02 ms each in software, a third of a clean frame for a dozen
of them. A *skin* is one piece of geometry whatever its size, whose vertices are read anew for each
frame, so all solids together are one. It hangs on nothing and is hidden until a family shows it.
"""

from __future__ import annotations

import mujoco
import numpy as np

#: How many solids a frame holds, which is also the side in pixels of the texture of their colours.
COUNT = 9

#: Name of the skin, its material and its texture.
NAME = "shiftbench_solids"

#: A group of skins that MuJoCo does not draw unless told to.
_HIDDEN = 5

#: The corners of a cube of half size 1, float (8, 3), and for each face four of them, in order.
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
FACES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)


def add_to(spec: mujoco.MjSpec) -> None:
    """Add the skin to a model that is not compiled yet and has its material."""
    skin = spec.add_skin()
    skin.name, skin.material, skin.group, skin.inflate = NAME, NAME, _HIDDEN, 0.0
    corners = len(CORNERS)
    quads = FACES + corners * np.arange(COUNT)[:, None, None]
    skin.face = quads[..., [0, 1, 2, 0, 2, 3]].ravel().tolist()
    skin.vert = [0.0] * (3 * COUNT * corners)  # one point: what no family places is not seen
    # Every vertex of a solid shows the middle of one pixel, in the column of its number.
    across = (np.repeat(np.arange(COUNT), corners) + 0.5) / COUNT
    skin.texcoord = np.stack([across, np.full_like(across, 0.5 / COUNT)], 1).ravel().tolist()
    # A skin must hang on some body; where that is does not matter.
    skin.bodyname, skin.bindpos, skin.bindquat = ["world"], [0, 0, 0], [1, 0, 0, 0]
    skin.vertid = [list(range(COUNT * corners))]
    skin.vertweight = [[1.0] * (COUNT * corners)]


def frustum(half: tuple[float, float, float], taper: float) -> np.ndarray:
    """Return the corners of a box, float (8, 3), whose upper face is ``taper`` times its size."""
    corners = CORNERS * half
    corners[:, :2] *= np.where(corners[:, 2:] > 0, taper, 1.0)
    return corners


class Solids:
    """The solids of one scene.

    Args:
        model: that `add_to` has been called for.
        mjv: the scene that is drawn.
        option: what of the model is drawn; changed by `show` and `hide`.

    Attributes:
        material: id of their material, whose texture holds the colour of solid i in column i.
    """

    def __init__(
        self, model: mujoco.MjModel, mjv: mujoco.MjvScene, option: mujoco.MjvOption
    ) -> None:
        self._option = option
        self.material = model.material(NAME).id
        skin = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SKIN, NAME)
        start = model.skin_vertadr[skin]
        own = slice(start, start + COUNT * len(CORNERS))
        self._vertices, self._normals = (
            array.reshape(-1, 3)[own].reshape(COUNT, -1, 3)
            for array in (mjv.skinvert, mjv.skinnormal)
        )
        self.hide()

    def show(self) -> None:
        """Draw them from the next frame on."""
        self._option.skingroup[_HIDDEN] = 1

    def hide(self) -> None:
        """Draw them no longer."""
        self._option.skingroup[_HIDDEN] = 0

    def place(
        self, vertices: np.ndarray, scale: np.ndarray, offset: np.ndarray, facing: np.ndarray
    ) -> None:
        """Place them in the present frame, for `ShiftFamily.decorate`.

        Args:
            vertices, facing: corners in the order of `CORNERS` and the unit vectors that they
                face, float32 (n, 8, 3), n at most `COUNT`.
            scale, offset: float32 (n,) and (n, 3): ``vertices`` times the one plus the other are
                places in the world. Of a solid with scale 0 nothing is seen.

        Raises:
            ValueError: there are more of them.
        """
        count = len(vertices)
        if count > COUNT:
            raise ValueError(f"a frame holds {COUNT} solids at most")
        placed = self._vertices[:count]
        np.multiply(vertices, scale[:, None, None], out=placed)
        placed += offset[:, None]
        self._normals[:count] = facing
