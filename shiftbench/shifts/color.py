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
from shiftbench.shifts.patterns import LUMA, row
from shiftbench.shifts.sky import put
from shiftbench.shifts.surfaces import UNSET, mean

if TYPE_CHECKING:
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
        model, surfaces = scene.model, scene.surfaces
        ground, _ = surfaces.looks()
        # The sky first: what it gets must not depend on how many things stand before it.
        (turn, *turns), (offset, *offsets) = _recolourings(numbers, rng, 1 + len(ground))
        self._sky, self._seen = (turn, offset), None
        scene.update()
        clean = [scene.sky_colour()]
        shown = [_recoloured(clean[0].reshape(1, 1, 3), turn, offset)[0, 0]]
        for geoms, spare, turn, offset in zip(ground, scene.spare_2d, turns, offsets, strict=False):
            size = scene.texture_size(spare)
            colour, texels = surfaces.own(geoms[0], size)
            if texels is None:
                texels = np.full((size, size, 3), 255, np.uint8)
            picture = _recoloured(texels, turn * colour, offset)
            clean.append(colour * mean(texels))  # before it is covered: these are no copies
            shown.append(mean(picture))
            surfaces.cover(geoms, spare, picture)
        self._rows = _own_colours(scene, ground)
        colours = self._present()
        turns, offsets = _recolourings(numbers, rng, TRIES * len(colours))
        turns = turns.reshape(len(colours), 3 * TRIES, 3)
        tried = (turns @ colours[..., None]).reshape(len(colours), TRIES, 3)
        tried = np.clip(tried + offsets.reshape(tried.shape), 0, 1)
        before = _apart(colours[:, None], clean)
        after = _apart(tried[:, :, None], shown)
        kept = (after / np.maximum(before, 1e-12)[:, None]).min(-1)
        enough = kept >= numbers.apart**2
        chosen = np.where(enough.any(1), enough.argmax(1), kept.argmax(1))
        self._colour(tried[np.arange(len(tried)), chosen])
        if ground:
            self._rows.append((model.geom_rgba, np.concatenate(ground)))
        self._start = self._present()
        self._moving = Swing(numbers, len(self._start) + 1, rng)

    def _present(self) -> np.ndarray:
        """Return the colours of the family's rows, float32 (n, 3) in [0, 1]."""
        none = np.zeros((0, 3), np.float32)
        return np.concatenate([none, *(rgba[rows, :3] for rgba, rows in self._rows)])

    def _colour(self, colours: np.ndarray) -> None:
        """Set the colours of the family's rows, float (n, 3)."""
        start = 0
        for rgba, rows in self._rows:
            rgba[rows, :3] = colours[start : start + len(rows)]
            start += len(rows)

    def step(self, scene: Scene, t: int) -> None:
        if self._moving:
            tints = self._moving.at(t)
            self._tint = tints[-1]
            self._colour(self._start * tints[:-1])

    def decorate(self, scene: Scene, t: int) -> None:
        sky = scene.sky()
        if sky is not self._seen:  # another episode, or the camera has turned
            self._seen, self._coloured = sky, _recoloured(sky, *self._sky)

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        sky = self._coloured
        if self._moving:
            tint = row(self._tint.astype(np.float32), sky.shape[1])
            sky = (sky.reshape(len(sky), -1) * tint).astype(np.uint8).reshape(sky.shape)
        put(rgb, sky, depth == 1)
        return rgb


def _own_colours(scene: Scene, ground: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what colours are recoloured, those of the ``ground`` apart.

    Returns:
        Arrays of the model, float32 (n, 4), and which of their rows, int (m,): those of its
        materials, and of whatever does not show its material's.
    """
    model = scene.model
    clean = min(scene.spare_2d + scene.spare_cube)
    found = [(model.mat_rgba, np.arange(clean))] if clean else []
    for kind in ("geom", "site", "tendon", "skin"):
        rgba, materials = getattr(model, f"{kind}_rgba"), getattr(model, f"{kind}_matid")
        own = (materials < 0) | (rgba != UNSET).any(1)
        if kind == "geom" and ground:
            own[np.concatenate(ground)] = False
        rows = np.flatnonzero(own)
        if len(rows):
            found.append((rgba, rows))
    return found


def _apart(colours: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Return squared distances of colours in [0, 1], (..., 1, 3), from others in [0, 255]."""
    between = colours - np.array(others) / 255
    return np.einsum("...i,...i", between, between)


def _recoloured(picture: np.ndarray, turn: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return a picture, uint8 or float (H, W, 3) in [0, 255], changed and clipped, uint8."""
    height, width, _ = picture.shape
    changed = picture.reshape(-1, 3).astype(np.float32) @ turn.T.astype(np.float32)
    changed = changed.reshape(height, -1)
    changed += row(255 * offset.astype(np.float32), width)
    np.clip(changed, 0, 255, out=changed)
    return changed.astype(np.uint8).reshape(picture.shape)


#: Changes of hue, turns about the axis of greys: float (3, 3, 3), to be taken times the cosine of
#: the angle, its sine and 1.
_HUES = np.array(
    [
        np.eye(3) - 1 / 3,
        np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5,
        np.full((3, 3), 1 / 3),
    ]
)
#: Those, and the greys of equal luma that they leave.
_CHANGES = np.concatenate([_HUES, np.broadcast_to((LUMA @ _HUES)[:, None], (3, 3, 3))])


def _recolourings(
    numbers: SimpleNamespace, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw changes of colours: float (count, 3, 3) to multiply RGB by, float (count, 3) to add.

    Hue turns about the axis of greys and saturation is the distance from the grey of equal luma:
    linear in RGB, unlike the hexagon of HSV, so that one matrix does for any picture.
    """
    change = both_ways(rng, numbers.least, 6 * count).reshape(count, 6)
    angle = np.deg2rad(numbers.hue) * change[:, 0]
    saturation = 1 + numbers.saturation * change[:, 1]
    value = 1 + numbers.value * change[:, 2]
    turn = value * np.stack([np.cos(angle), np.sin(angle), np.ones(count)])
    shares = np.concatenate([saturation * turn, (1 - saturation) * turn])
    offset = numbers.rgb * change[:, 3:]
    if numbers.normal:
        offset += numbers.normal * rng.standard_normal((count, 3))
    return (shares.T @ _CHANGES.reshape(6, 9)).reshape(count, 3, 3), offset
