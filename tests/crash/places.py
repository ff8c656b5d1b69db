"""Where the killed server's tables lie, looked at past it: a directory, or a bucket of MinIO."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from os import utime
from pathlib import Path
from typing import Protocol

from pyiceberg.io.pyarrow import PyArrowFileIO

from lakehouse.config import StorageConfig
from tests import object_store

LONG_AGO_S = 10 * 86_400
AT_ONCE = 8


class Place(Protocol):
    """Files of tables by their locations, as `plain` has them."""

    properties: dict[str, str]
    """What PyIceberg must know to read them."""

    def there(self) -> set[str]:
        """Return all files below `tables/`."""

    def half_written(self) -> list[str]:
        """Return what was on its way to become a file or an object."""

    def backdate(self) -> None:
        """Make every file old enough to be an orphan, while nobody runs."""


class Directory:
    properties: dict[str, str] = {}  # noqa: RUF012 - nobody changes it

    def __init__(self, data_dir: Path) -> None:
        self._warehouse = data_dir / "warehouse"

    def there(self) -> set[str]:
        return {str(each) for each in self._files("tables")}

    def half_written(self) -> list[str]:
        return [str(each) for each in self._files("_tmp")]

    def backdate(self) -> None:
        then = time.time() - LONG_AGO_S
        for path in self._files("tables"):
            utime(path, (then, then))

    def _files(self, folder: str) -> Iterator[Path]:
        return (each for each in (self._warehouse / folder).rglob("*") if each.is_file())


class InMinio:
    """A prefix of the bucket. An upload in parts that was cut short is no object, and not seen."""

    def __init__(self, config: StorageConfig) -> None:
        assert config.warehouse is not None
        self.properties = object_store.pyiceberg_properties()
        self._place = f"s3://{object_store.BUCKET}/"
        self._prefix = config.warehouse.removeprefix(self._place)
        self._client = object_store.shared().client()
        self._old: set[str] = set()
        """Names of what was made old: a name is never used twice."""

    def there(self) -> set[str]:
        return {self._place + name for name in self._names("tables")}

    def half_written(self) -> list[str]:
        return [each for each in self._names("_tmp") if not each.endswith("/_tmp/clock")]

    def backdate(self) -> None:
        new = set(self._names("tables")) - self._old
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self._make_old, new))
        self._old |= new

    def _make_old(self, name: str) -> None:
        """Copy an object onto itself with another time, as MinIO's replication does."""
        then = datetime.fromtimestamp(time.time() - LONG_AGO_S, UTC)
        self._client._execute(
            "PUT",
            object_store.BUCKET,
            name,
            headers={
                "x-amz-copy-source": f"/{object_store.BUCKET}/{name}",
                "x-amz-metadata-directive": "REPLACE",
                "X-Minio-Source-Mtime": then.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        )

    def _names(self, folder: str) -> Iterator[str]:
        prefix = f"{self._prefix}/{folder}/"
        listing = self._client.list_objects(object_store.BUCKET, prefix, recursive=True)
        return (str(each.object_name) for each in listing)


def plain(location: str) -> str:
    return location.removeprefix("file://")


class Reader:
    """What files hold, each read once: what has a name never changes."""

    def __init__(self, place: Place) -> None:
        self.io = PyArrowFileIO(place.properties)
        self._read: dict[str, bytes] = {}

    def read(self, location: str) -> bytes:
        """Return a file's bytes; `FileNotFoundError` when there is none."""
        if location not in self._read:
            with self.io.new_input(location).open() as file:
                self._read[location] = file.read()
        return self._read[location]
