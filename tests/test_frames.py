"""Deep calls where the kernel gives no more memory: Python 3.11 by itself crashes there."""

import subprocess
import sys

DEEP = """
import asyncio, resource
from lakehouse.frames import with_frames
from lakehouse.lanes import on_thread

def down(n):
    return down(n - 1) if n else 0

def without_memory():
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 20, hard))  # less than there is: no more
    for _ in range(1_000):
        down(800)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    print("lives")

async def on_a_thread():
    await on_thread(without_memory)

"""


def told(call: str) -> tuple[int, str]:
    command = [sys.executable, "-c", DEEP + call]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout


def test_the_main_thread_has_room_for_frames() -> None:
    assert told("with_frames(without_memory)") == (0, "lives\n")


def test_a_thread_of_a_lane_has_room_for_frames() -> None:
    assert told("asyncio.run(on_a_thread())") == (0, "lives\n")
