"""What the C library does with memory that is freed.

glibc gives large blocks back to the kernel: at first each as it is freed, later the end of the heap
whenever 64 MiB of it are free at most. An update frees more than that in feature maps, and pays a
page fault for each 4 KiB when the next one makes them again (``benchmarks/freed.py``).
"""

from __future__ import annotations

import ctypes
import os

#: Parameters of mallopt(3), from glibc's ``malloc.h``.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: The most that glibc takes as threshold for blocks of their own, which are always given back.
_LARGEST = 32 << 20
#: Bytes at the end of the heap that are kept: more than all feature maps of an update.
_KEPT = 1 << 30
#: Where one of these is set, the user has decided.
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> bool:
    """Have this process keep freed memory for what it allocates next.

    It stays so until the process ends, for blocks of up to 32 MiB. What is computed stays the same.

    Returns:
        whether it could be asked for: of glibc, where the environment does not tune its malloc.
    """
    if any(name in os.environ for name in _OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
