"""What works on a machine, and how to get what does not."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from shiftbench import doctor
from shiftbench.encoders import synth
from shiftbench.envs import gl
from shiftbench.errors import ShiftBenchError


@pytest.fixture(scope="module")
def healthy():
    return doctor.examine(frames=5)


def test_facts(healthy):
    assert healthy["missing"] == []
    assert set(healthy["versions"]) == set(doctor.PACKAGES)
    assert healthy["rendering"]["backend"] == gl.backend()
    assert healthy["rendering"]["frames_per_second"] > 1.0
    assert list(healthy["weights"]) == ["synth", "synth-2"]
    assert all(text.startswith(str(synth.WEIGHTS[n])) for n, text in healthy["weights"].items())
    assert healthy["device"].split(":")[0].split(",")[0] in ("cpu", "cuda")


def test_every_fact_is_on_the_terminal(healthy):
    text = doctor.render(healthy)
    assert text.splitlines()[-1] == "Everything is there."
    for part in (
        *(healthy["python"], healthy["device"], gl.backend()),
        *healthy["weights"].values(),
    ):
        assert part in text


def test_shipped_checkpoints_are_named(tmp_path, monkeypatch):
    path = tmp_path / "mini-v1/checkpoints/cartpole_balance-v1/scratch/seed-0.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    monkeypatch.setattr("shiftbench.data.data_dir", lambda name: tmp_path)
    assert doctor._checkpoints() == [str(path.relative_to(tmp_path))]


def test_what_is_missing_comes_with_its_remedy(call, tmp_path, monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "timm":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    def broken(*_, **__):
        raise ShiftBenchError("no OpenGL backend works here: apt-get install it")

    monkeypatch.setattr(importlib.metadata, "version", version)
    for name in synth.WEIGHTS:
        monkeypatch.setitem(synth.WEIGHTS, name, tmp_path / f"{name}.safetensors")
    monkeypatch.setattr("shiftbench.envs.pixels.PixelEnv", broken)
    done = call("doctor")
    assert (done.code, done.err) == (2, "")
    missing = [x.removeprefix("MISSING").strip() for x in done.out.splitlines() if "MISSING" in x]
    assert missing == [
        "the package timm: pip install timm",
        "no OpenGL backend works here: apt-get install it",
        f"{tmp_path / 'synth.safetensors'}: install the package anew",
        f"{tmp_path / 'synth-2.safetensors'}: install the package anew",
    ]
    assert "rendering    does not work" in done.out
    assert "Everything is there." not in done.out


@pytest.mark.parametrize("package", ["torch", "dm_control"])
def test_a_package_that_is_broken_is_named(package):
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from shiftbench import doctor; print(doctor.render(doctor.examine(frames=1)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("MISSING")]
    assert any(package in line for line in lines), done.stdout
