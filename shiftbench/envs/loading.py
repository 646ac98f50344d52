"""Task → dm_control environment, and the MJCF that it was compiled from.

Two families of tasks are known: those of `dm_control.suite`, and under the domain ``manipulation``
those of `dm_control.manipulation`, whose environments are of another kind (`dm_control.composer`)
and whose targets, translucent there, are opaque here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from shiftbench.envs import gl
from shiftbench.errors import ShiftBenchError
from shiftbench.specs import Task

#: The domain of the tasks of `dm_control.manipulation`.
MANIPULATION = "manipulation"

#: How often a manipulation task may try to place the arm and the props before it gives up. One
#: attempt is dm_control's default, and fails for some seeds.
RESET_ATTEMPTS = 100


def load(task: Task, random: np.random.RandomState) -> tuple[Any, str, Mapping[str, bytes]]:
    """Load a task's environment without a time limit.

    Args:
        task: names the domain and the task.
        random: the generator that the environment draws from for its whole life.

    Returns:
        The `dm_env.Environment`; the MJCF of its physics, and file name → contents of what that
        includes. The physics is not compiled again at a reset.

    Raises:
        ShiftBenchError: dm_control lacks the task, or no OpenGL backend works.
    """
    gl.make_current()  # before dm_control is imported, which chooses a backend then
    logging.getLogger("absl").addFilter(_worth_saying)
    make = _manipulation if task.domain == MANIPULATION else _suite
    with _recorded() as models:
        env = make(task, random)
    xml, assets = models[-1]
    return env, xml.decode() if isinstance(xml, bytes) else xml, assets


def _suite(task: Task, random: np.random.RandomState) -> Any:
    from dm_control import suite

    if (task.domain, task.task) not in suite.ALL_TASKS:
        names = sorted(name for domain, name in suite.ALL_TASKS if domain == task.domain)
        if names:
            raise _missing(task, f"tasks of '{task.domain}'", names)
        domains = sorted({MANIPULATION} | {domain for domain, _ in suite.ALL_TASKS})
        raise _missing(task, "domains", domains)
    return suite.load(
        task.domain, task.task, task_kwargs={"random": random, "time_limit": float("inf")}
    )


def _manipulation(task: Task, random: np.random.RandomState) -> Any:
    from dm_control import composer, manipulation
    from dm_control.manipulation.shared import registry

    if task.task not in manipulation.ALL:
        raise _missing(task, f"tasks of '{MANIPULATION}'", sorted(manipulation.ALL))
    made = registry.get_constructor(task.task)()
    for observable in made.observables.values():  # its cameras would draw at every step
        observable.enabled = False
    for site in made.root_entity.mjcf_model.find_all("site"):
        # What is translucent leaves no depth: a shift that paints behind the scene would hide it.
        if site.rgba is not None and site.rgba[3] > 0:
            site.rgba[3] = 1
    env = composer.Environment(
        made,
        random_state=random,
        max_reset_attempts=RESET_ATTEMPTS,
        recompile_mjcf_every_episode=False,
    )
    env.reset()  # compiles for the last time
    return env


def _worth_saying(record: logging.LogRecord) -> bool:
    """Whether the user could do something about a warning of dm_control's."""
    # An arm is placed by trial and error; cheetah's MJCF has an attribute that MuJoCo will drop.
    return not record.getMessage().startswith(("Failed to converge", "compiler attribute"))


def _missing(task: Task, what: str, valid: list[str]) -> ShiftBenchError:
    return ShiftBenchError(
        f"task '{task.name}': dm_control has no {task.domain}/{task.task}. "
        f"Valid {what}: {', '.join(valid)}"
    )


@contextmanager
def _recorded() -> Iterator[list[tuple[str | bytes, Mapping[str, bytes]]]]:
    """Record the MJCF of each physics that is made inside.

    MuJoCo keeps no exact source of a compiled model (what it can save is rounded), and the visual
    model must be compiled from the same text.
    """
    from dm_control.mujoco import Physics

    models: list[tuple[str | bytes, Mapping[str, bytes]]] = []
    original = Physics.__dict__["from_xml_string"]

    def from_xml_string(cls, xml_string, assets=None):
        models.append((xml_string, assets or {}))
        return original.__get__(None, cls)(xml_string, assets)

    Physics.from_xml_string = classmethod(from_xml_string)
    try:
        yield models
    finally:
        Physics.from_xml_string = original
