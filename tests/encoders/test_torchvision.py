"""The import of torchvision, in processes of its own as it can be tried only once in each."""

import os
import subprocess
import sys
from pathlib import Path

#: What the real package does when its compiled library was not loaded.
TRAP = """
import torch
for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{name}")(lambda dets, scores, iou_threshold: dets)
"""

#: Says whether the plain import works, what two calls of `mend` return, and checks that the
#: definitions outlive the function that made them.
TRY = """
try:
    import torchvision
    print("plain")
except RuntimeError as error:
    print("broken" if "torchvision::nms" in str(error) else "other")
from shiftbench.encoders import _torchvision
print(_torchvision.mend(), _torchvision.mend())
import gc
gc.collect()
import torchvision
"""


def run(code: str, stub: Path | None = None) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, [str(stub or ""), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )


def stub(folder: Path, content: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(content)
    return folder


def test_the_installed_torchvision_imports_and_timm_with_it():
    done = run(f"{TRY}\nimport timm; timm.create_model('test_vit')")
    assert done.returncode == 0, done.stderr
    assert done.stdout in ("plain\nFalse False\n", "broken\nTrue True\n")


def test_a_torchvision_that_lost_its_operators_is_mended(tmp_path):
    done = run(f"{TRY}\nprint(torchvision.torch.ops.torchvision.qnms)", stub(tmp_path, TRAP))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "broken\nTrue True\ntorchvision.qnms\n"


def test_another_failure_is_not_hidden(tmp_path):
    done = run(TRY, stub(tmp_path, "raise RuntimeError('no such luck')"))
    assert done.returncode != 0
    assert done.stdout == "other\n"
    assert done.stderr.strip().endswith("no such luck")
