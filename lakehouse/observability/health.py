"""Whether each part of the process works, by name."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeAlias

import anyio
import msgspec

from lakehouse.disk import Disk
from lakehouse.lanes import on_thread

Check: TypeAlias = Callable[[], str | None]
"""Returns why the part does not work, or None when it does. May block."""

CHECK_MAX_S = 2.0
DISK_WARNING_SHARE = 0.1
DISK_NEEDED_BYTES = 64 * 1024**2
"""Below this not even a commit of what is there already can be relied on."""


class PartHealth(msgspec.Struct, frozen=True):
    ok: bool
    reason: str | None = None


class DiskHealth(msgspec.Struct, frozen=True):
    free_bytes: int
    total_bytes: int
    reserve_bytes: int
    """Whatever adds data leaves so much of it free."""


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    parts: dict[str, PartHealth]
    warnings: list[str] = []
    disk: DiskHealth | None = None


class Asked:
    """A check, asked in a thread: one that hangs takes no second one, however often we ask."""

    def __init__(self, name: str, ask: Callable[[], list[str]]) -> None:
        self.name = name
        self._ask = ask
        self._since = 0.0
        self._answer: asyncio.Future[list[str]] | None = None

    async def answer(self) -> list[str]:
        """Return what is wrong; that it does not answer is wrong too."""
        if self._answer is None or self._answer.done():
            self._since = time.monotonic()
            self._answer = asyncio.ensure_future(self._on_thread())
        await asyncio.wait([self._answer], timeout=CHECK_MAX_S)
        if self._answer.done():
            return self._answer.result()
        return [f"{self.name} has not answered for {time.monotonic() - self._since:.0f} s"]

    async def _on_thread(self) -> list[str]:
        try:
            return await on_thread(self._ask, anyio.CapacityLimiter(1), patient=False)
        except Exception as error:  # a part that cannot even be asked does not work
            return [f"{type(error).__name__}: {error}"]


class Health:
    """The checks that modules handed in. What only warns does not make the server unready."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.draining = False
        self._disk = disk
        self._checks: list[Asked] = []
        self._warnings: list[Asked] = []

    def add(self, name: str, check: Check) -> None:
        """Name a part of the process and how to ask it."""

        def ask() -> list[str]:
            reason = check()
            return [] if reason is None else [reason]

        self._checks.append(Asked(name, ask))

    def warn(self, name: str, warnings: Callable[[], list[str]]) -> None:
        """Name something that is worth a warning, and how to find out."""
        self._warnings.append(Asked(name, warnings))

    async def readiness(self) -> Readiness:
        """Return the health of every part, found out now, in at most `CHECK_MAX_S` seconds."""
        found: dict[str, list[str]] = {}

        async def ask(asked: Asked) -> None:
            found[asked.name] = await asked.answer()

        async with anyio.create_task_group() as tasks:
            for asked in (*self._checks, *self._warnings):
                tasks.start_soon(ask, asked)
        parts = {
            asked.name: PartHealth(not found[asked.name], "; ".join(found[asked.name]) or None)
            for asked in self._checks
        }
        if self.draining:
            parts["server"] = PartHealth(ok=False, reason="it is stopping")
        warnings = [warning for asked in self._warnings for warning in found[asked.name]]
        disk = DiskHealth(*self._disk.usage()) if self._disk else None
        if disk is not None:
            parts["disk"], low = disk_health(disk)
            warnings += low
        return Readiness(all(part.ok for part in parts.values()), parts, warnings, disk)


def disk_health(disk: DiskHealth) -> tuple[PartHealth, list[str]]:
    """Return whether there is room for a commit, and a warning when there is little for loads."""
    if disk.free_bytes < DISK_NEEDED_BYTES:
        return PartHealth(ok=False, reason=f"{disk.free_bytes:,} bytes are free"), []
    share, free = disk.free_bytes / disk.total_bytes, f"{disk.free_bytes:,} bytes"
    if disk.free_bytes < disk.reserve_bytes:
        warning = f"the disk is below its reserve of {disk.reserve_bytes:,} bytes: {free} are free"
        return PartHealth(ok=True), [f"{warning}, and whatever adds data gets 507"]
    if share < DISK_WARNING_SHARE:
        return PartHealth(ok=True), [f"the disk has {share:.0%} left: {free}"]
    return PartHealth(ok=True), []
