"""What is there after the next start: what was acknowledged, exactly, and nothing else.

Of the changes in flight a part is sent again with its key. Then for each client, whose changes
come one after the other:

- all that was acknowledged or sent again is there, applied in order and once;
- a change that was not sent again is there whole or not at all, and the client goes on from that;
- rows whose erasure was acknowledged are in no file that a snapshot reaches;
- what a killed process left is swept away, and then every file is one that a table names.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import read_manifest_list
from pyiceberg.table import StaticTable

from tests.catalog.lake import unpacked
from tests.crash.changes import SHARED, Change, Owned, Rows, mark
from tests.crash.harness import DONE, REFUSED, Account, Server
from tests.crash.places import Reader, plain

RESENT_SHARE = 0.5
MARK = re.compile(rb"m\d{10}\.")
SPOOL_WAIT_S = 3.0
ERASE_WAIT_S = 60.0
LOOKS_MAX, LOOK_AGAIN_S = 5, 0.5


def reckon(server: Server, accounts: list[Account], chance: random.Random) -> None:
    """Compare what is there with what the clients were told, and have them go on from there."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        check_ready(client)
        check_nothing_half_written(server)
        for account in accounts:
            if account.in_flight and chance.random() < RESENT_SHARE:
                resend(client, account)
        compare(client, accounts)
        check_erased(server, accounts)
        sweep(client)
    check_leftovers(server)


def check_ready(client: httpx.Client) -> None:
    answer = client.get("/ready")
    assert answer.status_code == 200, answer.text
    damaged = [each for each in answer.json()["warnings"] if each.startswith("the table")]
    assert not damaged, damaged


def check_nothing_half_written(server: Server) -> None:
    """No upload of a killed process is left, nor a file that was to become an object."""
    deadline = time.monotonic() + SPOOL_WAIT_S
    while left := [*in_spool(server.data_dir), *server.place.half_written()]:
        assert time.monotonic() < deadline, f"left from before the start: {left}"
        time.sleep(0.05)  # the copy of the catalog, perhaps, which is made now and then


def in_spool(data_dir: Path) -> list[str]:
    return [str(each) for each in (data_dir / "spool").rglob("*") if each.is_file()]


def resend(client: httpx.Client, account: Account) -> None:
    """Send what is in flight again, twice: one effect, and one answer."""
    change = account.in_flight
    assert change is not None, "who calls this has looked"
    first, second = sent(change, client), sent(change, client)
    assert first.status_code in DONE, (change, first.text)
    if change.kind != "maintain":
        assert (first.status_code, first.content) == (second.status_code, second.content), change
    account.acknowledge(change)


def sent(change: Change, client: httpx.Client) -> httpx.Response:
    """Send a change, an erasure until maintenance no longer reads what it erases."""
    deadline = time.monotonic() + ERASE_WAIT_S
    answer = change.send(client)
    while answer.status_code == REFUSED and change.kind == "erase" and time.monotonic() < deadline:
        answer = change.send(client)
    return answer


# What the clients own.


def compare(client: httpx.Client, accounts: list[Account]) -> None:
    shared = read(client, f"SELECT owner, id, n, mark FROM {SHARED}")
    owners = {row[0] for row in shared} - set(range(len(accounts)))
    assert not owners, f"rows nobody sent: {owners}"
    there = listed(client, dropped=False)
    dropped = listed(client, dropped=True)
    for number, account in enumerate(accounts):
        rows = checked([row[1:] for row in shared if row[0] == number])
        own = account.asking.own
        assert there[own] + dropped[own] < 2, f"{own} is there {there[own]}, {dropped[own]} times"
        table = None
        if there[own]:
            table = checked(read(client, f"SELECT id, n, mark FROM {own}"))
        adopt(account, rows, table, bool(dropped[own]))


def adopt(account: Account, rows: Rows, table: Rows | None, dropped: bool) -> None:
    """Have the client know what is there, if that is one of the worlds that there can be."""
    change = account.in_flight
    worlds = change.worlds if change else (account.owned,)
    for world in worlds:
        if world.rows == rows and fits(world, table, dropped):
            account.owned, account.in_flight = world, None
            return
    raise AssertionError(difference(account, change, rows, table, dropped))


def fits(world: Owned, table: Rows | None, dropped: bool) -> bool:
    """Whether the own table is as in a world; of a dropped one the rows are read later."""
    if dropped or world.dropped:
        return dropped and world.dropped
    return world.table == table


def difference(
    account: Account, change: Change | None, rows: Rows, table: Rows | None, dropped: bool
) -> str:
    what = f"{change.kind} {change.key}, which was in flight" if change else "nothing in flight"
    lines = [f"what is there is no world that the client of {account.asking.own} knows ({what})"]
    for world in change.worlds if change else (account.owned,):
        lost = {id_: n for id_, n in world.rows.items() if id_ not in rows}
        extra = {id_: n for id_, n in rows.items() if id_ not in world.rows}
        other = {id_: (n, rows[id_]) for id_, n in world.rows.items() if rows.get(id_, n) != n}
        lines.append(f"  rows that are gone {lost}, that nobody has {extra}, other {other};")
        expected = "dropped" if world.dropped else world.table
        lines.append(f"  own table: {expected}; found: {'dropped' if dropped else table}")
    return "\n".join(lines)


def checked(rows: list[Any]) -> Rows:
    """Return rows by id, each there once and with its own mark."""
    times = Counter(row[0] for row in rows)
    doubled = {id_: number for id_, number in times.items() if number > 1}
    assert not doubled, f"rows that are there more than once: {doubled}"
    wrong = [row for row in rows if row[2] != mark(row[0])]
    assert not wrong, f"rows that nobody sent like this: {wrong}"
    return {row[0]: row[1] for row in rows}


def read(client: httpx.Client, sql: str) -> list[Any]:
    answer = client.post("/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    assert not answer.json()["truncated"], "the reckoning must see every row"
    rows: list[Any] = answer.json()["rows"]
    return rows


def listed(client: httpx.Client, *, dropped: bool) -> Counter[str]:
    answer = client.get("/v1/tables", params={"limit": 1000, "dropped": str(dropped).lower()})
    assert answer.status_code == 200, answer.text
    return Counter(each["name"] for each in answer.json()["items"])


# The files.


def check_erased(server: Server, accounts: list[Account]) -> None:
    erased = set().union(*(account.erased for account in accounts))
    reader = Reader(server.place)
    for attempt in range(LOOKS_MAX):
        try:
            holding = {each: marks_in(reader, each) & erased for each in reached(server, reader)}
            break
        except FileNotFoundError:  # maintenance is at work on what was sent again
            if attempt == LOOKS_MAX - 1:
                raise
            time.sleep(LOOK_AGAIN_S)
    for location, found in holding.items():
        assert not found, f"{location} holds rows that were erased: {sorted(found)[:5]}"


def marks_in(reader: Reader, location: str) -> set[str]:
    data = reader.read(location)
    if location.endswith(".parquet"):
        table = pq.ParquetFile(BytesIO(data)).read(columns=["mark"])
        return {str(each) for each in table["mark"].to_pylist()}
    return {each.decode() for each in MARK.findall(unpacked(data))}


def sweep(client: httpx.Client) -> None:
    answer = client.post("/v1/maintenance/run", json={})
    assert answer.status_code == 200, answer.text
    failed = [each for each in answer.json()["runs"] if each["outcome"] == "failed"]
    assert not failed, failed


def check_leftovers(server: Server) -> None:
    """After the sweep every file below `tables/` is one that a table names, and all are there."""
    named = {plain(location) for location in reached(server, Reader(server.place))}
    there = server.place.there()
    assert named <= there, f"files that are gone: {sorted(named - there)[:5]}"
    assert there <= named, f"files that no table names: {sorted(there - named)[:5]}"
    unfinished = server.catalog_rows("SELECT table_name FROM dropped_table WHERE purging <> 0")
    assert not unfinished, f"purges that never ended: {unfinished}"


def reached(server: Server, reader: Reader) -> set[str]:
    """Return every file that a table names, there or dropped, as PyIceberg reads it."""
    pointers = server.catalog_rows(
        "SELECT metadata_location FROM iceberg_tables"
        " UNION ALL SELECT metadata_location FROM dropped_table WHERE purging = 0"
    )
    # Of a dropped table these wait until it is purged, or back.
    waiting = server.catalog_rows(
        "SELECT manifest_list FROM expired_snapshot"
        " WHERE table_uuid IN (SELECT table_uuid FROM dropped_table WHERE purging = 0)"
    )
    found: set[str] = set()
    there = server.place.there() if waiting else set()
    lists = {location for (location,) in waiting if plain(location) in there}
    for (location,) in pointers:
        table = StaticTable.from_metadata(location, server.place.properties)
        found |= {location, *(each.metadata_file for each in table.metadata.metadata_log)}
        lists |= {each.manifest_list for each in table.metadata.snapshots}
    return found | set(files_of(reader, lists))


def files_of(reader: Reader, lists: set[str]) -> Iterator[str]:
    """Yield manifest lists, their manifests, and the data files that are live in those."""
    seen: set[str] = set()
    for location in lists:
        yield location
        for manifest in read_manifest_list(reader.io.new_input(location)):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                yield manifest.manifest_path
                for entry in manifest.fetch_manifest_entry(reader.io, discard_deleted=True):
                    yield entry.data_file.file_path


def check_with_pyiceberg(server: Server, accounts: list[Account]) -> None:
    """Bring dropped tables back, and read all there is with another engine."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for account in accounts:
            if account.owned.dropped:
                answer = client.post(f"/v1/tables/{account.asking.own}/undrop")
                assert answer.status_code == 200, answer.text
                account.owned = Owned(account.owned.rows, account.owned.table)
        compare(client, accounts)
    uri = f"sqlite:///{server.data_dir / 'catalog.db'}"
    if server.catalog_uri is not None:
        uri = server.catalog_uri.replace("postgresql:", "postgresql+psycopg:")
    catalog = SqlCatalog("lakehouse", uri=uri, **server.place.properties)
    try:
        shared = {id_: n for account in accounts for id_, n in account.owned.rows.items()}
        expected = {SHARED: shared} | {
            account.asking.own: account.owned.table
            for account in accounts
            if account.owned.table is not None
        }
        for name, rows in expected.items():
            found = catalog.load_table(("main", name)).scan().to_arrow().to_pylist()
            assert checked([(each["id"], each["n"], each["mark"]) for each in found]) == rows, name
    finally:
        catalog.close()
