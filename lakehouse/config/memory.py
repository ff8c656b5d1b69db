"""How much memory there is, and who gets which part of it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEMORY_SHARE = 0.6
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """How the process's memory is split, in bytes."""

    duckdb: int
    vectors: int
    uploads_and_results: int
    rest: int


def memory_shares(max_bytes: int) -> MemoryShares:
    """Split the budget; the parts add up to it.

    Half is DuckDB's own limit: sorts and joins spill beyond it. A fifth holds the rows of exact
    vector searches, a sixth the uploads and results on their way, the rest is for Python, for
    what the catalog keeps in memory and for what DuckDB does not count.
    """
    duckdb, vectors, transfers = max_bytes // 2, max_bytes // 5, max_bytes // 6
    return MemoryShares(duckdb, vectors, transfers, max_bytes - duckdb - vectors - transfers)


def memory_bytes(said: int | None) -> int:
    """Return the budget: what `memory.max_bytes` says, or what it is unset."""
    return said or default_memory_bytes()


def default_memory_bytes() -> int:
    """Return 60 % of what the cgroup allows (version 2 or 1), or of the machine's memory."""
    return int(available_memory_bytes() * MEMORY_SHARE)


def available_memory_bytes(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """Return the least of the machine's memory and the limits of each cgroup this process is in."""
    return min(
        [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *cgroup_limits(cgroups, own)]
    )


def cgroup_limits(cgroups: Path, own: Path) -> Iterator[int]:
    """Yield the memory limits of our cgroup and of all that it lies in.

    A container sees its own cgroup as the root, whatever `/proc/self/cgroup` says: the paths that
    are not there have no limit. Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    lines = []
    with suppress(OSError):
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    places = {(cgroups, "memory.max"), (cgroups / "memory", "memory.limit_in_bytes")}
    for _, controllers, path in lines:
        version_1 = "memory" in controllers.split(",")
        if controllers and not version_1:
            continue
        root = cgroups / "memory" if version_1 else cgroups
        name = "memory.limit_in_bytes" if version_1 else "memory.max"
        folder = root / path.lstrip("/")
        places |= {(each, name) for each in (folder, *folder.parents) if each.is_relative_to(root)}
    for folder, name in places:
        with suppress(OSError, ValueError):  # no such file, or `max`
            yield int((folder / name).read_text())
