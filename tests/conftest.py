"""Shared fixtures. One process draws with one OpenGL context; torch stays on one thread."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from shiftbench import specs


@pytest.fixture(scope="session")
def tasks() -> dict[str, specs.Task]:
    return specs.load_tasks()


@pytest.fixture(scope="session")
def mini() -> specs.Suite:
    return specs.get_suite("mini")


@pytest.fixture(scope="session")
def cartpole(tasks: dict[str, specs.Task]) -> specs.Task:
    return tasks["cartpole_balance"]


#: A task file that is right; tests break it in one place at a time.
GOOD_TASK = """
name = "my_task"
version = 1
domain = "cartpole"
task = "swingup"
action_repeat = 4
episode_steps = 100

[anchors.random]
value = 5.0
source = "measured"

[anchors.reference]
value = 100.0
source = "the largest possible"
"""


@pytest.fixture
def good_task() -> str:
    return GOOD_TASK
