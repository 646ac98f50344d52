"""What a frame costs elsewhere: dm_control's own renderer, and other suites' ways of changing it.

Written from the descriptions of the methods, none is anybody's code. Each is given what helps it:
pictures and edited texts are ready before the clock starts, and the floor, which a background of
ours covers too, is hidden, which dm_control's renderer is glad of.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

import mujoco
import numpy as np

from shiftbench import seeding
from shiftbench.envs.loading import load
from shiftbench.specs import Task

#: Ways of putting a picture behind the scene → what each does in every frame.
BACKGROUNDS = {
    "key, pixel by pixel": "sky painted in a key colour, which a Python loop over pixels replaces",
    "key, NumPy": "the same, replaced under a NumPy mask",
    "sky upload": (
        "a picture copied into the sky's texture, six sides of 800 × 800 (100 × 100 in the "
        "manipulation task), which is uploaded, then drawn"
    ),
}

#: A way of changing the look of a scene at a reset → what it does.
RESETS = {"recompile": "the task's MJCF with other colours, compiled, up to its first frame"}

#: Colour of a sky that is to be replaced.
KEY = (0, 255, 0)


class Drawn(NamedTuple):
    """What came out of each way.

    Attributes:
        seconds: name → those of each frame, with all that belongs to it.
        frames: name → uint8 (N, S, S, 3).
        edits: name → seconds of each frame without the drawing; of ways with a picture behind.
    """

    seconds: dict[str, list[float]]
    frames: dict[str, np.ndarray]
    edits: dict[str, list[float]]


def serve(connection: Connection) -> None:
    """Answer each (task, size, states, peers) with what dm_control's renderer made of it.

    The states are float64 (N, n); where ``peers`` is true the other suites' ways are taken with
    them too, recompilation with the first alone. None ends it.
    """
    # Mesa's own default: dm_control's large frames gain by it, whatever ours are drawn with.
    os.environ.setdefault("LP_NUM_THREADS", str(os.cpu_count()))
    tasks: dict[str, DmControl] = {}
    while (request := connection.recv()) is not None:
        task, size, states, peers = request
        if task.name not in tasks:
            tasks[task.name] = DmControl(task)
        here = tasks[task.name]
        connection.send(here.changed(size, states) if peers else here.plain(size, states))


class DmControl:
    """One task as dm_control draws it."""

    def __init__(self, task: Task) -> None:
        random = seeding.random_state(0)
        self._env, self._xml, self._assets = load(task, random)
        # A target's place is no part of the state: it must be that of an episode with seed 0.
        random.set_state(seeding.random_state(0).get_state())
        self._env.reset()
        self._physics, self._camera = self._env.physics, task.camera
        self._model = self._physics.model.ptr
        skies = np.flatnonzero(self._model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        self._sky = int(skies[0])
        start = int(self._model.tex_adr[self._sky])
        count = 3 * int(self._model.tex_width[self._sky] * self._model.tex_height[self._sky])
        self._texels = self._model.tex_data[start : start + count]  # a view
        self._rng = seeding.rng(seeding.seed_of("benchmark", "peers", task.name))
        self._pictures = self._rng.integers(0, 255, (2, count), np.uint8)

    def plain(self, size: int, states: np.ndarray) -> Drawn:
        """Draw the states as they are."""
        times, frames = [], []
        for state in states:
            self._stand(state)
            start = time.perf_counter()
            frames.append(self._draw(size))
            times.append(time.perf_counter() - start)
        return Drawn({"dm_control": times}, {"dm_control": np.array(frames)}, {})

    def changed(self, size: int, states: np.ndarray) -> Drawn:
        """Draw the states in each way of `BACKGROUNDS`, and the first in that of `RESETS`."""
        by_pixel, by_mask, upload = BACKGROUNDS
        picture = self._rng.integers(0, 255, (size, size, 3), np.uint8)
        seconds: dict[str, list[float]] = {name: [] for name in (*BACKGROUNDS, *RESETS)}
        frames: dict[str, list[np.ndarray]] = {name: [] for name in seconds}
        edits: dict[str, list[float]] = {name: [] for name in BACKGROUNDS}
        with self._bare():
            for name, replace in ((by_pixel, _loop), (by_mask, _mask)):
                self._texels[:] = np.tile(np.array(KEY, np.uint8), len(self._texels) // 3)
                self._upload()
                for state in states:
                    self._stand(state)
                    start = time.perf_counter()
                    image = self._draw(size)
                    drawn = time.perf_counter()
                    replace(image, picture)
                    end = time.perf_counter()
                    seconds[name].append(end - start)
                    edits[name].append(end - drawn)
                    frames[name].append(image)
            for i, state in enumerate(states):
                self._stand(state)
                start = time.perf_counter()
                self._texels[:] = self._pictures[i % 2]
                self._upload()
                edits[upload].append(time.perf_counter() - start)
                frames[upload].append(self._draw(size))
                seconds[upload].append(time.perf_counter() - start)
        (recompile,) = RESETS
        took, image = self._recompiled(size, states[0])
        seconds[recompile], frames[recompile] = [took], [image]
        return Drawn(seconds, {name: np.array(images) for name, images in frames.items()}, edits)

    def _stand(self, state: np.ndarray) -> None:
        self._physics.set_state(state)
        self._physics.forward()

    def _draw(self, size: int) -> np.ndarray:
        return self._physics.render(size, size, camera_id=self._camera)

    def _upload(self) -> None:
        """Bring the sky's texture to the graphics side."""
        contexts = self._physics.contexts
        with contexts.gl.make_current() as current:
            current.call(mujoco.mjr_uploadTexture, self._model, contexts.mujoco.ptr, self._sky)

    @contextmanager
    def _bare(self) -> Iterator[None]:
        """Hide the floor, so that the sky is seen there too; put it and the sky back at the end."""
        sky, colours = self._texels.copy(), self._model.geom_rgba.copy()
        self._model.geom_rgba[self._model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE, 3] = 0
        try:
            yield
        finally:
            self._texels[:] = sky
            self._model.geom_rgba[:] = colours
            self._upload()

    def _recompiled(self, size: int, state: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the seconds from the edited MJCF to its first frame, and that frame."""
        from dm_control.mujoco import Physics

        xml, assets = _recoloured(self._xml, self._assets, self._rng)
        start = time.perf_counter()
        physics = Physics.from_xml_string(xml, assets)
        physics.set_state(state)
        physics.forward()
        image = physics.render(size, size, camera_id=self._camera)
        took = time.perf_counter() - start
        physics.free()
        return took, image


def _loop(image: np.ndarray, picture: np.ndarray) -> None:
    """Replace the key colour pixel by pixel: both uint8 (S, S, 3), the image in place."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if tuple(image[y, x]) == KEY:
                image[y, x] = picture[y, x]


def _mask(image: np.ndarray, picture: np.ndarray) -> None:
    """Replace the key colour under a mask: both uint8 (S, S, 3), the image in place."""
    where = (image == KEY).all(-1)
    image[where] = picture[where]


def _recoloured(
    xml: str, assets: Mapping[str, bytes], rng: np.random.Generator
) -> tuple[str, dict[str, bytes]]:
    """Return a task's MJCF and what it includes with another colour wherever one is named."""

    def other(match: re.Match) -> str:
        colour = " ".join(f"{c:.3f}" for c in rng.uniform(0, 1, 3))
        return f'{match[1]}="{colour}{match[2]}"'

    def edited(text: str) -> str:
        return re.sub(r'\b(rgb1|rgb2|rgba)="[^" ]+ [^" ]+ [^" ]+( [^"]+|)"', other, text)

    return edited(xml), {
        name: edited(data.decode()).encode() if name.endswith(".xml") else data
        for name, data in assets.items()
    }
