"""Procedural pictures for the shift families: pure NumPy, tileable.

A *field* is periodic in both directions, so that a texture repeats without a seam and a backdrop
scrolls for ever; `painted` turns it into a picture through a palette's `ramps`. A kind computes one
in a millisecond or two, float32 (S, S) in [0, 1]; `field` takes one out of a stock that is computed
once a process, up to a size, and turns and moves it.

The kinds are held out: the generator that pre-trains the shipped encoder (`shiftbench.pretrain`)
draws value noise, checkers, stripes, gradients and speckle, and none of those may be added here;
nor may a kind of this file be used there. What the benchmark shows is new to every encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np

from shiftbench import seeding

#: Fields of each kind and size that `field` chooses among, and the largest side in pixels of those
#: that are kept.
STOCK, KEPT = 32, 256

#: Weights of red, green and blue in luma (ITU-R BT.709), here over display values in [0, 1].
LUMA = np.array([0.2126, 0.7152, 0.0722])


@lru_cache(maxsize=16)
def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel centres in [0, 1): float32 (S, 1) down and (1, S) across."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    return line[:, None], line[None, :]


def _wrapped(distance: np.ndarray) -> np.ndarray:
    """Return the distance on a circle of length 1."""
    distance = np.abs(distance)
    return np.minimum(distance, 1 - distance)


@lru_cache(maxsize=16)
def _cycles(size: int) -> np.ndarray:
    """Return the frequencies of `numpy.fft.rfft2` in cycles an image, at least 1."""
    down = np.fft.fftfreq(size, 1 / size)[:, None]
    across = np.fft.rfftfreq(size, 1 / size)[None, :]
    return np.maximum(np.hypot(down, across), 1)


def _filtered(
    rng: np.random.Generator, size: int, gain: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return white noise filtered by ``gain`` (of cycles an image), with mean 0 and deviation 1."""
    weight = gain(_cycles(size))
    weight[0, 0] = 0
    noise = np.fft.rfft2(rng.standard_normal((size, size)))
    field = np.fft.irfft2(noise * weight, s=(size, size))
    return (field / field.std()).astype(np.float32)


def spectral(rng: np.random.Generator, size: int) -> np.ndarray:
    """Clouds whose amplitude falls with frequency like that of natural images.

    Amplitude ∝ 1/f^a with a from 1.0 to 1.4 (Field 1987, doi 10.1364/JOSAA.4.002379).
    """
    slope = rng.uniform(1.0, 1.4)
    return np.clip(0.5 + 0.22 * _filtered(rng, size, lambda f: f**-slope), 0, 1)


def spots(rng: np.random.Generator, size: int) -> np.ndarray:
    """Spots or labyrinths like an animal's coat: band-passed noise, softly thresholded."""
    centre, threshold = rng.uniform(4, 9), rng.uniform(-0.6, 0.6)
    noise = _filtered(rng, size, lambda f: np.exp(-((f - centre) ** 2) / (0.08 * centre**2)))
    return 1 / (1 + np.exp(-5 * (noise - threshold)))


def leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Dead leaves: discs that hide one another.

    Radii are distributed like r^-3, which makes the picture look alike at every scale (Lee, Mumford
    & Huang 2001, doi 10.1023/A:1011109015675).
    """
    count, smallest, largest = 90, 0.03, 0.3
    share = rng.uniform(size=count)
    radii = (smallest**-2 + share * (largest**-2 - smallest**-2)) ** -0.5
    down, across = _axes(size)
    ground = rng.uniform()
    y, x = rng.uniform(size=(count, 2)).astype(np.float32).T
    values = np.append(ground, rng.uniform(size=count)).astype(np.float32)
    # The largest disc lies lowest, with the number 1, and the highest number is what is seen.
    squared = np.sort(radii)[::-1, None].astype(np.float32) ** 2
    tall = squared - _wrapped(down.T - y[:, None]) ** 2
    wide = _wrapped(across - x[:, None]) ** 2
    numbers = (tall[:, :, None] > wide[:, None, :]).view(np.uint8)
    numbers *= np.arange(1, count + 1, dtype=np.uint8)[:, None, None]
    return values[numbers.max(0)]


def voronoi(rng: np.random.Generator, size: int) -> np.ndarray:
    """Cells around random points, each of one tone that fades towards its edge."""
    points = rng.uniform(size=(rng.integers(8, 25), 2)).astype(np.float32)
    tones = rng.uniform(0.25, 1, len(points)).astype(np.float32)
    down, across = _axes(size)
    squared = (
        _wrapped(down - points[:, 0])[:, None] ** 2
        + _wrapped(across.T - points[:, 1])[None, :] ** 2
    )
    nearest = squared.argmin(-1)
    reach = np.sqrt(np.take_along_axis(squared, nearest[..., None], -1)[..., 0])
    return tones[nearest] * (1 - 0.7 * reach / reach.max())


def rings(rng: np.random.Generator, size: int) -> np.ndarray:
    """Rings around a centre, bent by waves, like the grain of wood."""
    down, across = _axes(size)
    y, x, phase_y, phase_x = rng.uniform(size=4)
    waves = rng.integers(1, 3, 2)
    turn = 2 * np.pi
    bend = np.sin(turn * (waves[0] * across + phase_x)) + np.sin(turn * (waves[1] * down + phase_y))
    radius = np.hypot(np.sin(np.pi * (down - y)), np.sin(np.pi * (across - x)))
    field = 0.5 + 0.5 * np.sin(turn * (rng.uniform(2, 4) * radius + rng.uniform(0.1, 0.3) * bend))
    return field.astype(np.float32)


def weave(rng: np.random.Generator, size: int) -> np.ndarray:
    """Threads over and under each other, each of its own tone, round in section."""
    count = 2 * int(rng.integers(2, 5))
    warp, weft = rng.uniform(0.2, 1, (2, count)).astype(np.float32)
    line = _axes(size)[1][0] * count
    thread = line.astype(int)
    round_ = np.sqrt(1 - 0.9 * (2 * (line - thread) - 1) ** 2)
    over = (thread[:, None] + thread[None, :]) % 2 == 0
    return np.where(over, (warp[thread] * round_)[:, None], (weft[thread] * round_)[None, :])


def bricks(rng: np.random.Generator, size: int) -> np.ndarray:
    """Courses of bricks, every other one moved by half a brick, each brick of its own tone."""
    courses, across_count = 2 * int(rng.integers(2, 5)), int(rng.integers(2, 5))
    tones = rng.uniform(0.3, 1, (courses, across_count)).astype(np.float32)
    down, across = _axes(size)
    course = (down * courses).astype(int)
    position = across * across_count + 0.5 * (course % 2)
    brick = position.astype(int)
    joint = ((down * courses - course) < 0.12) | (
        (position - brick) < 0.12 * across_count / courses
    )
    return np.where(joint, np.float32(0), tones[course, brick % across_count])


def truchet(rng: np.random.Generator, size: int) -> np.ndarray:
    """Winding bands: square tiles with two quarter circles, each tile turned by chance."""
    count = int(rng.integers(3, 7))
    turned = rng.integers(0, 2, (count, count))
    line = _axes(size)[1][0] * count
    tile = line.astype(int)
    y, x = np.meshgrid(line - tile, line - tile, indexing="ij")
    x = np.where(turned[np.ix_(tile, tile)], 1 - x, x)
    gap = np.minimum(np.abs(np.hypot(x, y) - 0.5), np.abs(np.hypot(1 - x, 1 - y) - 0.5))
    return np.clip((gap - 0.1) / 0.15, 0, 1)


#: Kind → field. The order is part of the benchmark: a seed draws from it by position.
KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "spectral": spectral,
    "spots": spots,
    "leaves": leaves,
    "voronoi": voronoi,
    "rings": rings,
    "weave": weave,
    "bricks": bricks,
    "truchet": truchet,
}


def field(rng: np.random.Generator, size: int, kind: str = "", enlarge: bool = False) -> np.ndarray:
    """Return a field: uint8 (S, S), 0 to 255.

    It is one of the stock, turned, mirrored and moved by chance.

    Args:
        rng: what chance is.
        size: S; even, where it is enlarged.
        kind: of `KINDS`; drawn by chance unless given.
        enlarge: whether it is computed at half the size and then `enlarged`.
    """
    number, one, turn, y, x = rng.integers((len(KINDS), STOCK, 8, size, size)).tolist()
    take = _stock if size <= KEPT else _stock.__wrapped__
    found = take(kind or list(KINDS)[number], one, size, enlarge)
    if turn & 1:
        found = found.T
    found = found[:: -1 if turn & 2 else 1, :: -1 if turn & 4 else 1]
    found = np.concatenate([found[y:], found[:y]])
    return np.concatenate([found[:, x:], found[:, :x]], 1)


@lru_cache(maxsize=2048)
def _stock(kind: str, number: int, size: int, enlarge: bool) -> np.ndarray:
    """Return one field of the stock, uint8 (S, S), not to be changed."""
    rng = seeding.rng(seeding.seed_of("pattern", kind, number))
    found = KINDS[kind](rng, size // 2 if enlarge else size)
    found = np.round(255 * (enlarged(found) if enlarge else found)).astype(np.uint8)
    found.flags.writeable = False
    return found


def enlarged(field: np.ndarray) -> np.ndarray:
    """Return a periodic field at twice its size, interpolated: float32 (S, S) → (2 S, 2 S)."""
    for axis in (0, 1):
        between = 0.5 * (field + np.roll(field, -1, axis))
        field = np.stack([field, between], axis + 1).reshape(
            [2 * n if i == axis else n for i, n in enumerate(field.shape)]
        )
    return field


#: The purest hues, float (360, 3): each has a channel at 0 and one at 1.
HUES = np.clip(np.abs((np.arange(360)[:, None] / 60 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)


def with_luma(colours: np.ndarray, luma: np.ndarray | float) -> np.ndarray:
    """Return the colours darkened, or mixed with white, until each has the luma wanted.

    Args:
        colours: float (..., 3) in [0, 1].
        luma: float (...) in [0, 1].
    """
    present = colours @ LUMA
    darker = luma / np.maximum(present, 1e-6)
    lighter = (luma - present) / np.maximum(1 - present, 1e-6)
    # Either the first is at most 1 or the second at least 0.
    white = np.maximum(lighter, 0)[..., None]
    return colours * (np.minimum(darker, 1)[..., None] - white) + white


def palettes(
    rng: np.random.Generator,
    lumas: Sequence[tuple[float, float]],
    stops: int = 4,
    saturation: float = 1.0,
) -> np.ndarray:
    """Return palettes of random colours whose lumas spread over a range.

    Args:
        rng: source of hues and order.
        lumas: the darkest and the lightest of each palette; both occur.
        stops: how many colours each has, at least 2.
        saturation: 0 for greys, 1 for the purest hues that the luma allows.

    Returns:
        float (palettes, stops, 3) in [0, 1].
    """
    low, high = np.reshape(lumas, (-1, 2)).T[..., None]
    pure = HUES[rng.integers(len(HUES), size=(len(low), stops))]
    spread = low + (high - low) * (np.arange(stops) / (stops - 1))
    return with_luma(0.5 + saturation * (pure - 0.5), rng.permuted(spread, axis=1))


def ramps(colours: np.ndarray) -> np.ndarray:
    """Return the colours of 256 steps through palettes.

    Args:
        colours: float (..., stops, 3), spread evenly over the steps and interpolated.

    Returns:
        float (..., 256, 3).
    """
    return _shares(colours.shape[-2]) @ colours


@cache
def _shares(stops: int) -> np.ndarray:
    """Return how much of each of a palette's colours a step is: float (256, stops)."""
    return np.maximum(1 - np.abs(np.linspace(0, stops - 1, 256)[:, None] - np.arange(stops)), 0)


def painted(field: np.ndarray, ramp: np.ndarray) -> np.ndarray:
    """Return a field as a picture, uint8 (S, S, 3), of a ramp, uint8 (256, 3)."""
    return ramp.take(field, 0)


def row(colour: np.ndarray, width: int) -> np.ndarray:
    """Return the channels of a row of pixels of one colour, (3,) → (3 W,).

    Whole rows are combined several times as fast as pixels; three channels are too short for that.
    """
    return np.repeat(colour[None], width, 0).ravel()
