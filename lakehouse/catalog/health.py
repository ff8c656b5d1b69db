"""Which tables cannot be read, and why: one damaged table never stops another."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from lakehouse.catalog.errors import TableDamagedError, UnreadableFileError
from lakehouse.catalog.manifests import LiveFile, Manifests
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import TableName
from lakehouse.catalog.tables import LoadedTable
from lakehouse.storage import ObjectNotFoundError, S3Store, Store

CHECKED_EVERY_S = 60.0
LISTED_MIN = 10
"""Fewer files are asked for one by one: a list has those of the past, too."""


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
    expected = [("manifest", each.manifest_path, each.manifest_length) for each in listed]
    for what, location, size_bytes in expected:
        if damage := size_damage(store, what, location, size_bytes):
            return damage
    folder = store.key(table.location).rpartition("/metadata/")[0]
    for file in not_listed(store, folder, manifests.live_files(listed)):
        if damage := size_damage(store, "data file", file.location, file.size_bytes):
            return damage
    return None


def not_listed(store: Store, folder: str, files: Collection[LiveFile]) -> Collection[LiveFile]:
    """Return those of `files` that must be looked at one by one.

    In a bucket these are the ones that a list of the folder does not show with their size.
    """
    if not isinstance(store, S3Store) or len(files) < LISTED_MIN:
        return files
    left = {store.key(each.location): each for each in files}
    for found in store.stored(folder):
        file = left.get(found.key)
        if file is not None and file.size_bytes == found.size_bytes:
            del left[found.key]
    return left.values()


def size_damage(store: Store, what: str, location: str, expected_bytes: int) -> str | None:
    key = store.key(location)
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
