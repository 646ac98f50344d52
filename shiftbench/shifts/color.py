"""Family ``color``: other colours for every material, geom, site and tendon, and for the sky.

Each look is turned in hue, changed in saturation and value and moved in RGB by an offset of its
own, and clipped. The ground's texture is recoloured texel by texel; other textures are tinted, as
in the Distracting Control Suite. From ``severe`` on every colour also comes and goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from shiftbench.shifts.base import GradedFamily, Swing, both_ways
from shiftbench.shifts.patterns import LUMA
from shiftbench.shifts.sky import put
from shiftbench.shifts.texture import UNSET, cover, looks, own_colours

if TYPE_CHECKING:
    import mujoco

    from shiftbench.shifts.scene import Scene


#: How many recolourings are drawn for each thing, of which the first that stands out is taken.
TRIES = 8


class Color(GradedFamily):
    """Recolours what is drawn."""

    needs_depth = True
    motion = ("swing", "speed")
    table: ClassVar = {
        # RGB ± this, uniform, of a range of 1. Distracting Control Suite (Stone et al. 2021, arXiv
        # 2101.02722): 0.1, 0.2, 0.3 for easy, medium, hard.
        "rgb": (0.0, 0.105, 0.133, 0.19, 0.228),
        # Standard deviation of a normal offset of RGB. For presets: DMC-GB (Hansen & Wang 2021,
        # arXiv 2011.13389) has 0.10 and 0.18.
        "normal": (0.0, 0.0, 0.0, 0.0, 0.0),
        # Degrees ± this of hue. Ours.
        "hue": (0.0, 28.0, 40.0, 62.0, 87.0),
        # Factors 1 ± this on saturation and value. Ours.
        "saturation": (0.0, 0.1, 0.2, 0.3, 0.46),
        "value": (0.0, 0.05, 0.1, 0.15, 0.19),
        # Share of each range around 0 that is not drawn from, so that levels do not overlap. Ours.
        "least": (0.0, 0.75, 0.75, 0.75, 0.75),
        # Least share that is kept of a thing's distance in RGB from what is behind it, the sky and
        # the ground: a body must not take their colour. Ours.
        "apart": (0.0, 0.7, 0.7, 0.7, 0.7),
        # Share of each channel that comes and goes, and radians an agent step of that swing. Ours:
        # still up to ``moderate``; the Distracting Control Suite's moving colours walk at random.
        "swing": (0.0, 0.0, 0.0, 0.1, 0.15),
        "speed": (0.0, 0.0, 0.0, 0.1, 0.2),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        model = scene.model
        spare = min(scene.spare_2d + scene.spare_cube)
        ground, _ = looks(model)
        # The sky first: what it gets must not depend on how many things stand before it.
        (turn, *turns), (offset, *offsets) = _recolourings(numbers, rng, 1 + len(ground))
        self._sky, self._seen = (turn.T.astype(np.float32), 255 * offset.astype(np.float32)), None
        scene.update()
        clean = [scene.sky_colour() / 255]
        shown = [_recoloured(clean[0], turn, offset)]
        for geoms, material, turn, offset in zip(
            ground, scene.spare_2d, turns, offsets, strict=False
        ):
            own = own_colours(model, geoms[0], scene.texture_size(material))
            picture = _recoloured(own, turn, offset)
            cover(scene, geoms, material, 255 * picture)
            clean.append(own.mean((0, 1)))
            shown.append(picture.mean((0, 1)))
        rows = [*model.mat_rgba[:spare], *_own_colours(model, ground)]
        rows = [rgba[:3] for rgba in rows]
        colours = np.array(rows)
        turns, offsets = _recolourings(numbers, rng, TRIES * len(rows))
        tried = np.repeat(colours, TRIES, 0)
        tried = np.clip((turns @ tried[:, :, None])[..., 0] + offsets, 0, 1)
        tried = tried.reshape(len(rows), TRIES, 3)
        before = np.linalg.norm(colours[:, None] - clean, axis=-1)
        after = np.linalg.norm(tried[:, :, None] - shown, axis=-1)
        kept = (after / np.maximum(before, 1e-6)[:, None]).min(-1)
        enough = kept >= numbers.apart
        chosen = np.where(enough.any(1), enough.argmax(1), kept.argmax(1))
        for rgb, colour in zip(rows, tried[np.arange(len(rows)), chosen], strict=True):
            rgb[:] = colour
        rows += [model.geom_rgba[i, :3] for geoms in ground for i in geoms]
        self._moving = Swing(numbers, len(rows) + 1, rng)
        self._colours = [(rgb, rgb.copy()) for rgb in rows]

    def step(self, scene: Scene, t: int) -> None:
        if self._moving:
            *tints, self._tint = self._moving.at(t)
            for (rgb, start), tint in zip(self._colours, tints, strict=True):
                rgb[:] = start * tint

    def decorate(self, scene: Scene, t: int) -> None:
        sky = scene.sky()
        if sky is not self._seen:  # another episode, or the camera has turned
            turn, offset = self._sky
            coloured = sky.reshape(-1, 3).astype(np.float32) @ turn
            coloured += offset
            np.clip(coloured, 0, 255, out=coloured)
            self._seen, self._coloured = sky, coloured.astype(np.uint8).reshape(sky.shape)

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        sky = self._coloured
        if self._moving:
            tint = np.tile(self._tint.astype(np.float32), sky.shape[1])
            sky = (sky.reshape(len(sky), -1) * tint).astype(np.uint8).reshape(sky.shape)
        put(rgb, sky, depth == 1)
        return rgb


def _own_colours(model: mujoco.MjModel, ground: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
    """Return the colours that are not a material's: views of the model, float32 (4,) each.

    Those of the geoms of the ``ground`` are left out.
    """
    apart = set(np.concatenate(ground).tolist()) if len(ground) else set()
    found = []
    for kind in ("geom", "site", "tendon", "skin"):
        colours, materials = (getattr(model, f"{kind}_{name}") for name in ("rgba", "matid"))
        for i, (rgba, material) in enumerate(zip(colours, materials, strict=True)):
            if (material < 0 or (rgba != UNSET).any()) and not (kind == "geom" and i in apart):
                found.append(rgba)
    return found


def _recoloured(colours: np.ndarray, turn: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return colours, float (..., 3) in [0, 1], changed and clipped."""
    return np.clip(colours @ turn.T + offset, 0, 1)


def _recolourings(
    numbers: SimpleNamespace, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw changes of colours: float (count, 3, 3) to multiply RGB by, float (count, 3) to add.

    Hue turns about the axis of greys and saturation is the distance from the grey of equal luma:
    linear in RGB, unlike the hexagon of HSV, so that one matrix does for any picture.
    """
    change = both_ways(rng, numbers.least, 6 * count).reshape(count, 6)
    angle = np.deg2rad(numbers.hue * change[:, 0])[:, None, None]
    saturation = (1 + numbers.saturation * change[:, 1])[:, None, None]
    value = (1 + numbers.value * change[:, 2])[:, None, None]
    third, cross = np.full((3, 3), 1 / 3), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    hue = np.cos(angle) * (np.eye(3) - third) + np.sin(angle) * cross + third
    colourful = saturation * np.eye(3) + (1 - saturation) * LUMA
    offset = numbers.rgb * change[:, 3:] + numbers.normal * rng.standard_normal((count, 3))
    return value * colourful @ hue, offset
