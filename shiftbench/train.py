"""The only training loop: clean pixels, sequence replay, resumable.

A run lives in one folder::

    training.safetensors   networks, optimiser, random state, counters: what resuming needs
    policy.safetensors     the policy that is scored (float16), rewritten at every checkpoint
    curve.csv              one row an episode
    replay/                memory-mapped frames

Checkpoints fall between episodes (with several environments: between rounds of one episode in
each), so a resumed run repeats nothing and skips nothing. What an episode did that was stopped
half-way is undone.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm import tqdm

from shiftbench import collect, device_replay, feature_cache, saving, seeding
from shiftbench.accounting import Clock, memory, naming_compiler, naming_memory
from shiftbench.evaluate import rollout
from shiftbench.halt import Halt, Halted, deaf
from shiftbench.replay import Replay

if TYPE_CHECKING:
    from shiftbench.agents.base import Policy
    from shiftbench.agents.config import Config
    from shiftbench.envs.pixels import PixelEnv
    from shiftbench.envs.vector import Collector
    from shiftbench.feature_cache import Trunk
    from shiftbench.specs import AgentSpec, Task

#: Takes one row of the curve, after its checkpoint was written.
OnEpisode = Callable[[dict[str, Any]], None]


class Learner(Protocol):
    """What the loop needs of an agent that learns from replay; `DreamerAgent` is one.

    A training stops where a metric of ``learn`` whose name ends in ``_loss`` or ``_norm`` is not
    finite. It may also have ``replay_device``, the torch device that its replay has a copy on, or
    None, and ``compile()``, which `fit` calls after ``begin`` where it is to compile its updates.
    """

    spec: AgentSpec
    task: Task
    config: Config
    train_steps: int
    image_size: int
    action_dim: int

    def begin(self, seed: int) -> None: ...
    def new_episodes(self, count: int) -> None: ...
    def trunk(self) -> Trunk | None: ...
    def activations(self, pixels: np.ndarray) -> np.ndarray: ...
    def explore(self, pixels: np.ndarray, random: bool, keep: bool) -> dict[str, np.ndarray]: ...
    def learn(self, replay: Replay, rng: np.random.Generator) -> dict[str, float]: ...
    def policy(self) -> Policy: ...
    def save(self, path: Path) -> None: ...
    def training_state(self) -> dict[str, Any]: ...
    def training_meta(self) -> dict[str, Any]: ...
    def restore(self, tensors: dict[str, Any], meta: dict[str, Any]) -> None: ...


def fit(
    agent: Learner,
    make_env: Callable[[], PixelEnv],
    budget: int,
    seed: int,
    run_dir: Path,
    *,
    eval_every: int = 5_000,
    eval_episodes: int = 5,
    progress: bool = True,
    cache: feature_cache.Setting = feature_cache.AUTO,
    compiled: bool = False,
    halt: Halt | None = None,
    on_episode: OnEpisode | None = None,
    envs: Collector | None = None,
    on_end: Callable[[str], None] | None = None,
) -> None:
    """Train ``agent`` until it has seen ``budget`` environment steps, resuming where it stopped.

    Where ``halt`` stops it before, it returns as well: the checkpoint tells how far it came. No
    episode is begun that would take too long, and one that takes longer than expected is undone.

    Args:
        agent: the learner.
        make_env: makes the environment, for training and for the periodic evaluation in turn.
        budget: environment steps in total, rounded up to whole episodes.
        seed: training seed.
        run_dir: folder of the run.
        eval_every: environment steps between evaluations of the deterministic policy on clean
            validation episodes, which are not those of the benchmark.
        eval_episodes: episodes of one such evaluation.
        progress: show a progress bar on stderr.
        cache: whether what the frozen blocks give is stored, and how much of it in main memory; it
            changes the speed, and values within float16's rounding, and may be another one when a
            run is resumed.
        compiled: whether the agent compiles its updates; a matter of speed and last bits.
        halt: tells when to stop.
        on_episode: called with the curve's row of every episode, once it is stored: ``env_steps``,
            ``updates``, ``train_return``, ``minutes``, the mean of each loss where there were
            updates, and ``eval_return`` where there was an evaluation.
        envs: environments that collect side by side while the agent learns, see
            `shiftbench.collect.episodes`; None collects with the one environment, in turn. The
            caller closes them.
        on_end: called with the line that says where time and memory went, in place of printing it.

    Raises:
        ShiftBenchError: the run in ``run_dir`` was started with other settings (the first
            difference is named), a loss is not finite, the device's memory is too small, or the
            folder cannot be written. The last checkpoint stays as it is.
    """
    task, config = agent.task, agent.config
    count = envs.count if envs else 1
    # An episode of n agent steps has n + 1 frames.
    frames = (math.ceil(budget / task.episode_steps) + count - 1) * (task.agent_steps + 1)
    env = make_env()
    facts = {"budget": budget, "envs": count, "render": env.render_profile}
    with ExitStack() as stack:  # closes the environment unless the loop begins
        stack.callback(env.close)
        with naming_memory(agent):
            agent.begin(seed)
            if compiled:
                agent.compile()
            rows, counters = saving.resume(agent, run_dir, facts)
        if agent.train_steps >= budget:
            return
        with naming_memory(agent, run_dir):  # what the cache lacks is computed
            replay = _replay(
                agent, run_dir / "replay", config.replay_capacity, frames, cache, counters["replay"]
            )
        stack.pop_all()
    rng = seeding.rng(seeding.seed_of("replay", task.name, seed))
    if counters["rng"]:
        rng.bit_generator.state = counters["rng"]
    clock, started = Clock(), time.perf_counter()
    first_step, halt = agent.train_steps, halt or Halt()
    longest = 0.0
    gather = collect.episodes if envs else collect.episode

    def say(text: str) -> None:
        if progress:
            tqdm.write(text, file=sys.stderr)

    bar = tqdm(
        total=budget,
        initial=agent.train_steps,
        unit="step",
        desc=f"train {task.name}",
        disable=not progress,
        smoothing=0.05,
        mininterval=1.0,
    )
    try:
        with (
            clock.watching(env, "draw", "rendering"),
            clock.watching(replay, "sample", "sampling"),
            naming_memory(agent, run_dir),
            naming_compiler() if compiled else nullcontext(),
        ):
            while agent.train_steps < budget and halt.allows(longest):
                began, before = time.perf_counter(), agent.train_steps
                row = gather(agent, envs or env, replay, rng, counters, clock, bar, halt)
                row["minutes"] = counters["seconds"] / 60.0
                if agent.train_steps // eval_every > before // eval_every:
                    with clock("evaluation"):
                        row["eval_return"] = validation_return(agent, env, eval_episodes, halt)
                    say(
                        f"{task.name}: {agent.train_steps} steps, {counters['updates']} updates, "
                        f"return {row['eval_return']:.1f}, {row['minutes']:.1f} min"
                    )
                rows.append(row)
                with clock("checkpoint"):
                    saving.checkpoint(agent, run_dir, rows, counters, replay, rng, facts)
                longest = max(longest, time.perf_counter() - began)
                if on_episode is not None:
                    on_episode(row)
    except Halted:
        pass
    finally:
        with deaf():  # a second Ctrl-C must not leave it half undone
            saving.forget_unsaved(run_dir, replay)
        bar.close()
        env.close()
    seconds = time.perf_counter() - started
    speed = (counters["env_steps"] - first_step) / seconds
    parts = (f"{task.name}: {speed:.0f} environment steps/s", clock.summary(seconds), memory())
    (on_end or say)("; ".join(parts))


def seconds_per_step(
    agent: Learner,
    env: PixelEnv,
    updates: int = 3,
    cache: feature_cache.Setting = feature_cache.AUTO,
) -> float:
    """Measure what an environment step of training costs here, in seconds.

    A few updates of this very agent are timed on its own random episodes; nothing is kept.

    Args:
        agent: the learner; it begins anew.
        env: its environment.
        updates: how many to time, after one that warms up.
        cache: as for `fit`.

    Raises:
        ShiftBenchError: the device's memory is too small.
    """
    config = agent.config
    with naming_memory(agent), tempfile.TemporaryDirectory(prefix="shiftbench-") as folder:
        agent.begin(0)
        capacity = config.length + agent.task.agent_steps
        replay = _replay(agent, Path(folder), capacity, capacity, cache, quiet=True)
        rng, taken = seeding.rng(0), 0
        start = time.perf_counter()
        while len(replay) <= config.length:  # an episode may be shorter than what is replayed
            agent.new_episodes(1)
            pixels, done, reward, first = env.reset(0), False, 0.0, True
            while not done:
                steps = agent.explore(pixels[None], random=True, keep=replay.cache is not None)
                step = {name: value[0] for name, value in steps.items()}
                replay.add(pixels=pixels, reward=reward, first=first, terminal=False, **step)
                pixels, reward, done, _ = env.step(step["action"])
                first = False
            taken += env.steps
        acting = (time.perf_counter() - start) / taken
        agent.learn(replay, rng)
        start = time.perf_counter()
        for _ in range(updates):
            agent.learn(replay, rng)
        update = (time.perf_counter() - start) / updates
    return acting + update / config.update_env_steps


def _replay(
    agent: Learner,
    folder: Path,
    capacity: int,
    frames: int,
    cache: feature_cache.Setting,
    count: int = 0,
    quiet: bool = False,
) -> Replay:
    """Open a replay of which ``frames`` will be written, with its cache complete."""
    frames = min(frames, capacity)
    replay = device_replay.make(agent, folder, capacity, frames, count)
    others = frames * replay.step_bytes
    stored = feature_cache.make(cache, agent, folder, capacity, frames, others, quiet)
    if stored is not None:
        replay.use(stored, agent.activations)
    return replay


def validation_return(agent: Learner, env: PixelEnv, episodes: int, halt: Halt) -> float:
    """Return the mean return of the deterministic policy on clean validation episodes."""
    task = agent.task
    seeds = [seeding.seed_of("validation", task.name, task.version, i) for i in range(episodes)]
    results = rollout(agent.policy(), env, seeds, on_episode=halt.check)
    return float(np.mean([result.episode_return for result in results]))
