import platform
import subprocess
import sys

import pytest

#: Prints the megabytes that stay with the process when eight maps of 24 MiB were made and freed.
UPDATE = """
import sys
from pathlib import Path

import torch

from shiftbench.allocator import keep_freed

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

if "keep" in sys.argv:
    print(keep_freed(), end=" ")
before = megabytes()
for update in range(2):
    maps = [torch.zeros(6 << 20).add_(1.0) for _ in range(8)]
    del maps
print(megabytes() - before)
"""


def stays(*words):
    command = [sys.executable, "-c", UPDATE, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, else nothing is done")
def test_freed_memory_is_kept():
    said, kept = stays("keep")
    assert said == "True"
    assert float(stays()[0]) < 100 < 190 < float(kept) < 300
