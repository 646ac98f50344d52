"""Family ``sensor``: a worse camera. Blur, exposure, noise and JPEG, in the order of a real one.

The kinds are those of the common corruptions (Hendrycks & Dietterich 2019, arXiv 1903.12261), whose
numbers for images of 64 px are quoted below; here all four act together, so each is weaker.
"""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image
from scipy.ndimage import correlate1d

from shiftbench.shifts.base import GradedFamily

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene

#: JPEG's best quality; from here on nothing is compressed.
LOSSLESS = 100

#: Share of the stops by which an episode that is too dark is so; noise hides more there. Ours.
DARKER = 0.75

#: Side of the frames that the radii of blur are given for, in pixels.
SIDE = 64


class Sensor(GradedFamily):
    """Degrades the finished image."""

    motion = ("speed", "fresh")
    table: ClassVar = {
        # Standard deviation of a Gaussian blur in pixels of a frame of `SIDE`. Common corruptions:
        # 0.5, 0.75, 1, 1.25, 1.5.
        "blur": (0.0, 0.4, 0.5, 0.58, 0.66),
        # Stops of exposure, half to all of this: factors of 2 to that power. Ours; common
        # corruptions add 0.1 to 0.5 of the range to the brightness.
        "stops": (0.0, 0.45, 0.57, 0.73, 1.1),
        # Standard deviation of Gaussian noise, of a range of 1. Common corruptions: 0.04, 0.08,
        # 0.12, 0.15, 0.18.
        "noise": (0.0, 0.021, 0.027, 0.033, 0.042),
        # JPEG quality. Common corruptions: 65, 58, 50, 40, 25.
        "quality": (100.0, 75.0, 65.0, 54.0, 40.0),
        # Radians an agent step of the swing of exposure, like a camera that hunts for it. Ours:
        # still up to ``moderate``.
        "speed": (0.0, 0.0, 0.0, 0.1, 0.2),
        # 1 where every frame has noise of its own; below, one pattern stays for the episode.
        "fresh": (0.0, 0.0, 0.0, 1.0, 1.0),
    }

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        height, width = scene.height, scene.width
        self._weights = _gaussian(numbers.blur * max(height, width) / SIDE)
        self._stops = numbers.stops * rng.choice((-DARKER, 1))
        self._phase, self._speed = rng.uniform(0, 2 * np.pi), numbers.speed
        self._quality = round(numbers.quality)
        # A frame cuts its noise out of a larger piece: cheaper than drawing it, and as random.
        piece = rng.standard_normal((2 * height, 2 * width, 3), np.float32)
        self._noise = np.float32(255 * numbers.noise) * piece
        places = 4096 if numbers.fresh == 1 else 1
        self._places = rng.integers(0, (height, width), (places, 2))

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        height, width, _ = rgb.shape
        image = rgb.astype(np.float32)
        if len(self._weights) > 1:
            for axis in (0, 1):
                image = correlate1d(image, self._weights, axis, mode="nearest")
        # Between half of the range and all of it: a swing through 0 would show the clean frame.
        swing = 0.75 + 0.25 * np.sin(self._phase + self._speed * t)
        image *= np.float32(2 ** (self._stops * swing))
        y, x = self._places[t % len(self._places)]
        image += self._noise[y : y + height, x : x + width]
        np.clip(image, 0, 255, out=image)
        rgb = np.round(image, out=image).astype(np.uint8)
        return rgb if self._quality >= LOSSLESS else _compressed(rgb, self._quality)


def _gaussian(deviation: float) -> np.ndarray:
    """Return the weights of a Gaussian blur, float (2 r + 1,) with r = 3 deviations, rounded."""
    radius = round(3 * deviation)
    if radius == 0:
        return np.ones(1)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    return weights / weights.sum()


def _compressed(rgb: np.ndarray, quality: int) -> np.ndarray:
    """Return the image after JPEG compression, uint8 (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
