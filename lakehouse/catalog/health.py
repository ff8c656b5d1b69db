"""Which tables cannot be read, and why: one damaged table never stops another."""

import threading
import time
from collections.abc import Callable

from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.tables import LoadedTable
from lakehouse.storage import LocalStore, ObjectNotFoundError

CHECKED_EVERY_S = 60.0


def damage_of(
    table: LoadedTable, snapshot: Json | None, manifests: Manifests, store: LocalStore
) -> str | None:
    """Return why `snapshot` cannot be read; None when each of its files is there, whole.

    Looks at every data file's size, so it costs one `stat` a file.
    """
    if snapshot is None:
        return None
    try:
        entries = manifests.live_entries(manifests.read_list(snapshot["manifest-list"]))
    except ObjectNotFoundError as error:
        return f"the file {error.context['key']} is gone"
    except Exception as error:  # PyIceberg raises whatever its Avro reader meets
        return f"a manifest cannot be read ({type(error).__name__})"
    for entry in entries:
        key = store.key(entry.data_file.file_path)
        size = store.size(key)
        if size is None:
            return f"the data file {key} is gone"
        if size != entry.data_file.file_size_in_bytes:
            return f"the data file {key} has {size} bytes, not those that were committed"
    return None


class Damages:
    """The last result of a check of all tables, found out anew at most once a minute."""

    def __init__(self, check: Callable[[], dict[str, str]]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._found: dict[str, str] = {}

    def get(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() - self._checked_at > CHECKED_EVERY_S:
                self._found = self._check()
                self._checked_at = time.monotonic()
            return dict(self._found)
