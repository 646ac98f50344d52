"""Family ``background``: a picture behind the scene, and from ``severe`` on under it, moving.

The picture is mixed into the pixels where the depth image says that nothing stands, as the video
backgrounds of DMC-GB replace them (Hansen & Wang 2021, arXiv 2011.13389: behind the sky when easy,
behind sky and floor when hard). Where a scene shows hardly any sky the floor takes its place. The
picture is procedural, a pattern under the shade of another, or one of the user's
own (``--backgrounds``). It is made once an episode; a moving one drifts, its shade another way, and
a user's video plays.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from shiftbench.shifts import patterns, pictures
from shiftbench.shifts.base import GradedFamily
from shiftbench.shifts.sky import put
from shiftbench.shifts.surfaces import mean

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene
    from shiftbench.specs import Shift

#: Darkest and lightest luma of the picture's palette, and its saturation. Bodies of dm_control are
#: mostly lighter than this when lit, so that they stay visible. Ours.
LUMA, SATURATION = (0.15, 0.4), 1.0

#: How much a second pattern darkens the first at most, like shade on a wall. Ours.
SHADE = 0.3

#: Steps of that shade, a fiftieth of the colour each.
SHADES = 16

#: Mean luma that a user's picture is darkened to, if it is lighter, for the same reason. Ours.
OWN_LUMA = 0.3

#: Share of the first frame from which on the sky is enough to put a picture in. Ours.
ENOUGH_SKY = 0.1


class Background(GradedFamily):
    """Puts a picture behind the scene."""

    needs_depth = True
    reads_backgrounds = True
    table: ClassVar = {
        # Share of the picture in its mixture with the sky. Ours.
        "opacity": (0.0, 0.37, 0.56, 0.65, 0.82),
        # Frame widths an agent step that the picture drifts by; where this is not 0 a user's video
        # plays, a frame an agent step. Ours: still up to ``moderate``.
        "speed": (0.0, 0.0, 0.0, 0.01, 0.02),
        # Share of that opacity with which it covers the floor: DMC-GB's hard set.
        "floor": (0.0, 0.0, 0.0, 1.0, 1.0),
    }

    def __init__(self, folder: str = "") -> None:
        self._folder = folder

    @classmethod
    def for_shift(cls, shift: Shift) -> Background:
        return cls(shift.backgrounds)

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        size = max(scene.height, scene.width)
        heading = rng.uniform(0, 2 * np.pi)
        velocity = numbers.speed * size * np.array([np.sin(heading), np.cos(heading)])
        if self._folder:
            clips = pictures.load(self._folder, size)
            clip = clips[rng.integers(len(clips))]
            self._picture: Picture = Clip(clip, velocity, numbers.opacity, rng)
        else:
            self._picture = Pattern(size, velocity, numbers.opacity, rng)
        self._opacity, self._floor = numbers.opacity, numbers.floor
        self._scene, self._first = scene, True

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        sky = depth == 1
        if self._first:
            self._first = False
            if sky.mean() < ENOUGH_SKY:
                self._floor = 1.0
        picture = self._picture.at(t)[: len(rgb), : rgb.shape[1]]
        if self._floor == 1:
            _mix(rgb, picture, self._opacity, sky | self._scene.ground(depth))
        else:
            _mix(rgb, picture, self._opacity, sky)
            if self._floor:
                ground = self._scene.ground(depth)
                part = (picture * np.float32(self._floor)).astype(np.uint8)
                _mix(rgb, part, self._opacity * self._floor, ground)
        return rgb


def _mix(rgb: np.ndarray, picture: np.ndarray, opacity: float, where: np.ndarray) -> None:
    """Mix a picture, already times its opacity, into an image in place.

    Both are uint8 (H, W, 3), where bool (H, W).
    """
    # Both parts are rounded down, so that their sum cannot exceed 255.
    mixture = (rgb * np.float32(1 - opacity)).astype(np.uint8)
    mixture += picture
    put(rgb, mixture, where)


class Picture(Protocol):
    """What stands behind."""

    def at(self, t: int) -> np.ndarray:
        """Return it at agent step ``t``, times its opacity: uint8 (S, S, 3)."""


class Pattern:
    """A procedural picture whose two layers drift in different directions.

    Args:
        size: side of the picture in pixels.
        velocity: float (2,), pixels down and across an agent step of the first layer.
        opacity: in [0, 1].
        rng: draws kinds, colours and places.
    """

    def __init__(
        self, size: int, velocity: np.ndarray, opacity: float, rng: np.random.Generator
    ) -> None:
        (colours,) = patterns.palettes(rng, [LUMA], saturation=SATURATION)
        shade = 1 - SHADE * (np.arange(SHADES) / (SHADES - 1))
        # The colour at step b of the palette and step s of the shade, at 256 s + b.
        ramps = 255 * opacity * shade[:, None, None] * patterns.ramps(colours)
        self._ramp = ramps.astype(np.uint8).reshape(-1, 3)
        base, shade = (patterns.field(rng, 2 * size, enlarge=True) for _ in range(2))
        self._layers = [_Window(base, velocity), _Window(shade, -velocity[::-1])]
        self._size, self._still = size, not velocity.any()
        self._first = self._draw(0)

    def at(self, t: int) -> np.ndarray:
        return self._first if self._still else self._draw(t)

    def _draw(self, t: int) -> np.ndarray:
        base, shade = (layer.at(t, self._size) for layer in self._layers)
        # SHADES is 16: the upper four of the shade's eight bits are its step, here in their place.
        steps = (shade & 0xF0).astype(np.uint16) << 4
        return patterns.painted(steps | base, self._ramp)


class Clip:
    """One of the user's pictures: a still drifts over its mirror images, a video plays to and fro.

    Args:
        frames: uint8 (T, S, S, 3).
        velocity: float (2,), pixels down and across an agent step.
        opacity: in [0, 1].
        rng: draws the first frame.
    """

    def __init__(
        self, frames: np.ndarray, velocity: np.ndarray, opacity: float, rng: np.random.Generator
    ) -> None:
        self._frames, self._plays = frames, bool(velocity.any())
        self._start = int(rng.integers(len(frames)))
        luma = float((mean(frames[self._start]) / 255) @ patterns.LUMA)
        self._share = np.float32(opacity * min(1.0, OWN_LUMA / max(luma, 1e-6)))
        self._window = None
        if len(frames) == 1:
            right = np.concatenate([frames[0], frames[0][:, ::-1]], 1)
            self._window = _Window(np.concatenate([right, right[::-1]]), velocity)

    def at(self, t: int) -> np.ndarray:
        if self._window is not None:
            frame = self._window.at(t, self._frames.shape[1])
        else:
            last = len(self._frames) - 1
            there = (self._start + t * self._plays) % (2 * last)
            frame = self._frames[min(there, 2 * last - there)]
        return (frame * self._share).astype(np.uint8)


class _Window:
    """A frame's view of a larger picture that repeats: (N, N, ...) of any type."""

    def __init__(self, picture: np.ndarray, velocity: np.ndarray) -> None:
        self._picture, self._velocity = picture, velocity
        if velocity.any():
            self._picture = np.concatenate([picture, picture])
            self._picture = np.concatenate([self._picture, self._picture], 1)

    def at(self, t: int, size: int) -> np.ndarray:
        """Return what is seen at agent step ``t``: (size, size, ...), a view."""
        y, x = (self._velocity * t % (len(self._picture) // 2)).astype(int)
        return self._picture[y : y + size, x : x + size]
