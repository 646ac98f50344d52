"""Family ``texture``: procedural patterns on the floor, the walls, the agent and the objects.

The ground (floors, walls, terrain) always takes part; of the solids a share that grows with the
level. Each surface becomes a mixture of its own colours and a pattern. Sites, tendons and the sky
are left alone.

A person can always tell the agent from the floor: patterns of solids are lighter than those of the
ground (or darker, where the clean scene is that way round), and so is every mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from shiftbench.shifts import patterns
from shiftbench.shifts.base import GradedFamily, Swing

if TYPE_CHECKING:
    import mujoco

    from shiftbench.shifts.scene import Scene

#: Lumas of the patterns on the darker and on the lighter side, and their saturation. Ours.
DARKER, LIGHTER, SATURATION = (0.2, 0.57), (0.7, 0.95), 1.0


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
        surfaces = scene.surfaces
        ground, solids = surfaces.looks()
        scene.update()
        strength = numbers.strength * (1 - numbers.ease * surfaces.covered())
        light, dark = (
            sum(surfaces.luma(geoms[0]) for geoms in side) / len(side) if side else 0.5
            for side in (solids, ground)
        )
        of_solids, of_ground = (LIGHTER, DARKER) if light >= dark else (DARKER, LIGHTER)
        chosen = rng.permutation(len(solids))[: int(np.ceil(numbers.share * len(solids)))]
        painted = [solids[i] for i in chosen]
        sides = (ground, scene.spare_2d, of_ground), (painted, scene.spare_cube, of_solids)
        _paint(scene, sides, strength, rng)
        self._painted = [*ground, *painted]
        self._moving = Swing(numbers, len(self._painted), rng)

    def step(self, scene: Scene, t: int) -> None:
        if self._moving:
            for geoms, tint in zip(self._painted, self._moving.at(t), strict=True):
                scene.model.geom_rgba[geoms, :3] = tint


def _paint(
    scene: Scene,
    sides: Sequence[tuple[Sequence[np.ndarray], Sequence[int], tuple[float, float]]],
    strength: float,
    rng: np.random.Generator,
) -> None:
    """Give each group of geoms a spare material with a pattern mixed into its own colours.

    Where there are more groups than materials, several share one: that of the first of them.

    Args:
        scene: that they are in.
        sides: the groups of a side, its materials, and the lumas of its patterns.
        strength: share of the pattern in the mixture.
        rng: draws the patterns.
    """
    surfaces = scene.surfaces
    firsts = [
        (geoms, spare, luma)
        for groups, spares, luma in sides
        for geoms, spare in zip(groups, spares, strict=False)
    ]
    palettes = patterns.palettes(rng, [luma for *_, luma in firsts], saturation=SATURATION)
    ramps = 255 * strength * patterns.ramps(palettes)
    for (geoms, spare, _), ramp in zip(firsts, ramps, strict=True):
        size = scene.texture_size(spare)
        copies = _copies(scene.model, geoms[0])
        field = patterns.field(rng, size // copies)
        if copies > 1:
            field = np.tile(field, (copies, copies))
        colour, texels = surfaces.own(geoms[0], size)
        own = np.float32(1 - strength) * colour
        if texels is None:
            picture = patterns.painted(field, (ramp + 255 * own).astype(np.uint8))
        else:
            # Both parts are rounded down, so that their sum cannot exceed 255.
            picture = patterns.painted(field, ramp.astype(np.uint8)).reshape(size, -1)
            picture += (texels.reshape(size, -1) * patterns.row(own, size)).astype(np.uint8)
            picture = picture.reshape(size, size, 3)
        surfaces.cover(geoms, spare, picture)
    for groups, spares, _ in sides:
        for i, geoms in enumerate(groups[len(spares) :]):
            surfaces.wear(geoms, spares[i % len(spares)])


def _copies(model: mujoco.MjModel, geom: int) -> int:
    """Return how often a pattern is repeated each way within its texture.

    Twice on a floor whose texture, one length unit or so in size, is larger than the whole scene:
    the camera would show but a blot of it.
    """
    material = int(model.geom_matid[geom])
    if material < 0 or not model.mat_texuniform[material]:
        return 1
    return 2 if model.mat_texrepeat[material, 0] * model.stat.extent < 1 else 1
