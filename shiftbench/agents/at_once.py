"""Two halves of an update at once, where a processor has cores for both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def in_turn(first: Callable[[], object], second: Callable[[], T]) -> T:
    """Do ``first``, then ``second``, and return what the latter gives."""
    first()
    return second()


def at_once(first: Callable[[], object], second: Callable[[], T]) -> T:
    """Do both, each with half of torch's threads, and return what ``second`` gives.

    The many small operations of an update gain little from a second thread each; two that work on
    different things keep both cores busy. With one thread they are done in turn.

    Args:
        first: neither changes anything that the other looks at.
        second: done in a thread of its own, so what torch keeps for each thread, such as autocast,
            is to be entered in it.
    """
    threads = torch.get_num_threads()
    if threads < 2:
        return in_turn(first, second)
    try:
        # A thread that is new takes as many as were set last.
        torch.set_num_threads(threads // 2)
        with ThreadPoolExecutor(1, "update") as pool:
            later = pool.submit(second)
            first()
        return later.result()
    finally:
        torch.set_num_threads(threads)
