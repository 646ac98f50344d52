"""What several test modules import; fixtures stand in ``conftest.py``."""

from __future__ import annotations

import sys
from pathlib import Path

#: The installed command.
COMMAND = Path(sys.executable).parent / "shiftbench"

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

#: A small suite with levels of its own on that task; ``MINE`` are the flags that find both.
GOOD_SUITE = """
[mine]
version = 1
tasks = ["my_task"]
families = ["lighting", "texture"]
episodes = 2
levels = { half = 0.5, full = 1.0 }
"""
MINE = ("--suite", "mine", "--suite-file", "suites.toml", "--tasks-dir", "tasks")


def package(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """Write what an installed package consists of."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
