"""What one frame shows of the state, as numbers: the positions that a task file lists.

They are read from the physics and from its own camera, so no shift changes them; a velocity or a
root that the camera follows is not among them, for no single frame shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import mujoco
import numpy as np

from shiftbench.errors import ShiftBenchError, unknown
from shiftbench.specs import Position, Task

#: Kind → its MuJoCo object type, and the field that counts it in the model.
_KINDS = {
    "joint": (mujoco.mjtObj.mjOBJ_JOINT, "njnt"),
    "body": (mujoco.mjtObj.mjOBJ_BODY, "nbody"),
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "ngeom"),
    "site": (mujoco.mjtObj.mjOBJ_SITE, "nsite"),
}

#: Kind → field of the data with the place of each.
_PLACES = {"body": "xpos", "geom": "geom_xpos", "site": "site_xpos"}


class Positions:
    """The positions of one environment.

    A slide gives its coordinate in metres, called ``<joint>``. A hinge gives ``<joint>.sin`` and
    ``<joint>.cos``, so that nothing jumps where an angle wraps; with a symmetry n they are of n
    times the angle. A body, a geom or a site gives its place in metres in the camera's frame,
    ``<name>.x`` (right), ``<name>.y`` (up) and ``<name>.z`` (towards the viewer), as far as its
    ``axes`` list them; with MuJoCo's free camera, which stands still, in the world's frame.

    Attributes:
        names: one for each number, in the order of the task file.

    Args:
        task: lists the positions.
        physics: dm_control physics; read, never written.
        camera: index of the camera, -1 for the free one.

    Raises:
        ShiftBenchError: a name that the model lacks, a joint that is neither a hinge nor a slide,
            or the same number twice.
    """

    def __init__(self, task: Task, physics, camera: int) -> None:
        self._model, self._data = physics.model.ptr, physics.data.ptr
        self._camera = camera
        self._readers: list[Callable[[], Iterable[float]]] = []
        names: list[str] = []
        for i, position in enumerate(task.positions):
            where = f"{task.name}.toml, key positions[{i}].{position.kind}"
            found = self._index(position, where)
            add = self._joint if position.kind == "joint" else self._place
            parts, reader = add(position, found, where)
            for part in parts:
                if part in names:
                    raise ShiftBenchError(f"{where}: '{part}' is there already")
                names.append(part)
            self._readers.append(reader)
        self.names = tuple(names)

    def read(self) -> np.ndarray:
        """Return the present positions: float32 (P,), in the order of `names`."""
        return np.array([value for reader in self._readers for value in reader()], np.float32)

    def _index(self, position: Position, where: str) -> int:
        kind, count = _KINDS[position.kind]
        found = mujoco.mj_name2id(self._model, kind, position.name)
        if found < 0:
            every = range(getattr(self._model, count))
            valid = (mujoco.mj_id2name(self._model, kind, i) for i in every)
            raise unknown(position.kind, position.name, [name for name in valid if name], where)
        return found

    def _joint(self, position: Position, joint: int, where: str):
        qpos, address = self._data.qpos, self._model.jnt_qposadr[joint]
        name, times = position.name, position.symmetry
        kind = self._model.jnt_type[joint]
        if kind == mujoco.mjtJoint.mjJNT_HINGE:
            return (f"{name}.sin", f"{name}.cos"), lambda: (
                np.sin(times * qpos[address]),
                np.cos(times * qpos[address]),
            )
        if kind != mujoco.mjtJoint.mjJNT_SLIDE:
            raise ShiftBenchError(
                f"{where}: '{name}' is neither a hinge nor a slide: name its body instead"
            )
        if times != 1:
            raise ShiftBenchError(f"{where}: '{name}' is a slide, which has no symmetry")
        return (name,), lambda: (qpos[address],)

    def _place(self, position: Position, index: int, where: str):
        place = getattr(self._data, _PLACES[position.kind])[index]
        axes = ["xyz".index(axis) for axis in position.axes]
        names = [f"{position.name}.{axis}" for axis in position.axes]
        if self._camera < 0:
            return names, lambda: place[axes]
        origin, turn = self._data.cam_xpos[self._camera], self._data.cam_xmat[self._camera]
        return names, lambda: ((place - origin) @ turn.reshape(3, 3))[axes]
