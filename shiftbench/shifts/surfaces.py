"""What the things of a scene look like: colours and textures of geoms, alone and in groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from shiftbench.shifts.patterns import LUMA

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Types of geoms that are floors and walls: planes and terrain.
GROUND = (int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD))

RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)

#: MuJoCo's default ``geom_rgba``: a geom with this colour takes that of its material.
UNSET = np.array([0.5, 0.5, 0.5, 1.0], np.float32)

#: Properties that a spare material takes over from the one it stands for.
_KEPT = tuple(
    f"mat_{name}"
    for name in (
        *("emission", "metallic", "reflectance", "roughness", "shininess", "specular"),
        *("texrepeat", "texuniform"),
    )
)


class Surfaces:
    """The surfaces of one scene.

    Which geoms are drawn, and which are ground, is what it was in the clean scene: no family hides
    or shows any.

    Args:
        scene: that they are in; its model and spare materials must be there.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene, self._model = scene, scene.model
        plane, terrain = GROUND
        kind = self._model.geom_type
        self._solid = (kind != plane) & (kind != terrain)
        spare = [*scene.spare_2d, *scene.spare_cube]
        self._spare = {int(self._model.mat_texid[material, RGB]) for material in spare}
        #: Of textures that nothing changes.
        self._texels: dict[tuple[int, int], np.ndarray] = {}
        self._means: dict[int, np.ndarray] = {}
        self._seen: np.ndarray | None = None

    def restore(self) -> None:
        """Look anew which geoms are drawn: the scene is clean, and the task may have changed it."""
        self._seen = None

    @property
    def seen(self) -> np.ndarray:
        """Which geoms are drawn: bool (ngeom,)."""
        if self._seen is None:
            model, rgba = self._model, self._model.geom_rgba
            alpha = rgba[:, 3]
            if model.nmat:
                unset = (rgba == UNSET).all(1) & (model.geom_matid >= 0)
                alpha = np.where(unset, model.mat_rgba[model.geom_matid, 3], alpha)
            # MuJoCo draws the groups 0 to 2 unless told otherwise.
            self._seen = (model.geom_group < 3) & (alpha != 0)
        return self._seen

    def solids(self) -> np.ndarray:
        """Return the ids of the geoms that are drawn and no ground: int (n,)."""
        return np.flatnonzero(self.seen & self._solid)

    def covered(self) -> float:
        """Return the share of the present frame that ground fills; `Scene.update` goes before."""
        met = self._scene.seen()
        return float((~self._solid[met] & (met >= 0)).mean())

    def looks(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Group the geoms that are drawn by what they look like.

        Returns:
            The groups of the ground and those of solids, each the int (n,) ids of geoms that share
            material and colour, in order of their first geom.
        """
        model = self._model
        groups: tuple[dict, dict] = ({}, {})
        side, materials = self._solid.tolist(), model.geom_matid.tolist()
        colours = model.geom_rgba.view("V16")[:, 0].tolist()
        for geom in np.flatnonzero(self.seen).tolist():
            look = (materials[geom], colours[geom])
            groups[side[geom]].setdefault(look, []).append(geom)
        ground, solids = ([np.array(geoms) for geoms in side.values()] for side in groups)
        return ground, solids

    def own(self, geom: int, size: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a geom's unlit surface as it now is.

        Of a cube texture the first face stands for all.

        Returns:
            Its colour, float32 (3,) in [0, 1], and what that is multiplied with at each place of
            its texture: uint8 (size, size, 3), or None without one. Neither may be changed, and
            both may be changed by `cover` and `wear`.
        """
        colour, texture = self._rgba(geom)[:3], self._texture(geom)
        if texture < 0:
            return colour, None
        texels = self._texels.get((texture, size))
        if texels is None:
            texels = _sampled(self._model, texture, size)
            if texture not in self._spare:
                self._texels[texture, size] = texels
        return colour, texels

    def luma(self, geom: int) -> float:
        """Return the mean luma of a geom's unlit surface as it now is, in [0, 1]."""
        colour, texture = self._rgba(geom)[:3], self._texture(geom)
        if texture >= 0:
            shade = self._means.get(texture)
            if shade is None:
                width = int(self._model.tex_width[texture])
                shade = mean(_sampled(self._model, texture, width)) / 255
                if texture not in self._spare:
                    self._means[texture] = shade
            colour = colour * shade
        return float(colour @ LUMA)

    def cover(self, geoms: np.ndarray, spare: int, picture: np.ndarray) -> None:
        """Give geoms of one look a spare material with a picture, and all else that theirs had.

        Args:
            geoms: int (n,), their ids.
            spare: id of the material.
            picture: uint8 (S, S, 3), with S the size of the material's texture.
        """
        model = self._model
        self._scene.set_texture(spare, picture)
        before = int(model.geom_matid[geoms[0]])
        if before >= 0:
            for name in _KEPT:
                values = getattr(model, name)
                values[spare] = values[before]
        self.wear(geoms, spare)

    def wear(self, geoms: np.ndarray, spare: int) -> None:
        """Let geoms of one look show a spare material as it is."""
        self._model.geom_rgba[geoms] = 1, 1, 1, self._rgba(geoms[0])[3]
        self._model.geom_matid[geoms] = spare

    def _rgba(self, geom: int) -> np.ndarray:
        """Return the colour that a geom is drawn with, its texture apart: float32 (4,)."""
        rgba, material = self._model.geom_rgba[geom], self._model.geom_matid[geom]
        return self._model.mat_rgba[material] if material >= 0 and (rgba == UNSET).all() else rgba

    def _texture(self, geom: int) -> int:
        material = self._model.geom_matid[geom]
        return int(self._model.mat_texid[material, RGB]) if material >= 0 else -1


def mean(picture: np.ndarray) -> np.ndarray:
    """Return the mean colour of a picture, uint8 (H, W, 3): float32 (3,)."""
    count = picture.shape[0] * picture.shape[1]
    # A product with ones has forty times the speed of `numpy.mean`. Sums of whole numbers are exact
    # up to 2^24 in float32, so that they do not depend on the machine's way of adding up.
    kind = np.float32 if 255 * count <= 1 << 24 else np.float64
    total = np.ones(count, kind) @ picture.reshape(-1, 3).astype(kind)
    return (total / count).astype(np.float32)


def _sampled(model: mujoco.MjModel, texture: int, size: int) -> np.ndarray:
    """Return a texture, of a cube its first face, at another size: uint8 (size, size, 3)."""
    width, channels = int(model.tex_width[texture]), int(model.tex_nchannel[texture])
    # The six faces of a cube stand below each other.
    height = min(int(model.tex_height[texture]), width)
    start = int(model.tex_adr[texture])
    texels = model.tex_data[start : start + width * height * channels]
    picture = texels.reshape(height, width, channels)
    if (height, width) != (size, size):
        rows, columns = (((np.arange(size) + 0.5) * n / size).astype(int) for n in (height, width))
        picture = picture[np.ix_(rows, columns)]
    colours = picture[..., :3] if channels >= 3 else picture[..., :1]
    return np.ascontiguousarray(np.broadcast_to(colours, (size, size, 3)))
