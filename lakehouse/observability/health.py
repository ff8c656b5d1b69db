"""Whether each part of the process works, by name."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

Check: TypeAlias = Callable[[], str | None]
"""Returns why the part does not work, or None when it does."""


class PartHealth(msgspec.Struct, frozen=True):
    ok: bool
    reason: str | None = None


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    parts: dict[str, PartHealth]
    warnings: list[str] = []


class Health:
    """The checks that modules handed in. What only warns does not make the server unready."""

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, Check] = {}
        self._warnings: list[Callable[[], list[str]]] = []

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    def warn(self, warnings: Callable[[], list[str]]) -> None:
        self._warnings.append(warnings)

    def readiness(self) -> Readiness:
        """Return the health of every part, found out now. Blocks."""
        parts = {name: part_health(check) for name, check in self._checks.items()}
        if self.draining:
            parts["server"] = PartHealth(ok=False, reason="it is stopping")
        return Readiness(
            ready=all(part.ok for part in parts.values()),
            parts=parts,
            warnings=[warning for warnings in self._warnings for warning in warnings()],
        )


def part_health(check: Check) -> PartHealth:
    try:
        reason = check()
    except Exception as error:  # a part that cannot even be asked does not work
        reason = f"{type(error).__name__}: {error}"
    return PartHealth(ok=reason is None, reason=reason)
