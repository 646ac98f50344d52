"""What several test modules import; fixtures stand in ``conftest.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

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

#: Of `shiftbench.agents.config.Config`: small enough for seconds.
TINY = {
    "belief": 16, "hidden": 16, "categoricals": 4, "classes": 4, "units": 16,
    "batch": 2, "length": 4, "imagination": 3, "update_env_steps": 40,
    "prefill_env_steps": 40, "replay_capacity": 500,
}  # fmt: skip


def package(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """Write what an installed package consists of."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


def still(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    """Write an image of one colour; width and height in pixels."""
    Image.new("RGB", size, colour).save(path)
    return path


def gif(path: Path, colours: list[tuple[int, int, int]]) -> Path:
    """Write an animated GIF, a frame a colour."""
    first, *later = (Image.new("RGB", (40, 30), colour) for colour in colours)
    first.save(path, save_all=True, append_images=later)
    return path


def video(path: Path, frames: list[np.ndarray]) -> Path:
    """Encode a video of frames uint8 (H, W, 3), H and W even; without any it stays empty."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = frames[0].shape[:2] if frames else (32, 48)
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        if frames:
            container.mux(stream.encode())
    return path


def flat(level: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Return a grey frame: uint8 (H, W, 3)."""
    return np.full((height, width, 3), level, np.uint8)
