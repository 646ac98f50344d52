"""What works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

from shiftbench.errors import ShiftBenchError

#: Packages whose versions matter for results.
PACKAGES = ("shiftbench", "torch", "torchrl", "timm", "mujoco", "dm_control", "gymnasium", "numpy")


def examine(frames: int = 200) -> dict[str, Any]:
    """Look at the machine and draw ``frames`` frames.

    Returns:
        JSON-ready facts; ``missing`` lists one line for each thing that has to be mended.
    """
    missing: list[str] = []
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": _versions(missing),
        "rendering": _rendering(frames, missing),
        "device": _device(missing),
        "weights": _weights(missing),
        "checkpoints": _checkpoints(),
        "missing": missing,
    }


def render(report: dict[str, Any]) -> str:
    """Return the report as text for a terminal."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    drawing = report["rendering"]
    lines = [
        f"machine      Python {report['python']}, {report['platform']}, {report['cores']} cores",
        f"versions     {versions}",
        "rendering    "
        + (
            f"{drawing['backend']}, {drawing['frames_per_second']:.0f} frames/s at 64 × 64 "
            f"({drawing['task']}, physics included)"
            if drawing
            else "does not work"
        ),
        f"device       {report['device']}",
        *(f"{name:12} {text or 'no weights'}" for name, text in report["weights"].items()),
        f"checkpoints  {len(report['checkpoints'])} shipped",
        *(f"             {name}" for name in report["checkpoints"]),
        *(f"MISSING      {line}" for line in report["missing"]),
    ]
    return "\n".join(lines if report["missing"] else [*lines, "Everything is there."])


def _versions(missing: list[str]) -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"the package {name}: pip install {name}")
    return found


def _rendering(frames: int, missing: list[str]) -> dict[str, Any] | None:
    try:
        from shiftbench.envs import gl
        from shiftbench.envs.pixels import PixelEnv
        from shiftbench.specs import load_tasks

        task = next(iter(load_tasks().values()))
        env = PixelEnv(task)
        try:
            env.reset(0)
            action = [0.0] * env.action_dim
            start, drawn = time.perf_counter(), 0
            for drawn in range(1, frames + 1):  # noqa: B007
                if env.step(action)[2]:
                    break
            speed = drawn / (time.perf_counter() - start)
        finally:
            env.close()
    except ShiftBenchError as error:
        missing.append(str(error))
        return None
    except (ImportError, OSError) as error:  # a package, or a library of one
        missing.append(f"working dm_control and mujoco ({error}): pip install dm_control mujoco")
        return None
    return {"backend": gl.backend(), "task": task.name, "frames_per_second": round(speed, 1)}


def _device(missing: list[str]) -> str:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it
        missing.append(f"a working torch ({error}): pip install 'torch>=2.6,<2.14'")
        return "none"
    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return f"cpu, {torch.get_num_threads()} threads"


def _weights(missing: list[str]) -> dict[str, str]:
    try:
        from shiftbench.encoders.synth import WEIGHTS
    except (ImportError, OSError):  # it needs torch, which is named already
        return {}
    missing += [
        f"{path}: install the package anew" for path in WEIGHTS.values() if not path.is_file()
    ]
    return {
        name: f"{path} ({path.stat().st_size / 1e6:.2f} MB)" if path.is_file() else ""
        for name, path in WEIGHTS.items()
    }


def _checkpoints() -> list[str]:
    from shiftbench.data import data_dir

    folder = data_dir("results")
    return [
        str(Path(p).relative_to(folder))
        for p in sorted(folder.glob("*-v[0-9]*/checkpoints/**/*.safetensors"))
    ]
