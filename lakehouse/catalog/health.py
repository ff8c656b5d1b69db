"""Which tables cannot be read, and why: one damaged table never stops another."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lakehouse.catalog.errors import TableDamagedError, UnreadableFileError
from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import TableName
from lakehouse.catalog.tables import LoadedTable
from lakehouse.storage import ObjectNotFoundError, Store

CHECKED_EVERY_S = 60.0


def damage_of(
    table: LoadedTable, snapshot: Json | None, manifests: Manifests, store: Store
) -> str | None:
    """Return why `snapshot` cannot be read; None when each of its files is there, whole.

    Looks at every file's size on disk, whatever is in memory: one `stat` a file, or in a bucket
    one list of a thousand.
    """
    try:
        return first_damage(table, snapshot, manifests, store)
    except ObjectNotFoundError as error:
        return f"the file {error.context['key']} is gone"
    except UnreadableFileError as error:
        return error.detail
    except ValueError as error:  # a location outside the warehouse
        return str(error)


@contextmanager
def naming_damage(name: TableName) -> Iterator[None]:
    """Say of which table a manifest or a list is gone or cannot be read."""
    try:
        yield
    except ObjectNotFoundError as error:
        raise TableDamagedError(str(name), f"the file {error.context['key']} is gone") from error
    except UnreadableFileError as error:
        raise TableDamagedError(str(name), error.detail) from error


def first_damage(
    table: LoadedTable, snapshot: Json | None, manifests: Manifests, store: Store
) -> str | None:
    if not store.exists(store.key(table.location)):
        return "its metadata file is gone"
    if snapshot is None:
        return None
    key = store.key(snapshot["manifest-list"])
    if not store.exists(key):
        return f"the file {key} is gone"
    listed = manifests.read_list(snapshot["manifest-list"])
    for each in listed:
        key = store.key(each.manifest_path)
        if damage := size_damage(store, "manifest", key, each.manifest_length):
            return damage
    folder = store.key(table.location).rpartition("/metadata/")[0]
    files = {store.key(each.location): each.size_bytes for each in manifests.live_files(listed)}
    there = store.sizes(folder, files)
    for key, size_bytes in files.items():
        if there.get(key) == size_bytes:
            continue
        if damage := size_damage(store, "data file", key, size_bytes):
            return damage
    return None


def size_damage(store: Store, what: str, key: str, expected_bytes: int) -> str | None:
    size_bytes = store.size(key)
    if size_bytes is None:
        return f"the {what} {key} is gone"
    if size_bytes != expected_bytes:
        return f"the {what} {key} has {size_bytes} bytes, not the {expected_bytes} it was made with"
    return None


class Damages:
    """The last result of a check of all tables, found out anew at most once a minute.

    What a statement meets in between is noted, so that nothing is added to a table that was found
    damaged, by whom ever.
    """

    def __init__(
        self, check_all: Callable[[], dict[str, str]], check: Callable[[TableName], str | None]
    ) -> None:
        self._check_all = check_all
        self._check = check
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._found: dict[str, str] = {}

    def get(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() - self._checked_at > CHECKED_EVERY_S:
                self._found = self._check_all()
                self._checked_at = time.monotonic()
            return dict(self._found)

    def note(self, name: TableName, reason: str) -> None:
        self._found[str(name)] = reason

    def refuse(self, name: TableName) -> None:
        """Refuse to change a table that was found damaged and still is.

        Costs nothing for one that was not: no file is looked at.

        Raises:
            TableDamagedError: its current snapshot cannot be read.
        """
        if str(name) not in self._found:
            return
        reason = self._check(name)
        if reason:
            raise TableDamagedError(str(name), reason)
        self._found.pop(str(name), None)  # somebody mended it
