"""A labelled set of random scenes: what pre-training taught, asked again after training.

The scenes are of the generator that `shiftbench.pretrain` draws from, under seeds of another name.
The label is where in the picture the objects are: in which quarter their centre lies. It is
geometry, which pre-training keeps, whatever the objects, their looks, lamps and backgrounds are,
which all differ from scene to scene.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from shiftbench import seeding
from shiftbench.pretrain import shards, textures
from shiftbench.probe.states import Tick

#: Quarters of the picture.
LABELS = 4

#: Scenes whose centre is nearer to a middle line than this many pixels (of 64) have no label.
MARGIN = 4.0


class Labelled(Struct, frozen=True):
    """N scenes, as many of each label as of any other (±1), labels in turn.

    Attributes:
        frames: uint8 (N, S, S, 3).
        labels: int64 (N,), 0 to `LABELS` − 1.
    """

    frames: np.ndarray
    labels: np.ndarray


def draw(seed: int, count: int, tick: Tick) -> Labelled:
    """Draw a labelled set.

    Args:
        seed: of the probes.
        count: N.
        tick: hears of every scene that is kept.

    Raises:
        ShiftBenchError: no OpenGL backend works.
    """
    rng = seeding.rng(seeding.seed_of("probe", "scenes", seed))
    wanted = np.arange(count) % LABELS
    frames = np.empty((count, shards.SIZE, shards.SIZE, 3), np.uint8)
    free = [list(np.flatnonzero(wanted == label)) for label in range(LABELS)]
    painter = shards.Painter(rng)
    try:
        while any(free):
            layout, numbers = painter.place_next(rng)
            label = quarter(numbers > shards.FLOOR)
            if label is None or not free[label]:
                continue
            painter.dress_next(layout, rng)
            sky = (numbers == shards.SKY)[..., None]
            background = textures.background(rng, shards.SIZE)
            frames[free[label].pop(0)] = np.where(sky, background, painter.frame())
            tick(1)
    finally:
        painter.close()
    return Labelled(frames, wanted)


def quarter(mask: np.ndarray) -> int | None:
    """Return in which quarter of the picture the centre of a mask lies.

    Args:
        mask: bool (S, S), not empty.

    Returns:
        0 above left, 1 above right, 2 below left, 3 below right, None within `MARGIN` of a middle
        line.
    """
    down, right = (at.mean() - (len(mask) - 1) / 2 for at in np.nonzero(mask))
    if min(abs(down), abs(right)) < MARGIN:
        return None
    return 2 * int(down > 0) + int(right > 0)
