"""Random scenes for pre-training: what stands where, and how it looks. NumPy alone.

Lengths are in metres of an imagined scene about one metre in size; angles in degrees. No task and
no shift of the benchmark is drawn from; the shapes are what any MuJoCo scene is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np

from shiftbench.pretrain.textures import Rng, color

SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX = (
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        mujoco.mjtGeom.mjGEOM_ELLIPSOID,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        mujoco.mjtGeom.mjGEOM_BOX,
    )
)

#: Half the side of the floor and how often it occurs; the rest of the scenes have none.
FLOORS = ((4.0, 0.45), (20.0, 0.40))


@dataclass(frozen=True)
class Part:
    """One primitive: MuJoCo's geom type, its size (3,), position (3,) and rotation (3, 3)."""

    kind: int
    size: np.ndarray
    position: np.ndarray
    rotation: np.ndarray


@dataclass(frozen=True)
class Layout:
    """Geometry and camera, shared by the two appearances of a scene.

    Attributes:
        parts: the objects' primitives.
        floor: half side of a square floor at height 0, or 0 without one.
        lookat: what the camera looks at, (3,).
        distance, azimuth, elevation, fovy: the camera, in metres and degrees.
    """

    parts: list[Part]
    floor: float
    lookat: np.ndarray
    distance: float
    azimuth: float
    elevation: float
    fovy: float


@dataclass(frozen=True)
class Surface:
    """How one primitive looks: material index (-1 without texture), colour and reflectance."""

    material: int
    rgb: np.ndarray
    specular: float
    shininess: float
    emission: float


@dataclass(frozen=True)
class Light:
    """One lamp; position and direction are (3,), colours (3,); `head` lamps sit at the camera."""

    head: bool
    directional: bool
    position: np.ndarray
    direction: np.ndarray
    ambient: np.ndarray
    diffuse: np.ndarray
    specular: np.ndarray


@dataclass(frozen=True)
class Appearance:
    """Everything that two renders of one layout do not share; the floor's surface comes last."""

    surfaces: list[Surface] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)


def _frame(axis: np.ndarray) -> np.ndarray:
    """Return a rotation whose third column is ``axis`` (3,), of any length above 0."""
    z = axis / np.linalg.norm(axis)
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.8 else np.array([0.0, 1.0, 0.0])
    y = np.cross(z, helper)
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z], axis=1)


def _direction(rng: Rng) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / max(np.linalg.norm(vector), 1e-6)


def _bar(kind: int, start: np.ndarray, end: np.ndarray, radius: float, rng: Rng) -> Part:
    """Return a capsule, cylinder or box between two points."""
    axis = end - start
    half = 0.5 * np.linalg.norm(axis)
    size = [radius, radius * rng.uniform(0.5, 1.2), half] if kind == BOX else [radius, half, 0.0]
    return Part(kind, np.array(size), 0.5 * (start + end), _frame(axis))


def _chain(rng: Rng, flat: bool) -> list[Part]:
    """Return an articulated chain of one to six links, planar in three of five cases."""
    normal = np.array([0.0, 0.0, 1.0]) if flat else _frame(_direction(rng))[:, 0]
    if not flat and rng.random() < 0.7:
        normal = np.array([0.0, 1.0, 0.0]) if rng.random() < 0.5 else np.array([1.0, 0.0, 0.0])
    planar = flat or rng.random() < 0.6
    across = np.cross(normal, _direction(rng))
    heading = across / max(np.linalg.norm(across), 1e-6)
    kind = int(rng.choice([CAPSULE, CAPSULE, CYLINDER, BOX]))
    radius, at = rng.uniform(0.02, 0.12), np.zeros(3)
    parts = []
    for _ in range(rng.integers(1, 7)):
        angle = np.radians(rng.uniform(-130, 130))
        if planar:
            side = np.cross(normal, heading)
            heading = np.cos(angle) * heading + np.sin(angle) * side
        else:
            heading = heading + 0.9 * _direction(rng)
        heading = heading / max(np.linalg.norm(heading), 1e-6)
        end = at + heading * rng.uniform(0.12, 0.7)
        parts.append(_bar(kind, at, end, radius * rng.uniform(0.7, 1.2), rng))
        at = end
    if rng.random() < 0.4:
        parts.append(Part(SPHERE, np.full(3, radius * rng.uniform(1.1, 2.5)), at, np.eye(3)))
    return parts


def _slider(rng: Rng) -> list[Part]:
    """Return a rail or pole with a box on it."""
    axis = np.eye(3)[rng.choice([0, 0, 1, 2])]
    half = rng.uniform(0.4, 1.4)
    rail = _bar(int(rng.choice([CAPSULE, BOX])), -half * axis, half * axis, 0.02, rng)
    size = rng.uniform(0.05, 0.2, 3)
    place = axis * rng.uniform(-half, half) + 0.5 * size * (1 - axis)
    parts = [rail, Part(BOX, size, place, np.eye(3))]
    if rng.random() < 0.5:
        end = place + _direction(rng) * rng.uniform(0.2, 0.9)
        parts.append(_bar(CAPSULE, place, end, rng.uniform(0.02, 0.06), rng))
    return parts


def _primitive(rng: Rng, flat: bool) -> list[Part]:
    """Return one free primitive."""
    kind = int(rng.choice([SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX]))
    scale = np.clip(0.14 * np.exp(0.6 * rng.normal(size=3)), 0.03, 0.35)
    axis = np.array([0.0, 0.0, 1.0]) if flat and rng.random() < 0.7 else _direction(rng)
    rotation = _frame(axis)
    turn = rng.uniform(0, np.pi)
    spin = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]]
    )
    return [Part(kind, scale, np.zeros(3), rotation @ spin)]


def layout(rng: Rng) -> Layout:
    """Draw one scene's geometry and camera."""
    flat = rng.random() < 0.25
    parts: list[Part] = []
    for _ in range(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15])):
        draw = rng.random()
        if draw < 0.5:
            group = _chain(rng, flat)
        elif draw < 0.65:
            group = _slider(rng)
        else:
            group = _primitive(rng, flat)
        spread = 0.35 if not parts else 0.9
        offset = rng.uniform(-spread, spread, 3)
        lowest = min(part.position[2] - _reach(part) for part in group)
        if flat or rng.random() < 0.4:
            offset[2] = -lowest
        else:
            offset[2] = -lowest + rng.uniform(0.0, 0.8)
        parts += [Part(p.kind, p.size, p.position + offset, p.rotation) for p in group]
    draw, floor = rng.random(), 0.0
    for half, odds in FLOORS:
        if draw < odds:
            floor = half
            break
        draw -= odds
    centres = np.stack([part.position for part in parts])
    middle = 0.5 * (centres.min(0) + centres.max(0))
    scale = float(np.clip(0.6 * np.ptp(centres, axis=0).max(), 0.35, 1.4))
    draw = rng.random()
    if flat or draw < 0.1:
        elevation = rng.uniform(-90.0, -65.0)
    elif draw < 0.4:
        elevation = rng.uniform(-8.0, 3.0)
    else:
        elevation = rng.uniform(-60.0, -5.0)
    azimuth = 90.0 * rng.integers(4) if rng.random() < 0.4 else rng.uniform(0.0, 360.0)
    if elevation > -8.0:
        middle[2] = max(middle[2], 0.15)
    return Layout(
        parts=parts,
        floor=floor,
        lookat=middle + rng.normal(0.0, 0.2 * scale, 3),
        distance=scale * rng.uniform(2.0, 6.0),
        azimuth=float(azimuth),
        elevation=float(elevation),
        fovy=rng.uniform(30.0, 60.0),
    )


def _reach(part: Part) -> float:
    """Return how far below its centre a part reaches, in metres."""
    size, up = part.size, np.abs(part.rotation[2])
    if part.kind == SPHERE:
        return float(size[0])
    if part.kind == CAPSULE:
        return float(size[0] + up[2] * size[1])
    if part.kind == CYLINDER:
        return float(size[0] * np.hypot(up[0], up[1]) + up[2] * size[1])
    if part.kind == ELLIPSOID:
        return float(np.linalg.norm(up * size))
    return float(up @ size)


def appearance(rng: Rng, count: int, flat_materials: int, solid_materials: int) -> Appearance:
    """Draw one appearance of a scene.

    Args:
        rng: source of randomness.
        count: number of parts; their surfaces come first, the floor's last.
        flat_materials: materials 0 … with a picture projected from above, for the floor.
        solid_materials: materials that follow, with a picture wrapped around a cube.
    """
    share = rng.random()
    same = rng.random() < 0.3
    surfaces: list[Surface] = []
    for _ in range(count):
        if same and surfaces:
            surfaces.append(surfaces[0])
        else:
            material = flat_materials + int(rng.integers(solid_materials))
            surfaces.append(_surface(rng, material if rng.random() < share else -1))
    floor = int(rng.integers(flat_materials))
    surfaces.append(_surface(rng, floor if rng.random() < 0.75 else -1))
    gain = np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    return Appearance(surfaces, [_light(rng, gain) for _ in range(rng.integers(1, 4))])


def _surface(rng: Rng, material: int) -> Surface:
    tint = rng.uniform(0.55, 1.0, 3) if material >= 0 else color(rng)
    return Surface(
        material,
        tint.astype(np.float32),
        specular=rng.uniform(0.0, 1.0),
        shininess=rng.uniform(0.0, 1.0),
        emission=rng.uniform(0.0, 0.5) if rng.random() < 0.15 else 0.0,
    )


def _light(rng: Rng, gain: float) -> Light:
    draw = rng.random()
    tint = 1.0 + rng.uniform(0.0, 0.7) * (color(rng) - 0.5)
    direction = np.array([rng.normal(), rng.normal(), -rng.uniform(0.3, 2.0)])
    direction /= np.linalg.norm(direction)
    return Light(
        head=draw < 0.35,
        directional=draw > 0.7,
        position=-rng.uniform(1.5, 4.0) * direction,
        direction=direction,
        ambient=(gain * rng.uniform(0.08, 0.4) * tint).astype(np.float32),
        diffuse=(gain * rng.uniform(0.35, 1.0) * tint).astype(np.float32),
        specular=(rng.uniform(0.0, 0.7) * tint).astype(np.float32),
    )
