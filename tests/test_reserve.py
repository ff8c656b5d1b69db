"""Where the kernel gives no more memory there is room for frames, objects and buffers."""

import subprocess
import sys

import pytest

BEFORE = """
import asyncio, ctypes, resource, threading
from lakehouse.lanes import on_thread
from lakehouse.reserve import keep_one_heap, keep_room, with_frames

_, HARD = resource.getrlimit(resource.RLIMIT_DATA)

def down(n):
    return down(n - 1) if n else 0

def refused(work):
    # Less than there is: no more of it.
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 20, HARD))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (HARD, HARD))
    print("lives")

def deep():
    for _ in range(1_000):
        down(800)

def objects():
    kept = [b"x" + bytes(300) for _ in range(50_000)]

def buffers():
    kept = [bytearray(90_000) for _ in range(200)]

def heap():
    for line in open("/proc/self/maps"):
        if "[heap]" in line:
            return range(*(int(each, 16) for each in line.split()[0].split("-")))

def where_a_thread_allocates():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    found = []
    thread = threading.Thread(target=lambda: found.append(libc.malloc(90_000)))
    thread.start()
    thread.join()
    print("heap" if found[0] in heap() else "elsewhere")

async def on_a_thread():
    await on_thread(lambda: refused(deep))

"""


def told(call: str) -> tuple[int, str]:
    command = [sys.executable, "-c", BEFORE + call]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout


def test_the_main_thread_has_room_for_frames() -> None:
    assert told("with_frames(lambda: refused(deep))") == (0, "lives\n")


def test_a_thread_of_a_lane_has_room_for_frames() -> None:
    assert told("asyncio.run(on_a_thread())") == (0, "lives\n")


@pytest.mark.parametrize("what", ["objects", "buffers"])
def test_objects_and_buffers_have_room_once_it_is_kept(what: str) -> None:
    assert told(f"refused({what})")[0] == 1, "nothing is kept: there is none"
    assert told(f"keep_room(); refused({what}); refused({what})") == (0, "lives\nlives\n")


def test_threads_allocate_from_the_one_heap_once_it_is_kept() -> None:
    assert told("where_a_thread_allocates()") == (0, "elsewhere\n")
    assert told("keep_one_heap(); where_a_thread_allocates()") == (0, "heap\n")
