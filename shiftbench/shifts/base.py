"""What a shift family is: the one interface between a family and the renderer."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from shiftbench.shifts.scene import Scene
    from shiftbench.specs import Shift

#: The severities that the columns of a family's table stand for.
SEVERITY = (0.0, 0.25, 0.5, 0.75, 1.0)


class ShiftFamily:
    """One kind of visual change, for one environment.

    A family changes pixels only: it may edit visual fields of the scene and the finished image,
    never anything the physics reads. One instance serves one shift of one environment for its whole
    life; `apply` is called at every reset, after the scene has been restored to its clean state.

    A frame is made in this order: `step`, then MuJoCo fills ``scene.mjv``, then `decorate`, then
    the drawing, then `post`.

    All randomness must come from the ``rng`` given to `apply`, and frame ``t`` must not depend on
    which frames were drawn before it.
    """

    #: True where `post` reads the depth image; without it the renderer does not read depth back.
    needs_depth = False

    #: True where it shows the pictures of ``Shift.backgrounds``, whose hash then enters the rows;
    #: read of the instance that `for_shift` returns.
    reads_backgrounds = False

    @classmethod
    def for_shift(cls, shift: Shift) -> ShiftFamily:
        """Return an instance that serves ``shift``; for families that read more than a severity."""
        return cls()

    def apply(self, scene: Scene, severity: float, rng: np.random.Generator) -> None:
        """Edit the clean scene in place at the start of an episode.

        Args:
            scene: the visual side of one environment.
            severity: in (0, 1]; 0 never gets here, the clean arm has no family.
            rng: the only source of randomness, seeded by task, family, level and episode.
        """

    def step(self, scene: Scene, t: int) -> None:
        """Edit the scene before frame ``t`` (agent steps since the reset): moving shifts."""

    def decorate(self, scene: Scene, t: int) -> None:
        """Edit what is about to be drawn: geoms, lights and the camera of ``scene.mjv``.

        MuJoCo has just filled it from the model, and fills it anew for the next frame: nothing done
        here outlives frame ``t``, and nothing of it exists in a model.
        """

    def post(self, rgb: np.ndarray, depth: np.ndarray | None, t: int) -> np.ndarray:
        """Return the final image of frame ``t``.

        Args:
            rgb: uint8 (H, W, 3), the rendered frame; may be changed in place.
            depth: float32 (H, W) in [0, 1], 1 at the far plane (the sky); None unless
                `needs_depth`.
            t: agent steps since the reset.

        Returns:
            uint8 (H, W, 3).
        """
        return rgb


def both_ways(rng: np.random.Generator, least: float, count: int) -> np.ndarray:
    """Return numbers of either sign whose sizes are uniform in [least, 1]: float (count,)."""
    return signs(rng, count) * rng.uniform(least, 1, count)


def signs(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return numbers that are -1 or 1: int (count,)."""
    return 2 * rng.integers(2, size=count) - 1  # three times as fast as `choice`


class Swing:
    """Colours that come and go, each channel in a rhythm of its own; false where nothing moves.

    Args:
        numbers: ``swing``, the share of a channel that goes at most, and ``speed`` in radians an
            agent step.
        count: of colours.
        rng: draws where each begins.
    """

    def __init__(self, numbers: SimpleNamespace, count: int, rng: np.random.Generator) -> None:
        self._share, self._speed = numbers.swing, numbers.speed
        self._phases = rng.uniform(0, 2 * np.pi, (count, 3))

    def __bool__(self) -> bool:
        return self._share > 0 and self._speed > 0

    def at(self, t: int) -> np.ndarray:
        """Return the factors at agent step ``t``: float (count, 3) in (0, 1]."""
        return 1 - self._share * (0.5 + 0.5 * np.sin(self._phases + self._speed * t))


class GradedFamily(ShiftFamily):
    """A family whose numbers stand in one table.

    Attributes:
        table: name → its value at each of `SEVERITY`; between them values are interpolated. At
            severity 0 no number changes a frame.
        motion: which of these names say whether and how fast things move.
    """

    table: ClassVar[Mapping[str, tuple[float, ...]]]
    motion: ClassVar[tuple[str, ...]] = ("speed",)

    @classmethod
    def numbers(cls, severity: float, **given: float) -> SimpleNamespace:
        """Return the table's numbers at ``severity``, those that are ``given`` in their place.

        Raises:
            KeyError: a given number is none of the table's.
        """
        for name in given:
            cls.table[name]
        column = min(int(np.searchsorted(SEVERITY, severity, "right")), len(SEVERITY) - 1) - 1
        left, right = SEVERITY[column], SEVERITY[column + 1]
        share = (severity - left) / (right - left)
        found = {
            name: (1 - share) * row[column] + share * row[column + 1]
            for name, row in cls.table.items()
        }
        return SimpleNamespace(**{**found, **given})

    def apply(self, scene: Scene, severity: float, rng: np.random.Generator) -> None:
        self.use(scene, self.numbers(severity), rng)

    def use(self, scene: Scene, numbers: SimpleNamespace, rng: np.random.Generator) -> None:
        """Do the work of `apply` with these numbers, of the table or of a preset."""
        raise NotImplementedError
