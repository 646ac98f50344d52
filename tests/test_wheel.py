"""The wheel, installed outside of the repository: definitions and weights travel inside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the wheel and install it into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, *build, ROOT], check=True, timeout=300)
    (wheel,) = folder.glob("shiftbench-*.whl")
    target = folder / "site"
    install = ["install", "--no-index", "--no-deps", "--target", target, wheel]
    subprocess.run([*pip, *install], check=True, timeout=300)
    return target


@pytest.fixture
def command(site, tmp_path):
    """Run the installed command from an empty folder; returns its standard output."""

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, site / "bin" / "shiftbench", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert str(ROOT) not in done.stdout + done.stderr
        return done.stdout

    return command


def test_nothing_but_the_package_is_installed(site):
    assert {path.name for path in site.iterdir()} - {"bin"} == {
        "shiftbench",
        next(path.name for path in site.glob("shiftbench-*.dist-info")),
    }
    data = site / "shiftbench" / "_data"
    for name in ("tasks", "results"):
        ours = {p.relative_to(ROOT) for p in (ROOT / name).rglob("*") if p.is_file()}
        assert {p.relative_to(data) for p in (data / name).rglob("*") if p.is_file()} == ours
        assert ours


def test_tasks_are_listed(command, tasks):
    assert [row["task"] for row in json.loads(command("list", "tasks", "--json"))] == list(tasks)


def test_doctor_finds_weights_and_checkpoints_inside_it(command, site):
    report = json.loads(command("doctor", "--json"))
    assert report["missing"] == []
    weights = str(site / "shiftbench" / "encoders" / "weights")
    assert report["weights"].keys() == {"synth", "synth-2"}
    assert all(text.startswith(weights) for text in report["weights"].values())
    shipped = sorted((ROOT / "results").glob("*-v[0-9]*/checkpoints/**/*.safetensors"))
    assert report["checkpoints"] == [str(p.relative_to(ROOT / "results")) for p in shipped]


def test_run_writes_a_table_where_it_is_called(command, tmp_path):
    task = ["--task", "cartpole_balance", "--shift", "texture:mild"]
    table = command("run", "--agent", "random", *task, "--episodes", "1")
    assert table.splitlines()[1].split()[:2] == ["1", "random"]  # its rank and its name
    cells = list(tmp_path.glob("runs/mini-v1/cells/cartpole_balance-v1/random/*.csv"))
    assert len(cells) == 2
    assert (tmp_path / "runs" / "mini-v1" / "report" / "score_by_level.png").is_file()
