import os
import platform
import subprocess
import sys

import pytest

#: Prints the megabytes that stay with the process when eight maps of 24 MiB were made and freed.
UPDATE = """
import resource
import sys
from pathlib import Path

import torch

from shiftbench.allocator import keep_freed

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

if "keep" in sys.argv:
    print(keep_freed(), end=" ")
before = megabytes()
for update in range(2):
    maps = [torch.zeros(6 << 20).add_(1.0) for _ in range(8)]
    del maps
print(megabytes() - before)
"""


def stays(*words, **own):
    # What is loaded before, or tuned already, is not what is tested.
    kept = {k: v for k, v in os.environ.items() if "MALLOC" not in k and k not in OTHERS}
    done = subprocess.run(
        [sys.executable, "-c", UPDATE, *words],
        capture_output=True, text=True, check=True, env={**kept, **own},
    )  # fmt: skip
    return done.stdout.split()


OTHERS = ("GLIBC_TUNABLES", "LD_PRELOAD")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, else nothing is done")
def test_freed_memory_is_kept():
    said, kept = stays("keep")
    assert said == "True"
    assert float(stays()[0]) < 100 < 150 < float(kept) < 300
    said, kept = stays("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert said == "False"  # the user's own choice stands
    assert float(kept) < 100
