"""Shared fixtures. One process draws with one OpenGL context; torch stays on one thread.

On a machine without an OpenGL driver the tests that draw are skipped, loudly: the header and the
summary name the packages that are missing. In CI (``CI`` is set) they fail instead.
"""

from __future__ import annotations

import os
import subprocess
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from shiftbench import specs

#: How `shiftbench.envs.gl` begins its error.
NO_DRIVER = "no OpenGL backend works"


def _driver_error() -> str:
    """Return why nothing can be drawn here, or an empty text; asked in a process of its own."""
    code = "from shiftbench.envs import gl; gl.backend()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def pytest_configure(config: pytest.Config) -> None:
    inherited = getattr(config, "workerinput", {}).get("driver_error")
    config.driver_error = _driver_error() if inherited is None else inherited


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """Tell a pytest-xdist worker what the controller found."""
    node.workerinput["driver_error"] = node.config.driver_error


def pytest_report_header(config: pytest.Config) -> str:
    error = config.driver_error
    return f"OpenGL: MISSING, tests that draw are skipped: {error}" if error else "OpenGL: works"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    error = item.config.driver_error
    if error and "CI" not in os.environ and report.failed and NO_DRIVER in str(report.longrepr):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), None, f"Skipped: {error}")
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    error = terminalreporter.config.driver_error
    if error:
        count = len(terminalreporter.stats.get("skipped", []))
        terminalreporter.write_line(f"{count} tests were skipped. {error}", red=True)


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
