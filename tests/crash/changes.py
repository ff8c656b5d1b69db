"""What a client asks for, and what is true when it was done, was not done, or half of it was.

Each client owns its rows of one table that all share, and a table of its own. So its changes come
one after the other, and what it knows is two plain dictionaries.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeAlias

import httpx

SHARED = "crash"
IDS_OF_A_CLIENT = 10**9
ROWS_AT_ONCE = 5

Rows: TypeAlias = dict[int, int]
"""By id how often the row was changed. What marks a row in a file follows from its id."""


@dataclass(frozen=True)
class Owned:
    """All that is a client's."""

    rows: Rows = field(default_factory=dict)
    """In the table that all share."""
    table: Rows | None = None
    """The client's own, there or dropped; None without."""
    dropped: bool = False


@dataclass(frozen=True)
class Change:
    """One request, and what may be true when nobody knows what became of it."""

    kind: str
    key: str
    method: str
    path: str
    worlds: Sequence[Owned]
    """First as before, last as asked for; between them what a request of two steps may leave."""
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    csv: str | None = None
    erases: tuple[str, ...] = ()
    """Marks that no file may hold once this was answered."""

    def send(self, client: httpx.Client) -> httpx.Response:
        headers = {"Idempotency-Key": self.key} if self.kind != "maintain" else {}
        if self.csv is None:
            return client.request(
                self.method, self.path, params=self.params, headers=headers, json=self.json
            )
        headers["Content-Type"] = "text/csv"
        return client.post(self.path, params=self.params, headers=headers, content=self.csv)


class Asking:
    """What one client asks for next."""

    def __init__(self, owner: int, chance: random.Random) -> None:
        self._owner = owner
        self._chance = chance
        self._ids = count(owner * IDS_OF_A_CLIENT)
        self._keys = count()
        self.own = f"own_{owner}"

    def next(self, now: Owned, wanted: frozenset[str] = frozenset()) -> Change:
        """Return a change that can be made now; every other one is of a kind that is wanted."""
        kinds = [*SHARED_KINDS, *OWN_KINDS[None if now.table is None else now.dropped]]
        if not now.rows:
            kinds = [each for each in kinds if each not in ("update", "delete", "erase")]
        liked = [each for each in kinds if each in wanted]
        kind = self._chance.choice(liked if liked and self._chance.random() < 0.5 else kinds)
        change: Change = getattr(self, f"_{kind.replace('-', '_')}")(now, f"{kind}-{self._key()}")
        return change

    def _key(self) -> str:
        return f"{self._owner}-{next(self._keys)}"

    # Of the table that all share.

    def _append(self, now: Owned, key: str) -> Change:
        new = self._new()
        after = replace(now, rows=now.rows | new)
        body = {"rows": self._json(new)}
        return Change("append", key, "POST", rows_of(SHARED), (now, after), json=body)

    def _append_file(self, now: Owned, key: str) -> Change:
        new = self._new()
        after = replace(now, rows=now.rows | new)
        return self._load("append-file", key, SHARED, "append", new, (now, after))

    def _upsert(self, now: Owned, key: str) -> Change:
        merged = self._merged(now.rows)
        after = replace(now, rows=now.rows | merged)
        how = {"mode": "upsert", "key": "id"}
        body = {"rows": self._json(merged)}
        return Change("upsert", key, "POST", rows_of(SHARED), (now, after), how, json=body)

    def _upsert_file(self, now: Owned, key: str) -> Change:
        merged = self._merged(now.rows)
        after = replace(now, rows=now.rows | merged)
        return self._load("upsert-file", key, SHARED, "upsert", merged, (now, after))

    def _update(self, now: Owned, key: str) -> Change:
        rest = self._chance.randrange(3)
        changed = {id_: n + 1 for id_, n in now.rows.items() if id_ % 3 == rest}
        after = replace(now, rows=now.rows | changed)
        body = {
            "set": {"n": "n + 1"},
            "where": "owner = $owner AND id % 3 = $rest",
            "parameters": {"owner": self._owner, "rest": rest},
        }
        return Change("update", key, "POST", f"/v1/tables/{SHARED}/update", (now, after), json=body)

    def _delete(self, now: Owned, key: str) -> Change:
        return self._without("delete", now, key)

    def _erase(self, now: Owned, key: str) -> Change:
        return self._without("erase", now, key)

    def _without(self, kind: str, now: Owned, key: str) -> Change:
        size = self._chance.randint(1, max(1, len(now.rows) // 2))
        gone = self._chance.sample(sorted(now.rows), size)
        after = replace(now, rows={id_: n for id_, n in now.rows.items() if id_ not in gone})
        places = ", ".join("?" * len(gone))
        body = {"where": f"id IN ({places})", "parameters": gone, "erase": kind == "erase"}
        marks = tuple(map(mark, gone)) if kind == "erase" else ()
        path = f"/v1/tables/{SHARED}/delete"
        return Change(kind, key, "POST", path, (now, after), json=body, erases=marks)

    def _maintain(self, now: Owned, key: str) -> Change:
        body = {"table": SHARED} if self._chance.random() < 0.8 else {}
        return Change("maintain", key, "POST", "/v1/maintenance/run", (now,), json=body)

    # Of the client's own table.

    def _make(self, now: Owned, key: str) -> Change:
        new = self._new()
        after = replace(now, table=new, dropped=False)
        return self._load("make", key, self.own, "create", new, (now, after))

    def _own_upsert(self, now: Owned, key: str) -> Change:
        assert now.table is not None
        merged = self._merged(now.table)
        after = replace(now, table=now.table | merged)
        return self._load("own-upsert", key, self.own, "upsert", merged, (now, after))

    def _drop(self, now: Owned, key: str) -> Change:
        worlds = (now, replace(now, dropped=True))
        return Change("drop", key, "DELETE", f"/v1/tables/{self.own}", worlds)

    def _undrop(self, now: Owned, key: str) -> Change:
        worlds = (now, replace(now, dropped=False))
        return Change("undrop", key, "POST", f"/v1/tables/{self.own}/undrop", worlds)

    def _purge(self, now: Owned, key: str) -> Change:
        # Two steps: it leaves the catalog, as by a drop, and then its files go.
        worlds = (now, replace(now, dropped=True), replace(now, table=None, dropped=False))
        how = {"purge": "true"}
        return Change("purge", key, "DELETE", f"/v1/tables/{self.own}", worlds, how)

    # Rows.

    def _new(self) -> Rows:
        return {next(self._ids): 0 for _ in range(ROWS_AT_ONCE)}

    def _merged(self, rows: Rows) -> Rows:
        """Return some rows of those with another value, and some new ones."""
        known = self._chance.sample(sorted(rows), min(ROWS_AT_ONCE, len(rows)))
        new = list(self._new())[:2]
        return {id_: self._chance.randrange(100, 10**6) for id_ in (*known, *new)}

    def _json(self, rows: Rows) -> list[dict[str, Any]]:
        return [
            {"id": id_, "owner": self._owner, "n": n, "mark": mark(id_)} for id_, n in rows.items()
        ]

    def _load(
        self, kind: str, key: str, table: str, mode: str, rows: Rows, worlds: Sequence[Owned]
    ) -> Change:
        how = {"name": table, "mode": mode} | ({"key": "id"} if mode == "upsert" else {})
        lines = [f"{id_},{self._owner},{n},{mark(id_)}\n" for id_, n in rows.items()]
        csv = "id,owner,n,mark\n" + "".join(lines)
        return Change(kind, key, "POST", "/v1/ingest", worlds, how, csv=csv)


SHARED_KINDS = (
    *("append", "append", "append", "append-file", "upsert", "upsert-file"),
    *("update", "delete", "erase", "maintain"),
)
OWN_KINDS: dict[bool | None, tuple[str, ...]] = {
    None: ("make", "make"),
    False: ("own-upsert", "drop", "purge"),
    True: ("undrop", "undrop", "purge"),
}
"""By what became of the table: there is none, it is there, it was dropped."""
LEADING_TO = {
    "after-group-file": frozenset(["append"]),
    "after-group": frozenset(["append"]),
    "in-drop": frozenset(["make", "drop", "undrop"]),
    "after-drop": frozenset(["make", "drop", "undrop"]),
    "in-undrop": frozenset(["make", "drop", "undrop"]),
    "after-undrop": frozenset(["make", "drop", "undrop"]),
    "before-purge": frozenset(["make", "purge"]),
    "amid-purge": frozenset(["make", "purge"]),
    "after-purge": frozenset(["make", "purge"]),
    "after-erase-commit": frozenset(["append", "erase"]),
    "before-erase-key": frozenset(["append", "erase"]),
    "after-rewrite": frozenset(["append", "maintain"]),
    "after-expiry": frozenset(["append", "maintain", "erase"]),
    "amid-expiry": frozenset(["append", "maintain", "erase"]),
}
"""Kinds of changes that come to a failpoint; to the others every change of rows does."""


def rows_of(table: str) -> str:
    return f"/v1/tables/{table}/rows"


def mark(id_: int) -> str:
    """Return what a row is known by in any file. A bound of a column keeps 16 characters."""
    return f"m{id_:010}."
