"""Family ``texture``: procedural patterns on the floor, the walls, the agent and the objects.

The ground (floors, walls, terrain) always takes part; of the solids a share that grows with the
level. Each surface becomes a mixture of its own colours and a pattern. Sites, tendons and the sky
are left alone.

A person can always tell the agent from the floor: patterns of solids are lighter than those of the
ground (or darker, where the clean scene is that way round), and so is every mixture.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import mujoco
import numpy as np

from shiftbench.shifts import patterns
from shiftbench.shifts.background import GROUND
from shiftbench.shifts.base import GradedFamily, Swing

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Lumas of the patterns on the darker and on the lighter side, and their saturation. Ours.
DARKER, LIGHTER, SATURATION = (0.2, 0.57), (0.7, 0.95), 1.0

RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)

#: MuJoCo's default ``geom_rgba``: a geom with this colour takes that of its material.
UNSET = np.array([0.5, 0.5, 0.5, 1.0], np.float32)

#: Properties that a pattern's material takes over from the one it stands for.
_KEPT = (
    *("emission", "metallic", "reflectance", "roughness", "shininess", "specular"),
    *("texrepeat", "texuniform"),
)


class Texture(GradedFamily):
    """Paints ground and solids with patterns."""

    motion = ("swing", "speed")
    table: ClassVar = {
        # Share of the pattern in its mixture with the surface's own colours. Ours; the scale ends
        # where the texture is replaced altogether, as in the paper (Jones et al. 2025, arXiv
        # 2509.12531).
        "strength": (0.0, 0.5, 0.64, 0.85, 1.0),
        # Share of that strength that ground which fills the whole picture takes away, so that a
        # level changes much ground about as much as little. Ours.
        "ease": (0.0, 0.5, 0.48, 0.42, 0.25),
        # Share of the solids' looks that get a pattern. Ours.
        "share": (0.0, 0.5, 0.75, 1.0, 1.0),
        # Share of each channel that comes and goes, and radians an agent step of that swing. Ours:
        # still up to ``moderate``.
        "swing": (0.0, 0.0, 0.0, 0.1, 0.1),
        "speed": (0.0, 0.0, 0.0, 0.1, 0.2),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        ground, solids = looks(scene.model)
        scene.update()
        covered = np.isin(scene.seen(), np.concatenate(ground)).mean() if ground else 0.0
        strength = numbers.strength * (1 - numbers.ease * covered)
        light, dark = (
            np.mean([own_colours(scene.model, geoms[0], 8) @ patterns.LUMA for geoms in side])
            if side
            else 0.5
            for side in (solids, ground)
        )
        of_solids, of_ground = (LIGHTER, DARKER) if light >= dark else (DARKER, LIGHTER)
        chosen = rng.permutation(len(solids))[: int(np.ceil(numbers.share * len(solids)))]
        painted = [solids[i] for i in chosen]
        _paint(scene, ground, scene.spare_2d, strength, of_ground, rng)
        _paint(scene, painted, scene.spare_cube, strength, of_solids, rng)
        self._painted = [*ground, *painted]
        self._moving = Swing(numbers, len(self._painted), rng)

    def step(self, scene: Scene, t: int) -> None:
        if self._moving:
            for geoms, tint in zip(self._painted, self._moving.at(t), strict=True):
                scene.model.geom_rgba[geoms, :3] = tint


def looks(model: mujoco.MjModel) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Group the geoms that are seen by what they look like.

    Returns:
        The groups of the ground and those of solids, each the int (n,) ids of geoms that share
        material and colour, in order of their first geom.
    """
    groups: tuple[dict, dict] = ({}, {})
    seen, solid = _seen(model)
    side, materials, colours = solid.tolist(), model.geom_matid.tolist(), model.geom_rgba
    for geom in np.flatnonzero(seen).tolist():
        look = (materials[geom], colours[geom].tobytes())
        groups[side[geom]].setdefault(look, []).append(geom)
    ground, solids = ([np.array(geoms) for geoms in side.values()] for side in groups)
    return ground, solids


def solid_geoms(model: mujoco.MjModel) -> np.ndarray:
    """Return the ids of the geoms that are seen and no ground: int (n,)."""
    seen, solid = _seen(model)
    return np.flatnonzero(seen & solid)


def _seen(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Return which geoms are drawn and which are no ground: bool (ngeom,) each."""
    rgba = model.geom_rgba
    alpha = rgba[:, 3]
    if model.nmat:
        unset = (rgba == UNSET).all(1) & (model.geom_matid >= 0)
        alpha = np.where(unset, model.mat_rgba[model.geom_matid, 3], alpha)
    # MuJoCo draws the groups 0 to 2 unless told otherwise.
    seen = (model.geom_group < 3) & (alpha != 0)
    plane, terrain = GROUND
    return seen, (model.geom_type != plane) & (model.geom_type != terrain)


def own_colours(model: mujoco.MjModel, geom: int, size: int) -> np.ndarray:
    """Return a geom's clean, unlit surface as a picture: float32 (size, size, 3) in [0, 1].

    Of a cube texture the first face stands for all.
    """
    colour = _rgba(model, geom)[:3].astype(np.float32)
    material = int(model.geom_matid[geom])
    texture = int(model.mat_texid[material, RGB]) if material >= 0 else -1
    if texture < 0:
        return np.tile(colour, (size, size, 1))
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
    return colour * (colours / np.float32(255))


def _copies(model: mujoco.MjModel, geom: int) -> int:
    """Return how often a pattern is repeated each way within its texture.

    Twice on a floor whose texture, one length unit or so in size, is larger than the whole scene:
    the camera would show but a blot of it.
    """
    material = int(model.geom_matid[geom])
    if material < 0 or not model.mat_texuniform[material]:
        return 1
    return 2 if model.mat_texrepeat[material, 0] * model.stat.extent < 1 else 1


def _rgba(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Return the colour that a geom is drawn with, its texture apart: float (4,)."""
    unset = np.array_equal(model.geom_rgba[geom], UNSET) and model.geom_matid[geom] >= 0
    return model.mat_rgba[model.geom_matid[geom]] if unset else model.geom_rgba[geom]


def _paint(
    scene: Scene,
    groups: list[np.ndarray],
    spares: tuple[int, ...],
    strength: float,
    luma: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Give each group of geoms a spare material with a pattern mixed into its own colours.

    Where there are more groups than materials, several share one: that of the first of them.
    """
    model = scene.model
    for i, geoms in enumerate(groups):
        spare = spares[i % len(spares)]
        if i < len(spares):
            size = scene.texture_size(spare)
            copies = _copies(model, geoms[0])
            field = np.tile(patterns.field(rng, size // copies), (copies, copies))
            pattern = patterns.colour(field, patterns.palette(rng, luma, saturation=SATURATION))
            own = 255 * own_colours(model, geoms[0], size)
            cover(scene, geoms, spare, own + strength * (pattern - own))
        else:
            wear(model, geoms, spare)


def cover(scene: Scene, geoms: np.ndarray, spare: int, picture: np.ndarray) -> None:
    """Give geoms of one look a spare material with a picture, and all else that theirs had.

    Args:
        scene: that they are in.
        geoms: int (n,), their ids.
        spare: id of the material.
        picture: float (S, S, 3) in 0 to 255, with S the size of the material's texture.
    """
    model = scene.model
    scene.set_texture(spare, np.round(picture).clip(0, 255).astype(np.uint8))
    before = int(model.geom_matid[geoms[0]])
    if before >= 0:
        for name in _KEPT:
            values = getattr(model, f"mat_{name}")
            values[spare] = values[before]
    wear(model, geoms, spare)


def wear(model: mujoco.MjModel, geoms: np.ndarray, spare: int) -> None:
    """Let geoms of one look show a spare material as it is."""
    model.geom_rgba[geoms] = 1, 1, 1, _rgba(model, geoms[0])[3]
    model.geom_matid[geoms] = spare
