"""What the C library does with memory that is freed.

glibc gives large blocks back to the kernel as soon as they are freed, and every feature map of an
update is one. The next update then pays a page fault for each 4 KiB of them: 41,000 faults an
update of `scratch`, a quarter of its time on a virtual machine with nested paging.
"""

from __future__ import annotations

import ctypes

#: Parameters of mallopt(3), from glibc's ``malloc.h``.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: The most that glibc takes as threshold for blocks of their own, which freeing always gives back.
_LARGEST = 32 << 20
#: Bytes at the end of the heap that are kept: more than all feature maps of an update.
_KEPT = 1 << 30


def keep_freed() -> bool:
    """Have this process keep freed memory for what it allocates next, up to 1 GiB.

    Numbers do not change, nor does the most memory that is in use at a time.

    Returns:
        whether the C library could be asked to; others than glibc stay as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
