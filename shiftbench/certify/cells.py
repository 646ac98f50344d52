"""What is measured of one task and one family, and where the finished cells lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct

from shiftbench import provenance
from shiftbench.certify import distances, episodes, reader
from shiftbench.certify.episodes import EVERY, STEPS, Tick, Track, no_tick, play
from shiftbench.certify.verdicts import Cell
from shiftbench.errors import ShiftBenchError
from shiftbench.files import replacing
from shiftbench.registry import FAMILIES
from shiftbench.specs import Shift, Suite, Task

if TYPE_CHECKING:
    from shiftbench.envs.pixels import PixelEnv

#: Training frames of a reader for each state that is compared: 20,000 with 200 states.
FRAMES_PER_STATE = 100

#: Episodes that are played again in another process, and looks that one episode is shown in.
REPEATED = 4

#: Set of episodes that are compared; `reader` trains on another.
PURPOSE = "states"

#: The readers of a task.
READERS = ("clean", "shifted")

#: What decides a measurement besides the task and the shift.
_SOURCES = (distances, episodes, reader)


class Plan(Struct, frozen=True):
    """What is certified of one task.

    Attributes:
        states: how many states are compared.
        solvable: whether readers are trained.
    """

    task: Task
    shifts: tuple[Shift, ...]
    image_size: int
    render: str
    states: int
    solvable: bool = True

    @classmethod
    def of(cls, suite: Suite, task: Task, states: int, solvable: bool) -> Plan:
        """Return the plan for every shift of a suite.

        Raises:
            ShiftBenchError: the task lists no positions, and readers are wanted.
        """
        if solvable and not task.positions:
            raise ShiftBenchError(
                f"task '{task.name}' lists no positions in its file: the check 'solvable' needs "
                "them, --no-solvable leaves it out"
            )
        shifts = tuple(shift for shift in suite.shifts() if not shift.is_clean)
        return cls(task, shifts, suite.image_size, suite.render, states, solvable)

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(shift.family for shift in self.shifts))

    def of_family(self, family: str) -> list[Shift]:
        """Return the family's shifts."""
        return [shift for shift in self.shifts if shift.family == family]

    @property
    def episodes(self) -> int:
        return -(-self.states // (STEPS // EVERY))

    @property
    def repeated(self) -> int:
        """How many of the episodes are played again."""
        return min(REPEATED, self.episodes)

    @property
    def frames(self) -> int:
        """How many frames a reader trains on."""
        return FRAMES_PER_STATE * self.states

    def make_env(self) -> PixelEnv:
        """Build the task's environment."""
        from shiftbench.envs.pixels import PixelEnv

        return PixelEnv(self.task, image_size=self.image_size, render=self.render, guarded=False)

    def reader_path(self, out: Path, kind: str) -> Path:
        """Return the file of the reader of ``clean`` or ``shifted`` frames."""
        shifts = self.shifts if kind == "shifted" else ()
        return self._folder(out, "readers") / f"{kind}-{self._digest(shifts)}.safetensors"

    def cell_path(self, out: Path, shift: Shift) -> Path:
        """Return the file of a finished cell.

        With readers it depends on every shift, for all of them trained one of the two.
        """
        digest = self._digest([shift, *(self.shifts if self.solvable else ())])
        return self._folder(out, "cells") / f"{shift.family}-{shift.level}-{digest}.json"

    def _folder(self, out: Path, kind: str) -> Path:
        return out / kind / f"{self.task.name}-v{self.task.version}"

    def _digest(self, shifts: Sequence[Shift]) -> str:
        """Return a hash of everything that changes what is measured under these shifts.

        Versions of libraries and the device do not enter; they are recorded beside the numbers.
        """
        names = [(str(shift), _shift_hash(shift)) for shift in shifts]
        fields = [self.task, self.image_size, self.render, self.states, self.solvable, names]
        digest = hashlib.sha256(msgspec.json.encode(fields))
        for module in _SOURCES:
            digest.update(Path(module.__file__).read_bytes())
        digest.update(Path(__file__).read_bytes())
        return digest.hexdigest()[:10]


def _shift_hash(shift: Shift) -> str:
    return provenance.shift_hash(FAMILIES.get(shift.family), shift.severity)


class Measured(Struct, frozen=True):
    """What one process finds out about a shift; see `Cell`.

    Attributes:
        frames: digest of the frames of each of the first `REPEATED` episodes.
    """

    ssim: float
    features: float
    r2: float | None
    r2_clean: float | None
    worst: str
    worst_r2: float | None
    harm: str
    same_look: str
    frames: list[str]
    network: str


# -- in one process ------------------------------------------------------------------------------


def training_work(plan: Plan) -> int:
    """Return how many ticks `train_reader` takes."""
    return reader.work(plan.frames)


def train_reader(plan: Plan, kind: str, out: Path, tick: Tick = no_tick) -> None:
    """Train one of `READERS` and write it."""
    env = plan.make_env()
    try:
        trained = reader.train(
            env, plan.shifts if kind == "shifted" else (None,), plan.frames, tick
        )
    finally:
        env.close()
    reader.save(trained, plan.reader_path(out, kind))


def measuring_work(plan: Plan, family: str) -> int:
    """Return how many ticks `measure` takes."""
    levels = len(plan.of_family(family))
    arm = plan.episodes * STEPS + plan.task.agent_steps
    return (1 + levels) * arm + levels * (STEPS + (REPEATED - 1) * EVERY)


def measure(plan: Plan, family: str, out: Path, tick: Tick = no_tick) -> dict[Shift, Measured]:
    """Measure every level of a family in an environment of its own.

    The environment begins with the clean arm, which no family can have spoiled yet.

    Args:
        out: where the readers lie, where the plan wants them.
        tick: told of the work as it is done.
    """

    network = distances.RandomFeatures()
    readers = {}
    if plan.solvable:
        for kind in READERS:
            readers[kind] = reader.load(plan.reader_path(out, kind), plan.image_size)
    env = plan.make_env()
    try:
        clean = _arm(plan, env, None, tick)
        scores = {}
        if readers:
            pictures, positions, _ = _states(plan, clean, clean)
            scores["clean"] = reader.explained(readers["clean"].read(pictures), positions)
            _check_moving(plan, env, scores["clean"])
        measured = {}
        for shift in plan.of_family(family):
            arm = _arm(plan, env, shift, tick)
            pictures, positions, seen = _states(plan, clean, arm)
            if readers:
                scores["shifted"] = reader.explained(readers["shifted"].read(seen), positions)
            looks = {arm[0].frames[:EVERY].tobytes()}
            for look in range(1, REPEATED):
                track = play(env, PURPOSE, 0, shift, steps=EVERY, look=look, tick=tick)
                looks.add(track.frames.tobytes())
            harm = _harm(clean, arm, play(env, PURPOSE, 0, tick=tick))
            measured[shift] = Measured(
                ssim=float(np.median(distances.ssim_distance(pictures, seen))),
                features=float(np.median(network.distance(pictures, seen))),
                harm=harm,
                same_look="" if len(looks) == REPEATED else "different seeds give equal frames",
                frames=[track.digest() for track in arm[: plan.repeated]],
                network=network.sha256,
                **_reading(env, scores),
            )
    finally:
        env.close()
    return measured


def repeat(plan: Plan, family: str) -> dict[Shift, list[str]]:
    """Return the digests of `Measured.frames` anew, drawn in the opposite order."""
    env = plan.make_env()
    digests: dict[Shift, list[str]] = {}
    try:
        for shift in reversed(plan.of_family(family)):
            found = [play(env, PURPOSE, i, shift).digest() for i in reversed(range(plan.repeated))]
            digests[shift] = found[::-1]
    finally:
        env.close()
    return digests


def _arm(plan: Plan, env: PixelEnv, shift: Shift | None, tick: Tick) -> list[Track]:
    """Play the episodes whose states are compared, and one more to its end."""
    short = [play(env, PURPOSE, i, shift, tick=tick) for i in range(plan.episodes)]
    whole = play(env, PURPOSE, plan.episodes, shift, steps=plan.task.agent_steps, tick=tick)
    return [*short, whole]


def _states(
    plan: Plan, clean: Sequence[Track], arm: Sequence[Track]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return clean frames, positions and this arm's frames of the states that are compared.

    An episode that a shift cut short, which it must not, is compared as far as it goes.
    """
    parts = []
    for one, other in zip(clean[: plan.episodes], arm, strict=False):
        chosen = slice(EVERY - 1, min(len(one.frames), len(other.frames)), EVERY)
        parts.append((one.frames[chosen], one.positions[chosen], other.frames[chosen]))
    pictures, positions, seen = (
        np.concatenate(each)[: plan.states] for each in zip(*parts, strict=True)
    )
    return pictures, positions, seen


def _check_moving(plan: Plan, env: PixelEnv, scores: np.ndarray) -> None:
    still = [n for n, score in zip(env.position_names, scores, strict=True) if np.isnan(score)]
    if still:
        raise ShiftBenchError(
            f"task '{plan.task.name}': {', '.join(still)} is the same in all {plan.states} "
            "states, so nothing can be read from it: take it out of the task's positions, or ask "
            "for more --states"
        )


def _harm(clean: Sequence[Track], arm: Sequence[Track], after: Track) -> str:
    """Return what a shift changed besides pixels, in words."""
    if not all(a.same_physics(b) for a, b in zip(clean, arm, strict=True)):
        return "states, rewards or lengths differ from the clean ones"
    if not after.same_physics(clean[0]):
        return "the physics is another one after the shift"
    if after.digest() != clean[0].digest():
        return "the clean frames are others after the shift"
    return ""


def _reading(env: PixelEnv, scores: dict[str, np.ndarray]) -> dict:
    if not scores:
        return {"r2": None, "r2_clean": None, "worst": "", "worst_r2": None}
    worst = int(scores["shifted"].argmin())
    return {
        "r2": float(scores["shifted"].mean()),
        "r2_clean": float(scores["clean"].mean()),
        "worst": env.position_names[worst],
        "worst_r2": float(scores["shifted"][worst]),
    }


# -- finished cells ------------------------------------------------------------------------------


def finish(plan: Plan, shift: Shift, measured: Measured, again: Sequence[str]) -> Cell:
    """Join what two processes found out."""
    unseeded = [measured.same_look] if measured.same_look else []
    if list(again) != measured.frames:
        unseeded.append("one seed gives other frames in another process and order")
    fields = {
        name: getattr(measured, name)
        for name in Measured.__struct_fields__
        if name in Cell.__struct_fields__
    }
    return Cell(
        task=plan.task.name,
        task_version=plan.task.version,
        family=shift.family,
        level=shift.level,
        severity=shift.severity,
        states=plan.states,
        unseeded="; ".join(unseeded),
        shift_hash=_shift_hash(shift),
        versions=provenance.versions(),
        **fields,
    )


def write(path: Path, cell: Cell) -> None:
    """Write a cell, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(cell)))


def read(path: Path) -> Cell:
    """Read a cell. Raises ShiftBenchError where it is not one that `write` wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cell)
    except msgspec.MsgspecError as error:
        raise ShiftBenchError(f"{path}: not a cell ({error}): delete it") from error
