"""Family ``weather``: cloud, fog, rain and a low sun, down to a wet night.

The numbers are those of the weathers of the CARLA simulator, and the four that Jones et al. 2025
(arXiv 2509.12531) evaluate in are the anchor points: weak is cloud 20, fog 20, sun 10°, or cloud
80, rain 50, fog 30, sun 20°; strong is cloud 100, fog 100, sun −90°, or the same with rain and wind
100. How they look here is ours: fog thickens with the depth of each pixel, clouds are painted over
the sky, rain and the noise of a camera in the dark are added to the finished frame. (MuJoCo's own
fog is OpenGL's, which Mesa's software driver leaves out.)
"""

from __future__ import annotations

from statistics import NormalDist
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from shiftbench.shifts import patterns
from shiftbench.shifts.base import GradedFamily, signs
from shiftbench.shifts.camera import distance_to_solids
from shiftbench.shifts.sky import put

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: Opacity of fog at the distance of the task's things and at most (in the sky), where fog is 100.
FOG_THERE, FOG_SKY = 0.25, 0.4

#: Luma of fog and of clouds by day, and the opacity of clouds where they are 100.
FOG, CLOUD, OVERCAST = 0.38, 0.32, 0.5

#: Share of the lamps' light that full cloud takes away.
SHADED = 0.6

#: Altitude of the sun in degrees → gain of red, green and blue on the frame; interpolated.
DAYLIGHT = {
    -90.0: (0.42, 0.46, 0.55),
    -10.0: (0.46, 0.50, 0.58),
    0.0: (0.66, 0.62, 0.60),
    10.0: (0.92, 0.84, 0.74),
    20.0: (0.98, 0.92, 0.84),
    45.0: (1.0, 1.0, 1.0),
}

#: Diffuse light of a sun that stands low, where no cloud hides it.
SUN = 0.35

#: Standard deviation of the noise of the darkest frame, of a range of 1: its camera amplifies.
DARK_NOISE = 0.015

#: A normal distribution as 256 numbers that are equally likely; drawing those takes a tenth of the
#: time of drawing from it.
NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)], np.float32)

#: Drops for each pixel of a frame where rain is 100; their length in frame heights; their
#: brightness, of a range of 1; frame heights an agent step that they fall by; and how many pixels
#: across for each down wind 100 blows them.
DROPS, LENGTH, BRIGHT, FALL, SLANT = 0.014, 0.09, 0.09, 0.23, 0.7


class Weather(GradedFamily):
    """Brings bad weather."""

    needs_depth = True
    motion = ("drift", "still")
    table: ClassVar = {
        # CARLA's units, 0 to 100.
        "cloud": (0.0, 40.0, 70.0, 90.0, 100.0),
        "fog": (0.0, 30.0, 40.0, 60.0, 100.0),
        "rain": (0.0, 0.0, 20.0, 45.0, 75.0),
        "wind": (0.0, 0.0, 0.0, 50.0, 100.0),
        # Altitude of the sun in degrees; from 45 on it changes nothing.
        "sun": (45.0, 4.0, 2.5, 0.5, -5.0),
        # Frame widths an agent step that clouds drift by.
        "drift": (0.0, 0.0, 0.0, 0.004, 0.01),
        # Above 0 where rain and the noise of the dark stand still for the episode.
        "still": (0.0, 1.0, 0.0, 0.0, 0.0),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        cloud, fog = numbers.cloud / 100, numbers.fog / 100
        height, width = scene.height, scene.width
        scene.model.light_diffuse *= 1 - SHADED * cloud
        self._fog = _Fog(scene, fog) if fog else None

        # The sun turns the shading; the rest of the light stays what it was.
        azimuth, altitude = rng.uniform(0, 2 * np.pi), np.deg2rad(max(numbers.sun, 5.0))
        flat = np.cos(altitude)
        self._ray = -np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(altitude)])
        low = np.interp(numbers.sun, (-5.0, 5.0, 20.0, 45.0), (0.0, 1.0, 0.7, 0.0))
        self._sun = float(SUN * low * (1 - cloud))

        self._size = size = max(height, width)
        # Tone of the clouds for each of a field's 256 steps.
        tone = CLOUD * (0.6 + 0.4 * np.arange(256) / 255)
        clouds, haze = OVERCAST * cloud, FOG_SKY * fog
        self._clear = np.float32((1 - clouds) * (1 - haze))
        above = clouds * (1 - haze) * tone + haze * FOG
        # Both parts of the sky are rounded down, so that their sum cannot exceed 255.
        field = (255 * above).astype(np.uint8).take(patterns.field(rng, size, "spectral"))
        self._clouds = np.tile(np.repeat(field, 3, 1), (2, 2)).reshape(2 * size, 2 * size, 3)
        heading = rng.uniform(0, 2 * np.pi)
        self._drift = numbers.drift * size * np.array([np.sin(heading), np.cos(heading)])

        altitudes, gains = zip(*DAYLIGHT.items(), strict=True)
        gain = [np.interp(numbers.sun, altitudes, channel) for channel in zip(*gains, strict=True)]
        self._gain = patterns.row(np.array(gain, np.float32), width)
        darkness = (1 - min(gain)) / (1 - min(DAYLIGHT[-90.0]))
        self._noise = None
        if darkness > 0:
            # Any stretch of a list of noise is a frame of it.
            drawn = np.frombuffer(rng.bytes(6 * height * width), np.uint8)
            self._noise = (np.float32(255 * DARK_NOISE * darkness**2) * NORMAL).take(drawn)
            places = 1 if numbers.still else 1024
            self._places = rng.integers(3 * height * width, size=places)
        self._rain = None
        if numbers.rain:
            slant = SLANT * numbers.wind / 100 * signs(rng, 1)[0]
            self._rain = _rain(rng, size, numbers.rain / 100, slant)
            self._fall = size * FALL * np.array([1.0, slant]) * (not numbers.still)

    def decorate(self, scene: Scene, t: int) -> None:
        if self._sun:
            scene.add_lamp(self._ray, self._sun, specular=self._sun)

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        height, width, _ = rgb.shape
        y, x = (self._drift * t % self._size).astype(int)
        behind = (rgb * self._clear).astype(np.uint8)
        behind += self._clouds[y : y + height, x : x + width]
        sky = depth == 1
        put(rgb, behind, sky)
        image = rgb.reshape(height, -1).astype(np.float32)
        if self._fog:
            self._fog.over(image, depth, sky)
        image *= self._gain
        if self._noise is not None:
            start = self._places[t % len(self._places)]
            image += self._noise[start : start + image.size].reshape(image.shape)
        if self._rain is not None:
            # Drops move down and along their slant: the window on them moves the other way.
            y, x = (-self._fall * t % self._size).astype(int)
            image += self._rain[y : y + height, 3 * x : 3 * (x + width)]
        np.clip(image, 0, 255, out=image)
        return image.astype(np.uint8).reshape(rgb.shape)


class _Fog:
    """Fog whose opacity grows with the depth, up to a limit.

    Args:
        scene: gives the camera and what it looks at.
        share: of the thickest fog.
    """

    def __init__(self, scene: Scene, share: float) -> None:
        scene.update()
        eye = scene.mjv.camera[0]
        # A depth d in [0, 1] is near / (1 - d (1 - near / far)) away.
        self._slope = np.float32(1 - eye.frustum_near / eye.frustum_far)
        opacity = share * FOG_THERE * eye.frustum_near / distance_to_solids(scene)
        self._opacity, self._most = np.float32(opacity), np.float32(share * FOG_SKY)

    def over(self, image: np.ndarray, depth: np.ndarray, sky: np.ndarray) -> None:
        """Lay it over an image in place: float32 (H, 3 W), but not over its ``sky``."""
        opacity = self._opacity / (1 - self._slope * depth)
        np.minimum(opacity, self._most, out=opacity)
        opacity[sky] = 0
        opacity = np.repeat(opacity, 3, axis=1)
        image += opacity * (np.float32(255 * FOG) - image)


def _rain(rng: np.random.Generator, size: int, share: float, slant: float) -> np.ndarray:
    """Return streaks of rain to add to a frame: float32 (2 S, 6 S), periodic with S rows.

    Args:
        rng: source of the drops' places and brightness.
        size: S, the larger side of a frame in pixels.
        share: of the drops of the heaviest rain.
        slant: pixels across for each pixel down.
    """
    count, length = round(DROPS * share * size * size), max(2, round(LENGTH * size))
    y, x = rng.integers(0, size, (2, count, 1))
    bright = np.sort(rng.uniform(0.4, 1, (count, 1)), 0)  # where two meet the brighter one is seen
    down = np.arange(length)
    streaks = np.zeros((2, size, 2, size, 3), np.float32)
    places = (y + down) % size, (x + np.round(down * slant).astype(int)) % size
    streaks[:, places[0], :, places[1]] = (255 * BRIGHT * bright)[..., None, None, None]
    return streaks.reshape(2 * size, 6 * size)
