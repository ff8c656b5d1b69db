"""Statements give way before the last of the memory is gone: not all survive that.

The engine lives when the kernel refuses it memory (`RLIMIT_DATA`). Python does as a rule, and has
some in hand (`reserve.py`); what it calls in C may not. Four hostile statements at once took the
last byte, and the process crashed (`tests/security/test_dos.py`, many at once). So those that run
are interrupted while there is some left, are tried once more, and get 503 then.
"""

import logging
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lakehouse.reserve import with_frames

log = logging.getLogger(__name__)

ROOM_SHARE, ROOM_MAX_BYTES = 0.25, 512 * 1024 * 1024
"""What stays free. A statement takes up to 1 GB a second, and some look at an interrupt once in
2,048 rows."""
LOOK_EVERY_S = 0.01
PAUSE_S = 0.1
"""What was interrupted needs a moment to give its memory back."""
PAGE_BYTES = resource.getpagesize()
DATA = 5
"""The column of `/proc/self/statm` that the kernel compares: data and stacks, reserved or not."""


@contextmanager
def watched(give_way: Callable[[], int]) -> Iterator[None]:
    """Call `give_way` while the process has less left than the room, in the block.

    Args:
        give_way: called on a thread of its own; interrupts what runs, and returns how many.
    """
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit_bytes == resource.RLIM_INFINITY:  # embedded: the memory is somebody else's
        yield
        return
    room_bytes = min(int(limit_bytes * ROOM_SHARE), ROOM_MAX_BYTES)
    with watch(limit_bytes - room_bytes, give_way):
        yield


@contextmanager
def watch(most_bytes: int, give_way: Callable[[], int]) -> Iterator[None]:
    """Call `give_way` while the process has more than `most_bytes`, in the block."""
    ended: list[bool] = []

    def look() -> None:
        with Path("/proc/self/statm").open("rb", buffering=0) as file:
            while not ended:
                time.sleep(LOOK_EVERY_S)  # and no event: to wait for one takes memory
                with suppress(MemoryError):  # now of all times: the next look may have some
                    file.seek(0)
                    if int(file.read().split()[DATA]) * PAGE_BYTES > most_bytes:
                        if count := give_way():
                            log.warning("memory is short: %s statements give way", count)
                        time.sleep(PAUSE_S)

    thread = threading.Thread(target=with_frames, args=(look,), name="memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.append(True)
        thread.join()
