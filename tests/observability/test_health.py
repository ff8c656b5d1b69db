"""A health check that finds out, and never hangs with what it looks at."""

import threading
import time
from pathlib import Path

import pytest

from lakehouse.disk import Disk
from lakehouse.observability import Health, health
from lakehouse.observability.health import DiskHealth, disk_health

GIB = 1024**3


async def test_it_is_ready_when_every_part_is(tmp_path: Path) -> None:
    found = Health(Disk(tmp_path))
    found.add("one", lambda: None)

    readiness = await found.readiness()

    assert readiness.ready
    assert set(readiness.parts) == {"one", "disk"}
    assert readiness.disk is not None


async def test_a_part_that_raises_does_not_work() -> None:
    found = Health()
    found.add("one", lambda: None)

    def fail() -> str:
        raise OSError("no such disk")

    found.add("two", fail)

    readiness = await found.readiness()

    assert not readiness.ready
    assert readiness.parts["one"].ok
    assert readiness.parts["two"].reason == "OSError: no such disk"


async def test_what_only_warns_does_not_make_it_unready() -> None:
    found = Health()
    found.warn("tables", lambda: ["a table is broken"])

    readiness = await found.readiness()

    assert readiness.ready
    assert readiness.warnings == ["a table is broken"]


async def test_while_it_stops_it_is_not_ready() -> None:
    found = Health()
    found.draining = True

    assert not (await found.readiness()).ready


async def test_a_check_that_hangs_has_a_deadline_and_takes_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "CHECK_MAX_S", 0.1)
    release = threading.Event()
    asked = []

    def hang() -> None:
        asked.append(1)
        release.wait(timeout=10)

    found = Health()
    found.add("stuck", hang)
    found.add("well", lambda: None)
    try:
        begun = time.monotonic()
        for _ in range(3):
            readiness = await found.readiness()
        seconds = time.monotonic() - begun
    finally:
        release.set()

    assert not readiness.ready
    assert readiness.parts["well"].ok
    assert readiness.parts["stuck"].reason == "stuck has not answered for 0 s"
    assert len(asked) == 1
    assert seconds < 2


async def test_a_check_that_hung_is_believed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_MAX_S", 0.1)
    release = threading.Event()
    found = Health()
    found.add("slow", lambda: None if release.wait(timeout=10) else "never")

    assert not (await found.readiness()).ready
    release.set()

    assert (await found.readiness()).ready


@pytest.mark.parametrize(
    ("free", "total", "ok", "warns"),
    [
        (50 * GIB, 100 * GIB, True, False),
        (1 * GIB, 100 * GIB, True, True),
        (9 * GIB, 100 * GIB, True, True),
        (11 * GIB, 100 * GIB, True, False),
        (GIB // 2, GIB, True, True),
        (1024, 100 * GIB, False, False),
    ],
)
def test_a_full_disk_is_unready_and_a_nearly_full_one_warns(
    free: int, total: int, ok: bool, warns: bool
) -> None:
    part, warnings = disk_health(DiskHealth(free, total, 2 * GIB))

    assert part.ok is ok
    assert bool(warnings) is warns
