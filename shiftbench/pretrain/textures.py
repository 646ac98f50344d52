"""Procedural images for pre-training: textures for surfaces, pictures for backgrounds.

The kinds here (octaves of value noise, checker, stripes, gradient, speckle, two of them under a
mask, and loose clutter of simple shapes) are not the kinds of the benchmark's shift families, so
that an encoder trained on them meets every benchmark texture for the first time in evaluation.

All images are floats in [0, 1] until they are stored.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import cache

import numpy as np

Rng = np.random.Generator


def color(rng: Rng) -> np.ndarray:
    """Return a random RGB colour, float32 (3,): any hue, saturation and value spread evenly."""
    return np.array(
        colorsys.hsv_to_rgb(rng.random(), rng.random() ** 0.7, rng.uniform(0.05, 1.0)), np.float32
    )


@cache
def _upsample(size: int, cells: int) -> np.ndarray:
    """Return the matrix (size, cells) of linear interpolation that wraps around."""
    at = np.arange(size) * cells / size
    low, share = at.astype(int), (at % 1.0).astype(np.float32)
    share = share * share * (3.0 - 2.0 * share)
    matrix = np.zeros((size, cells), np.float32)
    matrix[np.arange(size), low % cells] += 1.0 - share
    matrix[np.arange(size), (low + 1) % cells] += share
    return matrix


def _stretch(field: np.ndarray) -> np.ndarray:
    low, high = field.min(), field.max()
    return ((field - low) / max(high - low, 1e-6)).astype(np.float32)


def noise(rng: Rng, size: int) -> np.ndarray:
    """Return octaves of smooth value noise (size, size)."""
    first, falloff = int(rng.integers(1, 4)), rng.uniform(0.35, 0.85)
    total = np.zeros((size, size), np.float32)
    for octave in range(first, min(first + 4, int(np.log2(size)))):
        cells = 2**octave
        grid = rng.random((cells, cells), dtype=np.float32)
        matrix = _upsample(size, cells)
        total += falloff ** (octave - first) * (matrix @ grid @ matrix.T)
    return _stretch(total)


def _axes(rng: Rng, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two rotated coordinates (size, size) in units of the image."""
    y, x = (np.mgrid[:size, :size] / size).astype(np.float32)
    angle = rng.choice([0.0, 0.5 * np.pi, rng.uniform(0, np.pi)])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def checker(rng: Rng, size: int) -> np.ndarray:
    """Return a rotated checkerboard of 1 to 8 periods (size, size)."""
    u, v = _axes(rng, size)
    periods = rng.integers(1, 9)
    return ((np.floor(2 * periods * u) + np.floor(2 * periods * v)) % 2).astype(np.float32)


def stripes(rng: Rng, size: int) -> np.ndarray:
    """Return stripes of 1 to 12 periods, hard or smooth (size, size)."""
    u, _ = _axes(rng, size)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.integers(1, 13) * u + rng.random()))
    return (wave > rng.uniform(0.2, 0.8)).astype(np.float32) if rng.random() < 0.6 else wave


def gradient(rng: Rng, size: int) -> np.ndarray:
    """Return a linear ramp (size, size)."""
    u, _ = _axes(rng, size)
    return _stretch(u) ** np.float32(rng.uniform(0.5, 2.0))


def speckle(rng: Rng, size: int) -> np.ndarray:
    """Return scattered dots of one or two pixels (size, size)."""
    scale = int(rng.choice([1, 2, 4]))
    dots = rng.random((size // scale, size // scale)) < rng.uniform(0.03, 0.4)
    return np.kron(dots, np.ones((scale, scale))).astype(np.float32)


FIELDS: tuple[Callable[[Rng, int], np.ndarray], ...] = (noise, checker, stripes, gradient, speckle)
_FIELD_ODDS = (0.36, 0.18, 0.18, 0.14, 0.14)


def _colored(rng: Rng, field: np.ndarray) -> np.ndarray:
    """Map a field (size, size) to colours (size, size, 3) between two or three random ones."""
    first, last = color(rng), color(rng)
    image = first + field[..., None] * (last - first)
    if rng.random() < 0.35:
        hump = 4.0 * field * (1.0 - field)
        image += hump[..., None] * (color(rng) - image) * np.float32(rng.uniform(0.3, 1.0))
    return image


def _simple(rng: Rng, size: int) -> np.ndarray:
    return _colored(rng, FIELDS[rng.choice(len(FIELDS), p=_FIELD_ODDS)](rng, size))


def texture(rng: Rng, size: int) -> np.ndarray:
    """Return one random texture: uint8 (size, size, 3)."""
    image = _simple(rng, size)
    if rng.random() < 0.3:
        mask = FIELDS[rng.integers(3)](rng, size)[..., None] > rng.uniform(0.3, 0.7)
        image = np.where(mask, _simple(rng, size), image)
    if rng.random() < 0.3:
        image = image + rng.normal(0.0, rng.uniform(0.02, 0.12), image.shape)
    return (np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _shape(rng: Rng, size: int) -> np.ndarray:
    """Return the coverage (size, size) in [0, 1] of one ellipse, box or bar."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - rng.random((2, 1, 1), np.float32)
    angle = rng.uniform(0, np.pi)
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    kind = rng.integers(3)
    a = rng.uniform(0.04, 0.22)
    b = a * rng.uniform(0.4, 1.0)
    if kind == 0:
        distance = (np.hypot(u / a, v / b) - 1.0) * b
    elif kind == 1:
        distance = np.maximum(np.abs(u) - a, np.abs(v) - b)
    else:
        half, radius = rng.uniform(0.08, 0.4), rng.uniform(0.01, 0.06)
        distance = np.hypot(np.maximum(np.abs(u) - half, 0.0), v) - radius
    return np.clip(0.5 - distance * size / rng.uniform(1.0, 3.0), 0.0, 1.0)[..., None]


def background(rng: Rng, size: int) -> np.ndarray:
    """Return one random background: uint8 (size, size, 3).

    One in eight is plain or a vertical ramp, as a renderer's sky; the others are textures, most of
    them with shaded shapes on top that look like objects and are none.
    """
    if rng.random() < 0.125:
        ramp = np.linspace(0.0, 1.0, size, dtype=np.float32)[:, None, None]
        top = color(rng)
        bottom = color(rng) if rng.random() < 0.6 else top
        return (np.broadcast_to(top + ramp * (bottom - top), (size, size, 3)) * 255).astype(
            np.uint8
        )
    image = texture(rng, size).astype(np.float32) / 255.0
    if rng.random() < 0.65:
        for _ in range(rng.integers(1, 9)):
            fill = _simple(rng, size) if rng.random() < 0.4 else color(rng)
            shade = 1.0 - rng.uniform(0.0, 0.7) * gradient(rng, size)[..., None]
            cover = _shape(rng, size)
            image = image + cover * (fill * shade - image)
    return (np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
