"""Training a plan: what is left to do, one run after the other or several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftbench import accounting, feature_cache, parallel, progress, trackers
from shiftbench.errors import ShiftBenchError, Unfinished
from shiftbench.files import check_writable
from shiftbench.halt import Halt, Halted, Unbegun
from shiftbench.locks import check_free, locked, set_aside
from shiftbench.plan import POLICY, Run, trained_steps
from shiftbench.registry import ALGORITHMS

if TYPE_CHECKING:
    from shiftbench.agents.base import Agent
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.envs.vector import Collector


def make_agent(run: Run, action_dim: int, device: str) -> Agent:
    """Build the agent of ``run``, neither trained nor loaded."""
    algorithm = ALGORITHMS.get(run.agent.algorithm)
    return algorithm(
        run.agent, run.task, action_dim, run.suite.image_size, seed=run.seed, device=device
    )


def make_env(run: Run) -> PixelEnv:
    """Build the environment of ``run``."""
    from shiftbench.envs.pixels import PixelEnv

    return PixelEnv(run.task, image_size=run.suite.image_size, render=run.suite.render)


def make_envs(run: Run, count: int) -> Collector:
    """Build ``count`` environments of ``run`` that step side by side."""
    from shiftbench.envs.vector import Collector

    return Collector(run.task, count, run.suite.image_size, run.suite.render)


def train(
    plan: Sequence[Run],
    steps: int,
    device: str,
    *,
    eval_every: int = 5000,
    cache: feature_cache.Setting = feature_cache.AUTO,
    compiled: bool = False,
    halt: Halt | None = None,
    jobs: int = 1,
    fresh: bool = False,
    envs: int = 1,
    tensorboard: bool = False,
    wandb: str | None = None,
) -> list[Path]:
    """Train every run up to ``steps`` environment steps and return the policies' files.

    Prints the plan, with the time that it is expected to take, before it starts. A run goes on
    where it stopped.

    Args:
        plan: what to train.
        steps: environment steps in total.
        device: torch device.
        eval_every: environment steps between evaluations on clean validation episodes.
        cache: what is stored of what frozen blocks give, and where; as for `shiftbench.train.fit`.
        compiled: whether agents compile their updates; likewise.
        halt: tells when to stop.
        jobs: runs at a time, each in a process of its own where it is more than one.
        fresh: begin anew; what is in a run's folder is moved aside, to ``<folder>.old-<n>``.
        envs: environments of a run that collect at a time; see `shiftbench.collect`.
        tensorboard, wandb: see `shiftbench.trackers.tracking`.

    Raises:
        ShiftBenchError: a tracker is not installed, an agent needs no training, cannot be built,
            cannot have the cache that was asked for, its run was started with other settings, or
            another process trains it. With several jobs the other runs are trained before it is
            raised.
        Unfinished: ``halt`` stopped it; everything is stored.
    """
    halt = halt or Halt()
    for name, wanted in (("tensorboard", tensorboard), ("wandb", wandb)):
        if wanted:
            trackers.load(name)
    for run in plan:
        if not ALGORITHMS.get(run.agent.algorithm).trainable:
            raise ShiftBenchError(f"--agent {run.agent.name}: this agent needs no training")
        feature_cache.check(cache, run.agent)
        if compiled and not hasattr(ALGORITHMS.get(run.agent.algorithm), "compile"):
            raise ShiftBenchError(f"--compile: agent '{run.agent.name}' has nothing to compile")
    todo = [run for run in plan if fresh or trained_steps(run) < steps]
    for run in todo:
        check_writable(run.folder)
        check_free(run.folder)  # refused now, not in some hours
    try:
        # Builds each agent, so what is wrong with one is said before anything else.
        expected = ""
        if todo:
            flags = " and ".join(["--compile"] * compiled + ["--envs"] * (envs > 1))
            expected = _expected(todo, steps, device, cache, halt, jobs, fresh, flags)
    except KeyboardInterrupt as stop:
        raise Unbegun from stop
    progress.note(
        f"Training plan: {len(todo)} of {len(plan)} runs, up to {steps} environment steps each."
    )
    if todo:
        how = "--resume in place of --fresh" if fresh else "the same command"
        progress.note(f"Expected: {expected}. Ctrl-C stops; {how} goes on.")
    # All at once: what is not begun when the time is over must not pass for done.
    for run in todo if fresh else ():
        with locked(run.folder):
            old = set_aside(run.folder)
        if old:
            progress.note(f"{run}: the earlier training is now {old}")
    options = {"eval_every": eval_every, "cache": cache}
    if compiled:
        options["compiled"] = True
    tracked = {"tensorboard": tensorboard, "wandb": wandb}
    work = partial(_train, steps=steps, device=device, options=options, envs=envs, tracked=tracked)
    if jobs > 1 and todo:  # also for one: how many are left must not change its threads
        _side_by_side(work, todo, steps, halt, jobs)
    else:
        for run in todo:
            if not halt.allows(0.0):
                break
            progress.note(f"{run} → {run.folder}")
            before = trained_steps(run)
            with suppress(Halted):
                work(run, halt)
            if trained_steps(run) == before and not halt.allows(0.0):
                progress.note(f"{run}: no episode ended in the time that was left")
    _check_finished(plan, steps, halt)
    return [run.folder / POLICY for run in plan]


def _train(
    run: Run,
    halt: Halt,
    send: Callable[[dict[str, Any]], None] | None = None,
    *,
    steps: int,
    device: str,
    options: dict[str, Any],
    envs: int,
    tracked: dict[str, Any],
) -> None:
    """Train one run; with ``send`` it shows nothing and sends the rows of its curve.

    The last thing it sends is ``{"end": where time and memory went}``.
    """
    with ExitStack() as stack:
        env = make_env(run)
        stack.callback(env.close)
        agent = make_agent(run, env.action_dim, device)
        stack.enter_context(locked(run.folder))
        hear = [] if send is None else [send]
        if any(tracked.values()):
            tracker = trackers.tracking(run, trained_steps(run), **tracked)
            hear.append(stack.enter_context(tracker))
        options = {**options, "halt": halt, "progress": send is None}
        if send is not None:
            options["on_end"] = lambda text: send({"end": text})
        if envs > 1:
            options["envs"] = make_envs(run, envs)
            stack.callback(options["envs"].close)
        if hear:
            options["on_episode"] = lambda row: [take(row) for take in hear]
        agent.train(lambda: env, steps, run.seed, run.folder, **options)


def _side_by_side(
    work: parallel.Work, todo: Sequence[Run], steps: int, halt: Halt, jobs: int
) -> None:
    """Train with one bar for all, a line for each evaluation and one at the end of each run."""
    done = {run.folder: trained_steps(run) for run in todo}
    bar = progress.bar(
        total=steps * len(todo), initial=sum(done.values()), unit="step", desc="train"
    )

    def show(run: Run, row: dict[str, Any]) -> None:
        if "end" in row:
            progress.note(f"{run}: {row['end']}")
            return
        bar.update(row["env_steps"] - done[run.folder])
        done[run.folder] = row["env_steps"]
        if "eval_return" in row or row["env_steps"] >= steps:
            score = row.get("eval_return", row["train_return"])
            progress.note(f"{run}: {row['env_steps']} steps, return {score:.1f}")

    try:
        failed = parallel.each(work, todo, jobs, halt, show)
    finally:
        bar.close()
    if failed:
        raise parallel.failure(failed, len(todo))


def _check_finished(plan: Sequence[Run], steps: int, halt: Halt) -> None:
    """Raise Unfinished where ``halt`` stopped a run short."""
    short = [(run, at) for run in plan if (at := trained_steps(run)) < steps]
    if short and halt.limited:
        begun = [f"{run} is at {at} of {steps} environment steps" for run, at in short if at]
        done = f"{len(plan) - len(short)} of {len(plan)} runs are trained"
        raise Unfinished("; ".join([f"{halt}: {done}", *begun]))


def _expected(
    plan: Sequence[Run],
    steps: int,
    device: str,
    cache: feature_cache.Setting,
    halt: Halt,
    jobs: int,
    fresh: bool,
    unmeasured: str,
) -> str:
    """Say how long it takes: a few steps of each very agent on each task are measured.

    Args:
        unmeasured: the flags that make a difference and are not measured.
    """
    if halt.limited:
        return f"at most {halt.minutes:g} minutes (--max-minutes)"
    seconds: dict[tuple[str, str], float] = {}
    for run in plan:
        key = run.agent.id, run.task.name
        if key not in seconds:
            env = make_env(run)
            try:
                agent = make_agent(run, env.action_dim, device)
                seconds[key] = agent.seconds_per_step(env, cache=cache)
            finally:
                env.close()
            del agent
            accounting.release()
    total = sum(
        seconds[run.agent.id, run.task.name] * (steps - (0 if fresh else trained_steps(run)))
        for run in plan
    )
    if total != total:
        return "time unknown"
    jobs = min(jobs, len(plan))
    unmeasured = f", measured without {unmeasured}" if unmeasured else ""
    if jobs == 1:
        return f"{_duration(total)} on this machine{unmeasured}"
    shared = f"{_duration(total / jobs)} if {jobs} jobs do not slow one another"
    return f"{shared}, {_duration(total)} if fully{unmeasured}"


def _duration(seconds: float) -> str:
    """Return a time in the unit that a person would say it in."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds > 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
