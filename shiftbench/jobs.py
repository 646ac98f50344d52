"""From a plan to finished work: train what must be trained, evaluate the rest.

The unit is the cell: agent × task × training seed × shift. Every finished cell is one file; a run
that is repeated or was stopped goes on with the cells that have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench import checkpoints, feature_cache, parallel, progress, provenance, results
from shiftbench.accounting import naming_memory_of
from shiftbench.errors import ShiftBenchError, Unfinished
from shiftbench.evaluate import evaluation_seeds, rollout
from shiftbench.files import check_writable
from shiftbench.halt import Halt, Halted
from shiftbench.plan import (
    POLICY,
    Run,
    find_checkpoint,
    lacks_training,
    made_for,
    stopped_short,
    trained_steps,
    training_command,
)
from shiftbench.registry import ALGORITHMS, FAMILIES
from shiftbench.schedule import make_agent, make_env, train
from shiftbench.specs import Shift

if TYPE_CHECKING:
    import pandas as pd

    from shiftbench.agents.base import Agent
    from shiftbench.envs.pixels import PixelEnv


def run(
    plan: Sequence[Run],
    shifts: Sequence[Shift],
    *,
    episodes: int,
    steps: int | None,
    checkpoint: Path | None,
    out: Path,
    device: str,
    cache: feature_cache.Setting = feature_cache.AUTO,
    compiled: bool = False,
    flags: Sequence[str] = (),
    halt: Halt | None = None,
    jobs: int = 1,
    fresh: bool = False,
    envs: int = 1,
) -> pd.DataFrame:
    """Evaluate every run of the plan under every shift and return all their rows.

    What has no checkpoint is trained where ``steps`` is given, and so is what an earlier training
    left unfinished; else it is left out with one line. Half-trained agents are never evaluated
    unless ``steps`` says that they have enough.

    Args:
        plan: what to evaluate.
        shifts: the shifts, the clean arm among them.
        episodes: episodes of a cell.
        steps: environment steps of the training of what has no checkpoint.
        checkpoint: policy to evaluate in place of those that are found.
        out: folder for what is written.
        device: torch device.
        cache, compiled: as for `train`.
        flags: further flags for the commands that the lines name.
        halt, jobs, fresh, envs: as for `train`.

    Raises:
        ShiftBenchError: nothing is left to evaluate, a file does not fit, or a run failed.
        Unfinished: ``halt`` stopped it; finished cells are stored.
    """
    halt = halt or Halt()
    if fresh and steps is None:
        raise ShiftBenchError("--fresh: trains anew, so it needs --steps N")
    if checkpoint is not None and steps is not None:
        raise ShiftBenchError("--steps: trains, but with --checkpoint there is nothing to train")
    if checkpoint is not None:
        plan = made_for(checkpoint, plan)
    missing = [
        run_
        for run_ in plan
        if checkpoint is None
        and ALGORITHMS.get(run_.agent.algorithm).trainable
        and (fresh or lacks_training(run_, steps) or (steps is None and stopped_short(run_)))
    ]
    if missing and steps is not None:
        how = {"cache": cache, "compiled": compiled, "envs": envs}
        train(missing, steps, device, halt=halt, jobs=jobs, fresh=fresh, **how)
        missing = []
    for run_ in missing:
        progress.note(_left_out(run_, out, flags))
    left = [run_ for run_ in plan if run_ not in missing]
    if not left:
        raise ShiftBenchError("nothing is left to evaluate: train first, or give --steps N")
    files = _evaluate_all(left, shifts, episodes, checkpoint, out, device, halt, jobs)
    return results.read_rows(files, {run_.task.name: run_.task for run_ in plan})


def _left_out(run: Run, out: Path, flags: Sequence[str]) -> str:
    """Say why a run is not evaluated, and what to do."""
    goal = stopped_short(run)
    command = training_command(run, out, flags, goal or None)
    if not goal:
        return f"left out: {run} has no checkpoint. Train it: {command}"
    done = trained_steps(run)
    return (
        f"left out: {run} was stopped at {done} of {goal} environment steps. Go on: {command}; "
        f"or evaluate it as it is: --steps {done}"
    )


def _evaluate_all(
    plan: Sequence[Run],
    shifts: Sequence[Shift],
    episodes: int,
    checkpoint: Path | None,
    out: Path,
    device: str,
    halt: Halt,
    jobs: int,
) -> list[Path]:
    """Evaluate the cells that are missing, and return the files of all."""
    chosen = {run.folder: find_checkpoint(run, checkpoint) for run in plan}
    for run in plan:
        found = chosen[run.folder]
        if found not in (None, checkpoint, run.folder / POLICY):
            trained = checkpoints.read_meta(found).get("train_steps", 0)
            progress.note(f"{run}: the policy that ships, of {trained} environment steps: {found}")
    cells = [_cells(run, shifts, episodes, chosen[run.folder], out) for run in plan]
    aside = sum(len(results.replaced(own)) for own in cells)
    if aside:
        progress.note(
            f"{aside} cells in {out} of other checkpoints, episodes or pictures are kept as "
            ".csv.old once they are replaced; they come back when they are asked for again"
        )
    paths = [list(own.values()) for own in cells]
    files = [path for own in paths for path in own]
    before = sum(results.put_in_force(own) for own in cells)
    total = len(files)
    bar = progress.bar(total=total * episodes, unit="episode", desc="evaluate")
    if before:
        bar.update(before * episodes)

    def show(run: Run, shift: Shift) -> None:
        bar.set_postfix_str(f"{run.agent.id} {run.task.name} {shift}", refresh=False)
        bar.update()

    work = partial(
        _evaluate, shifts=shifts, episodes=episodes, chosen=chosen, out=out, device=device
    )
    todo = [run for run, own in zip(plan, paths, strict=True) if not all(p.exists() for p in own)]
    failed: list[tuple[Run, str]] = []
    try:
        if min(jobs, len(todo)) > 1:
            failed = parallel.each(work, todo, jobs, halt, show)
        else:
            with suppress(Halted):
                for run in todo:
                    halt.check()
                    work(run, halt, partial(show, run))
    finally:
        bar.close()
    if failed:
        raise parallel.failure(failed, len(todo))
    stored = sum(path.exists() for path in files)
    if stored < total and not halt.limited:
        raise ShiftBenchError(
            f"another process wrote to a checkpoint or to cells in {out} meanwhile: run it again"
        )
    if stored < total:
        none = "" if stored > before else ", none of them in this slice: a whole cell must fit"
        raise Unfinished(f"{halt}: {stored} of {total} cells are evaluated{none}")
    return files


def _evaluate(
    run: Run,
    halt: Halt,
    send: Callable[[Shift], None],
    *,
    shifts: Sequence[Shift],
    episodes: int,
    chosen: dict[Path, Path | None],
    out: Path,
    device: str,
) -> None:
    """Evaluate the missing cells of one run; ``send`` gets the shift of every episode."""
    checkpoint = chosen[run.folder]
    cells = _cells(run, shifts, episodes, checkpoint, out)
    todo = [
        (shift, cell, path)
        for shift, (cell, path) in zip(shifts, cells.items(), strict=True)
        if not path.exists()
    ]
    if not todo:  # another process did it
        return
    check_writable(todo[0][2].parent)
    with ExitStack() as stack:
        env = make_env(run)
        stack.callback(env.close)
        stack.enter_context(naming_memory_of(run, device))
        agent = make_agent(run, env.action_dim, device)
        if checkpoint:
            agent.load(checkpoint)
            if checkpoints.sha256(checkpoint) != todo[0][1].checkpoint:
                raise ShiftBenchError(f"{checkpoint}: a training wrote to it: run it again")
        for shift, cell, path in todo:
            halt.check()
            if path.exists():  # another process did it
                for _ in range(cell.episodes):
                    send(shift)
                continue
            left = iter(range(1, cell.episodes))

            def played(shift: Shift = shift, left: Iterator[int] = left) -> None:
                send(shift)
                if next(left, None):  # what is complete is stored before anything stops
                    halt.check()

            results.write_rows(path, _play(run, cell, shift, agent, env, played))
            results.put_in_force({cell: path})


def _cells(
    run: Run, shifts: Sequence[Shift], episodes: int, checkpoint: Path | None, out: Path
) -> dict[results.Cell, Path]:
    """Return the cells of one run, in the order of the shifts, with their files."""
    digest = checkpoints.sha256(checkpoint) if checkpoint else ""
    cells = [_cell(run, shift, episodes, digest) for shift in shifts]
    return {cell: cell.path(out) for cell in cells}


def _cell(run: Run, shift: Shift, episodes: int, checkpoint: str) -> results.Cell:
    family = None if shift.is_clean else FAMILIES.get(shift.family)
    return results.Cell(
        suite=run.suite.name,
        suite_version=run.suite.version,
        task=run.task.name,
        task_version=run.task.version,
        agent=run.agent.id,
        train_seed=run.seed,
        checkpoint=checkpoint,
        family=shift.family,
        level=shift.level,
        severity=shift.severity,
        shift_hash=provenance.shift_hash(family, shift.severity, shift.backgrounds),
        image_size=run.suite.image_size,
        render=run.suite.render,
        episodes=episodes,
    )


def _play(
    run: Run, cell: results.Cell, shift: Shift, agent: Agent, env: PixelEnv, on_episode: Callable
) -> list[dict[str, Any]]:
    """Play the episodes of a cell and return its rows."""
    from shiftbench.envs import gl

    seeds, looks = evaluation_seeds(run.task.name, run.task.version, shift, cell.episodes)
    played = rollout(agent.policy(), env, seeds, shift, looks, on_episode=on_episode)
    shared = {
        **{name: getattr(cell, name) for name in cell.__struct_fields__ if name in results.KINDS},
        **provenance.versions(),
        "schema": results.SCHEMA,
        "train_steps": getattr(agent, "train_steps", 0),
        "gl": gl.backend(),
        "device": "cpu" if agent.device == "auto" else agent.device,
    }
    return [
        {
            **shared,
            "episode": number,
            "return": episode.episode_return,
            "score": run.task.score(episode.episode_return),
            "length": episode.length,
        }
        for number, episode in enumerate(played)
    ]
