"""Shared fixtures. One process draws with one OpenGL context; torch stays on one thread.

On a machine without an OpenGL driver the tests that draw are skipped, loudly: the header and the
summary name the packages that are missing. In CI (``CI`` is set) they fail instead.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec
import pytest
from support import COMMAND, GOOD_SUITE, GOOD_TASK, MINE, TINY

from shiftbench import agents, cli, specs

#: How `shiftbench.envs.gl` begins its error.
NO_DRIVER = "no OpenGL backend works"


def _driver_error() -> str:
    """Return why nothing can be drawn here, or an empty text; asked in a process of its own."""
    code = "from shiftbench.envs import gl; gl.backend()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background jobs ignore Ctrl-C, as would the commands that tests press it for.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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


@pytest.fixture(scope="session")
def short(cartpole: specs.Task) -> specs.Task:
    """A task whose episodes have ten agent steps."""
    return msgspec.structs.replace(cartpole, episode_steps=80)


@pytest.fixture
def good_task() -> str:
    return GOOD_TASK


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Go to an empty folder with a suite and a task of one's own; returns their flags."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "my_task.toml").write_text(GOOD_TASK)
    (tmp_path / "suites.toml").write_text(GOOD_SUITE)
    monkeypatch.chdir(tmp_path)
    return MINE


class Done(NamedTuple):
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of torch's threads for this test."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def call(capsys: pytest.CaptureFixture) -> Callable[..., Done]:
    """Run the command line in this process."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        return Done(end.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def installed() -> Callable[..., Done]:
    """Run the installed command in a process of its own."""

    def run(*arguments: object, **environment: str) -> Done:
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a registered agent that is `scratch`, only small."""
    spec = specs.AgentSpec("tiny", "dreamer", "cnn", "scratch", options=TINY)
    monkeypatch.setattr(agents.AGENTS, "_targets", {**agents.AGENTS._load(), "tiny": spec})
    return "tiny"
