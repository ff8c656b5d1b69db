"""Room for the frames of Python, taken before the memory is short.

CPython 3.11 keeps the frames of a thread in pieces of 16 KiB, and maps the next one as calls go
deeper. Where the kernel refuses that (`RLIMIT_DATA`), the call of a Python function ends without
an exception and drops a reference to the function too many (`CALL_PY_EXACT_ARGS` in `ceval.c`,
3.11.7): after a few such calls the function is freed while it is in use, and the process crashes
anywhere (`tests/test_frames.py`). A piece is as large as the frame that it is mapped for and
rounded up to a power of two: beneath a large frame there is room for all that a thread calls.
"""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STACK_SLOTS = 140_000
"""Of 8 bytes: with the rounding, 976 KiB are left, about 1 KiB for each of 1,000 calls (the limit
of recursion). What is never touched is reserved only."""


def with_frames(work: Callable[[], T]) -> T:
    """Return `work()`, with room for the frames of all that it calls."""
    return work()


with_frames.__code__ = with_frames.__code__.replace(co_stacksize=STACK_SLOTS)
