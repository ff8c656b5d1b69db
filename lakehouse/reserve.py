"""Room that Python has in hand when the kernel refuses more memory (`RLIMIT_DATA`).

What fills the memory is the engine, which maps it and survives a refusal. What is refused at that
moment as well are the frames, objects and buffers of Python and of its modules in C, and not all
of them survive that: the process crashed. They come from memory that was taken before.
"""

import ctypes
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STACK_SLOTS = 140_000
"""Of 8 bytes: with the rounding, 976 KiB are left, about 1 KiB for each of 1,000 calls (the limit
of recursion). What is never touched is reserved only."""
OBJECTS_BYTES = BUFFERS_BYTES = 24 * 1024 * 1024
OBJECT_BYTES, BUFFER_BYTES = 400, 100_000
"""Of what `pymalloc` hands out (up to 512), and the C library from its heap (below 128 KiB)."""
ARENA_BITS = 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""As `malloc.h` numbers them."""
MAPPED_BYTES = 1024 * 1024
"""A buffer as large as this is mapped by itself, and so given back when it is freed."""

KEPT: list[bytes] = []


def with_frames(work: Callable[[], T]) -> T:
    """Return `work()`, with room for the frames of all that it calls.

    CPython 3.11 keeps the frames of a thread in pieces of 16 KiB, and maps the next one as calls
    go deeper. Where that is refused, the call of a Python function ends without an exception and
    drops a reference to the function too many (`CALL_PY_EXACT_ARGS` in `ceval.c`, 3.11.7): after a
    few such calls it is freed while it is in use, and the process crashes anywhere. A piece is as
    large as the frame that it is mapped for, rounded up to a power of two: beneath a large frame
    there is room for all that a thread calls.
    """
    return work()


with_frames.__code__ = with_frames.__code__.replace(co_stacksize=STACK_SLOTS)


def keep_one_heap() -> None:
    """Have the C library keep one heap for all threads. Too late where there are some already.

    By default each thread has its own, of parts of 64 MiB, and what such a part has grown by is
    never given back to the limit, free or not: after a minute of statements that take much those
    were 600 MiB with 100 in use. What lies in the one heap for want of memory is everybody's, too.
    Source: https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # another library than glibc
        return
    libc.mallopt(M_ARENA_MAX, 1)
    libc.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    libc.mallopt(M_TRIM_THRESHOLD, MAPPED_BYTES)


def trim() -> None:
    """Give the pages of the heap that nobody uses back to the system. Blocks for milliseconds.

    They stay reserved: nothing gives back what lies below a block that is in use.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(ctypes.c_size_t(0))


def keep_room() -> None:
    """Take memory for objects and buffers, and free it so that it stays with the process.

    An arena of `pymalloc` (1 MiB) is given back when it is empty: one object stays in each. The
    heap of the C library is given back from its end: a block stays there.
    """
    taken = [bytes(OBJECT_BYTES) for _ in range(OBJECTS_BYTES // OBJECT_BYTES)]
    KEPT[:] = {id(each) >> ARENA_BITS: each for each in taken}.values()
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(BUFFER_BYTES) for _ in range(BUFFERS_BYTES // BUFFER_BYTES)]
    for block in blocks[:-1]:
        libc.free(ctypes.c_void_p(block))
