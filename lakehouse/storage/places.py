"""Which object of the storage API it is that lies somewhere in a warehouse."""

from lakehouse.storage import keys, s3_objects
from lakehouse.storage.object_store import OBJECTS
from lakehouse.storage.versions import VERSION

ON_A_DISK = "_o"


def object_key(key: str) -> str | None:
    """Return the user's key of what lies under `key` in the warehouse; None if no object does."""
    folder, _, version = key.rpartition("/")
    area, _, path = folder.partition("/")
    if area != OBJECTS or not VERSION.fullmatch(version):
        return None
    return keys.key_at(path) if path.endswith(ON_A_DISK) else s3_objects.key_of(path)
