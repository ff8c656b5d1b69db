"""The last statements, as the gate left them: an agent in a loop asks the same again.

What the gate makes of a text is the same whatever the tables hold: only the relations that it
reads, and its time, are put into it each time. So a plan is kept as a text with open places.
"""

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lakehouse.catalog import Pinned, TableName, TableRef
from lakehouse.query.clock import Moment
from lakehouse.query.running import Parameters

PLANS_MAX = 512
TEXT_MAX = 8192
"""Characters of a text that is kept."""


@dataclass(frozen=True, slots=True)
class Places:
    """Names of what is put into a text last; nothing that a caller wrote can hold one."""

    token: str = field(default_factory=lambda: f"p{secrets.token_hex(16)}")

    def table(self, number: int) -> str:
        return f"{self.token}_{number}_"

    def split(self, text: str) -> tuple[str, ...]:
        """Return the pieces of a text: every second one is what a place is for."""
        return tuple(re.split(f"{self.token}_([a-z0-9]+)_", text))


@dataclass(frozen=True, slots=True)
class Plan:
    """What the gate made of a text."""

    places: Places
    pieces: tuple[str, ...]
    refs: tuple[TableRef, ...]
    volatile: bool
    time_names: frozenset[str]
    """What the text is told as its time if no table has such a column, folded: `current_date`."""
    views: Mapping[TableName, str]
    """The views whose texts are in it, and where their metadata lay."""

    def bound(self, given: Mapping[str, Any], moment: Moment) -> list[TableRef]:
        return bound(self.refs, self.places, given, moment)

    def text(self, pinned: Sequence[Pinned], moment: Moment) -> str:
        """Return what runs."""
        filled = list(self.pieces)
        for at in range(1, len(filled), 2):
            place = filled[at]
            number = int(place) if place.isdecimal() else None
            filled[at] = moment.texts[place] if number is None else pinned[number].relation
        return "".join(filled)


def by_name(parameters: Parameters) -> Mapping[str, Any]:
    """Return the values of parameters by name; `?` are numbered from 1."""
    if parameters is None or isinstance(parameters, Mapping):
        return parameters or {}
    return {str(number): value for number, value in enumerate(parameters, 1)}


def bound(
    refs: Sequence[TableRef], places: Places, given: Mapping[str, Any], moment: Moment
) -> list[TableRef]:
    """Return the tables with the values by which their files are chosen."""
    if not any(ref.where and ref.where.names for ref in refs):
        return list(refs)
    known = {**given, **moment.named(places.token)}
    return [replace(ref, where=ref.where and ref.where.bound(known)) for ref in refs]


class Plans:
    """Whether the caller may, and which snapshots are current, is found out anew each time."""

    def __init__(self) -> None:
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, asked: tuple[object, ...]) -> Plan | None:
        with self._lock:
            return self._plans.get(asked)

    def keep(self, asked: tuple[object, ...], plan: Plan) -> None:
        if sum(map(len, plan.pieces)) > TEXT_MAX:
            return
        with self._lock:
            self._plans[asked] = plan
            self._plans.move_to_end(asked)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
