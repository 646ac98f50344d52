"""Measure the encoders of trained agents, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shiftbench import checkpoints, jobs, progress, provenance
from shiftbench.envs import gl
from shiftbench.errors import ShiftBenchError
from shiftbench.plan import Run, find_checkpoint, made_for, training_command
from shiftbench.probe import encoding, measures, scenes, states
from shiftbench.probe.tables import SCHEMA
from shiftbench.registry import ALGORITHMS, FAMILIES
from shiftbench.specs import Shift

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm

    from shiftbench.encoders import Encoder
    from shiftbench.envs.pixels import PixelEnv

#: Clean frames that the readout is fitted on, and scenes that are remembered, for each state.
FIT, MEMORY = 10, 4


#: Why an encoder has no attention.
NO_MAP = "the last block of the encoder gives no spatial map"


class Look(NamedTuple):
    """What one stage makes of one shift; what `chance` is to `attention`, and why it has none."""

    invariance: float
    decodability: float
    attention: float
    chance: float
    note: str = ""


class Stage:
    """One encoder, before or after training, and what is known of it from clean frames.

    Args:
        encoder: the encoder.
        device: torch device that it works on.
    """

    def __init__(self, encoder: Encoder, device: str) -> None:
        encoder.module.to(device).eval()
        encoder.transform.to(device)
        self._encoder = encoder
        self._clean: np.ndarray | None = None

    def fit(self, clean: states.States, tick: states.Tick) -> None:
        """Fit the readout of positions."""
        self._readout = measures.Readout(self._encode(clean.frames, tick)[0], clean.positions)

    def look(self, shown: states.States, tick: states.Tick) -> Look:
        """Measure one shift; the clean one comes first."""
        features, activity = self._encode(shown.frames, tick)
        if self._clean is None:
            self._clean = features
        invariance = measures.distance(self._clean, features)
        decodability = measures.explained(self._readout.read(features), shown.positions)
        if activity is None:
            nothing = float("nan")
            return Look(invariance, decodability, nothing, nothing, NO_MAP)
        return Look(invariance, decodability, *measures.attention(activity, shown.agent))

    def recognise(self, known: scenes.Labelled, asked: scenes.Labelled, tick: states.Tick) -> float:
        """Return the accuracy on labelled scenes."""
        memory, queries = (self._encode(part.frames, tick)[0] for part in (known, asked))
        return measures.knn_accuracy(memory, known.labels, queries, asked.labels)

    def _encode(
        self, frames: np.ndarray, tick: states.Tick
    ) -> tuple[np.ndarray, np.ndarray | None]:
        return encoding.encode(self._encoder, frames, tick)


def probe(
    plan: Sequence[Run],
    shifts: Sequence[Shift],
    *,
    count: int,
    seed: int,
    checkpoint: Path | None,
    out: Path,
    device: str,
    flags: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Measure every run of the plan that has a policy, and name the others.

    Args:
        plan: the runs.
        shifts: the shifts, the clean arm first.
        count: states of each task.
        seed: of states, looks and scenes.
        checkpoint: policy to probe in place of those that are found.
        out: where trainings are, for the command that a line names.
        device: torch device.
        flags: further flags for that command.

    Returns:
        Rows with the columns of `shiftbench.probe.tables`, in the order of the plan.

    Raises:
        ShiftBenchError: an agent without an encoder, a task without positions, nothing is left to
            probe, or a file does not fit.
    """
    for run in plan:
        if run.agent.encoder == "none" or not ALGORITHMS.get(run.agent.algorithm).trainable:
            raise ShiftBenchError(f"--agent {run.agent.name}: this agent has no encoder to probe")
    if checkpoint is not None:
        plan = made_for(checkpoint, plan)
    found = [(run, path) for run in plan if (path := find_checkpoint(run, checkpoint))]
    for run, _ in found:
        if not run.task.positions:
            raise ShiftBenchError(
                f"task '{run.task.name}' lists no positions in its file, which decodability reads"
            )
    for run in plan:
        if find_checkpoint(run, checkpoint) is None:
            command = training_command(run, out, flags)
            progress.note(f"left out: {run} has no checkpoint. Train it: {command}")
    if not found:
        raise ShiftBenchError("nothing is left to probe: train first, or give --checkpoint FILE")
    tasks = list(dict.fromkeys(run.task for run, _ in found))
    drawn = states.work(FIT * count, 1) + len(shifts) * states.work(count)
    encoded = (FIT + len(shifts) + MEMORY + 1) * count
    total = len(tasks) * (drawn + (MEMORY + 1) * count) + 2 * len(found) * encoded
    rows = []
    with progress.bar(total=total, unit="frame", unit_scale=True, desc="probe") as bar:
        for task in tasks:
            own = [(run, path) for run, path in found if run.task == task]
            env = jobs.make_env(own[0][0])
            try:
                subjects = [Subject(run, path, env.action_dim, device) for run, path in own]
                _measure(env, subjects, shifts, count, seed, bar)
            finally:
                env.close()
            shared = {"states": count, "probe_seed": seed, "gl": gl.backend()}
            rows += [row | shared for subject in subjects for row in subject.rows]
    return rows


class Subject:
    """A trained agent, its two stages, and the rows found so far.

    Args:
        run: the run.
        path: its policy.
        action_dim: number of action dimensions.
        device: torch device.

    Raises:
        ShiftBenchError: the policy does not fit the run.
    """

    def __init__(self, run: Run, path: Path, action_dim: int, device: str) -> None:
        agent = jobs.make_agent(run, action_dim, device)
        agent.load(path)
        self.stages = [Stage(agent.encoder(trained), agent.device) for trained in (False, True)]
        self.rows: list[dict[str, Any]] = []
        self._shared = {
            "agent": run.agent.id,
            "task": run.task.name,
            "train_seed": run.seed,
            "schema": SCHEMA,
            "suite": run.suite.name,
            "suite_version": run.suite.version,
            "task_version": run.task.version,
            "image_size": run.suite.image_size,
            "render": run.suite.render,
            "train_steps": getattr(agent, "train_steps", 0),
            "checkpoint": checkpoints.sha256(path),
            **provenance.versions(),
            "device": agent.device,
        }

    def __str__(self) -> str:
        return f"{self._shared['agent']} {self._shared['task']}"

    def add(
        self, shift: Shift, name: str, values: Sequence[float], chance: float, note: str = ""
    ) -> None:
        """Add the row of one probe: its numbers before and after training."""
        family = None if shift.is_clean else FAMILIES.get(shift.family)
        before, after = values
        self.rows.append(
            self._shared
            | {
                "family": shift.family,
                "level": shift.level,
                "severity": shift.severity,
                "shift_hash": provenance.shift_hash(family, shift.severity, shift.backgrounds),
                "probe": name,
                "before": before,
                "after": after,
                "chance": chance,
                "note": note,
            }
        )


def _measure(
    env: PixelEnv,
    subjects: Sequence[Subject],
    shifts: Sequence[Shift],
    count: int,
    seed: int,
    bar: tqdm,
) -> None:
    """Add the rows of the subjects, all of one task.

    Frames are drawn once for all of them, and kept for one shift at a time.
    """
    clean = states.draw(env, "fit", seed, FIT * count, Shift.clean(), bar.update, every=1)
    for subject in subjects:
        bar.set_postfix_str(str(subject), refresh=False)
        for stage in subject.stages:
            stage.fit(clean, bar.update)
    del clean
    known, asked = _scenes(seed, count, env.scene.height, bar)
    for subject in subjects:
        bar.set_postfix_str(str(subject), refresh=False)
        values = [stage.recognise(known, asked, bar.update) for stage in subject.stages]
        subject.add(Shift.clean(), "forgetting", values, 1 / scenes.LABELS)
    del known, asked
    for shift in shifts:
        bar.set_postfix_str(f"{env.task.name} {shift}", refresh=False)
        shown = states.draw(env, "test", seed, count, shift, bar.update)
        for subject in subjects:
            looks = [stage.look(shown, bar.update) for stage in subject.stages]
            for name, chance, note in (
                ("invariance", float("nan"), ""),
                ("decodability", float("nan"), ""),
                ("attention", looks[0].chance, looks[0].note),
            ):
                subject.add(shift, name, [getattr(look, name) for look in looks], chance, note)


def _scenes(seed: int, count: int, size: int, bar: tqdm) -> tuple[scenes.Labelled, scenes.Labelled]:
    """Return the labelled scenes to remember and to ask for."""
    both = scenes.draw(seed, (MEMORY + 1) * count, bar.update)
    frames, known = encoding.fitted(both.frames, size), MEMORY * count
    return (
        scenes.Labelled(frames[:known], both.labels[:known]),
        scenes.Labelled(frames[known:], both.labels[known:]),
    )
