"""Which files of others a table took in, also long after a change took their rows out of it.

Snapshots say so as long as they are kept. A file that a delete was made in stays in its folder, and
adopted again it would bring the deleted rows back, so the catalog remembers it. An adoption that
was rolled back counts as none.
"""

from collections.abc import Collection, Iterable

from lakehouse.catalog.metadata import Json, current_snapshot_id
from lakehouse.catalog.rules import ancestors
from lakehouse.state import Transaction

NOT_ALL_KNOWN = ""
"""The key of no file. A table that has it had files that nobody remembers."""


def remember(tx: Transaction, table_uuid: str, snapshot_id: int, keys: Iterable[str]) -> None:
    tx.executemany(
        "INSERT INTO adopted_file (table_uuid, file_key, snapshot_id) VALUES (?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [(table_uuid, key, snapshot_id) for key in keys],
    )


def remembered(tx: Transaction, metadata: Json) -> set[str]:
    """Return the keys of the files that the table had, `NOT_ALL_KNOWN` perhaps among them."""
    rows = tx.execute(
        "SELECT file_key, snapshot_id FROM adopted_file WHERE table_uuid = ?",
        (metadata["table-uuid"],),
    ).fetchall()
    stray = strays(metadata)
    return {key for key, snapshot_id in rows if snapshot_id not in stray}


def forget(tx: Transaction, table_uuid: str, snapshot_ids: Collection[int]) -> None:
    """Forget what snapshots took in that were rolled back, and expire now."""
    tx.executemany(
        "DELETE FROM adopted_file WHERE table_uuid = ? AND snapshot_id = ?",
        [(table_uuid, each) for each in snapshot_ids],
    )


def strays(metadata: Json) -> set[int]:
    """Return the snapshots that the table is not, nor was made from."""
    by_id = {each["snapshot-id"]: each for each in metadata["snapshots"]}
    current = current_snapshot_id(metadata)
    return by_id.keys() - {each["snapshot-id"] for each in ancestors(by_id, current)}
