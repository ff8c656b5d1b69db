"""What the warehouse is to the rest of the program, whatever it lies on."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol


class Stored(NamedTuple):
    """An object that is there."""

    key: str
    size_bytes: int
    changed_at_s: float
    """When it was written, Unix time by the store's own clock."""
    etag: str = ""
    """Another one when the content is another, where the store has them. Without quotes."""


class Store(Protocol):
    """Objects by key, written whole and durably, or not at all. Keys are relative, with `/`.

    Keys are made by this program; a location from outside goes through `key`. Everything blocks.
    Any call of a store on a network may raise `StoreDownError`, `StoreBusyError` and
    `StoreRefusedError`.
    """

    @property
    def place(self) -> str:
        """Where it lies: a path, or `s3://bucket/prefix`. No `/` at the end."""

    def uri(self, key: str) -> str:
        """Return the location of `key` as Iceberg metadata and DuckDB know it; of "" the root's.

        Nothing in it is escaped: no Iceberg reader we know (DuckDB, PyIceberg, Spark) decodes one.
        """

    def key(self, uri: str) -> str:
        """Return the key of a location under this warehouse; `ValueError` for any other."""

    def read(self, key: str) -> bytes:
        """Return the whole object; `ObjectNotFoundError` when there is none."""

    def open(self, key: str) -> BinaryIO:
        """Return the object as a seekable file; `ObjectNotFoundError` when there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, replacing what is there; durable when this returns.

        Raises:
            DiskFullError: there is no room; nothing was stored.
        """

    def create(self, key: str, data: bytes) -> None:
        """Store `data` under a key that has no object yet, as `write`.

        Raises:
            ObjectExistsError: somebody else has stored one; it stays.
        """

    def writing(self, key: str) -> AbstractContextManager[BinaryIO]:
        """A file that becomes the object when the block ends, and nothing when it raises."""

    def sync(self, keys: Iterable[str]) -> None:
        """Make durable what DuckDB wrote."""

    def prepare(self, key: str) -> None:
        """Have DuckDB be able to write files under the folder `key`."""

    def check_room(self, size_bytes: int) -> None:
        """Raise `DiskFullError` when that many bytes more would reach into the reserve."""

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""

    def delete_folder(self, key: str) -> None:
        """Remove every object under the folder `key`, and the folder."""

    def delete_empty_folders(self, key: str) -> None:
        """Remove the folder `key` and those in it, as far as no object lies under them."""

    def remove_empty_folders(self, prefix: str, before_s: float) -> None:
        """Remove folders below `prefix` that are empty since before `before_s`, Unix time."""

    def exists(self, key: str) -> bool: ...

    def is_linked(self, key: str) -> bool:
        """Whether what is stored under `key` lies elsewhere, as behind a symbolic link."""

    def size(self, key: str) -> int | None:
        """Return the object's bytes; None when there is none."""

    def sizes(self, folder: str, keys: Collection[str]) -> Mapping[str, int]:
        """Return the bytes of those of `keys` that are there; most lie under `folder`.

        In a bucket they are of a list, a request for a thousand: look at `size` before anybody is
        told that one is wrong.
        """

    def now_s(self) -> float:
        """Return the time by the store's own clock, Unix time."""

    def stored(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects under the folder `prefix`, in no particular order."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys under the folder `prefix`, in no particular order."""

    def folders(self, prefix: str, depth: int) -> list[str]:
        """Return the folders that lie `depth` levels below the folder `prefix`, sorted."""
