"""One bucket, through minio's client: requests repeated, errors in our words, memory bounded."""

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from traceback import clear_frames
from typing import BinaryIO, TypeAlias
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

from minio import Minio
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, TimeoutError

from lakehouse.config import StorageConfig
from lakehouse.errors import LakehouseError
from lakehouse.storage.credentials import KeySource
from lakehouse.storage.errors import (
    NoBucketError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreBusyError,
    StoreDownError,
    StoreRefusedError,
)
from lakehouse.storage.object_file import ObjectFile, Parts
from lakehouse.storage.store import Stored

log = logging.getLogger(__name__)

Headers: TypeAlias = dict[str, str | list[str] | tuple[str]]

MIB = 1024 * 1024
CONNECT_S, READ_S = 3.0, 15.0
# At most four more tries, two of them of a server that says nothing: 50 s, most often 3 s.
TRIES = Retry(
    total=4,
    read=2,
    redirect=0,
    status_forcelist=[429, 500, 502, 503, 504],
    backoff_factor=0.2,
    backoff_jitter=0.3,
    backoff_max=3.0,
    raise_on_status=False,
    respect_retry_after_header=False,
)
CONNECTIONS = 32
SINGLE_MAX_BYTES = 64 * MIB
"""A larger object goes up in parts."""
PART_BYTES = 16 * MIB
PARTS_AT_ONCE = 2
"""Of one object: what an upload holds in memory is at most 48 MiB, or the object."""
DELETED_AT_ONCE = 1000

GONE = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload"}
BUSY = {"SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests", "RequestLimitExceeded"}
TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
FORBIDDEN = 403
NO_RANGE = "InvalidRange"


class Bucket:
    """Objects by their whole name in the bucket."""

    def __init__(self, name: str, place: str, config: StorageConfig, keys: KeySource) -> None:
        self.name = name
        self._place = place
        self.parts = Parts()
        server = urlsplit(config.endpoint)
        self._http = PoolManager(
            num_pools=4,
            maxsize=CONNECTIONS,
            timeout=Timeout(connect=CONNECT_S, read=READ_S),
            retries=TRIES,
        )
        self._client = Minio(
            server.netloc,
            credentials=keys,
            secure=server.scheme == "https",
            region=config.region,  # without one it would ask for it
            http_client=self._http,
        )
        if config.path_style:
            self._client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        else:
            self._client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]

    def put(self, name: str, data: bytes) -> None:
        with self._asking(name):
            self._client.put_object(
                self.name, name, io.BytesIO(data), len(data), part_size=SINGLE_MAX_BYTES
            )

    def create(self, name: str, data: bytes) -> None:
        """Store an object; `ObjectExistsError` when there is another one under that name.

        A server that does not know the condition stores it: names are never used twice anyway.
        """
        headers: Headers = {"If-None-Match": "*", "Content-Type": "application/octet-stream"}
        try:
            with self._asking(name):
                # The public method takes no such header in this version.
                self._client._put_object(self.name, name, data, headers)
        except ObjectExistsError:
            found = self.get(name)  # ours, if the answer to the first try was lost
            if found != data and data.startswith(found):
                raise StoreDownError("it gave a part of an object for the whole") from None
            if found != data:
                raise

    def put_file(self, name: str, file: BinaryIO, size_bytes: int) -> None:
        """Store what is in a file, from its beginning."""
        with self._asking(name):
            file.seek(0)
            single = size_bytes <= SINGLE_MAX_BYTES
            self._client.put_object(
                self.name,
                name,
                file,
                size_bytes,
                part_size=SINGLE_MAX_BYTES if single else PART_BYTES,
                num_parallel_uploads=PARTS_AT_ONCE,
            )

    def get(self, name: str) -> bytes:
        """Return a whole object; `ObjectNotFoundError` when there is none."""
        with self.open(name) as file:
            return file.read()

    def open(self, name: str, etag: str | None = None) -> ObjectFile:
        """Return an object as a file; `ObjectNotFoundError` when there is none.

        Args:
            etag: of what it must still be.

        Raises:
            ObjectExistsError: it is another one by now.
        """
        return ObjectFile(self, name, etag)

    def response(
        self, name: str, start: int, length: int | None, etag: str | None
    ) -> BaseHTTPResponse:
        """Return the answer with an object's bytes from `start` on, to be read and closed.

        Args:
            length: of what is wanted, which may reach beyond the end; None for all the rest.
            etag: of what must still be there, in quotes; another object of that name is none.
        """
        with self._asking(name):
            headers: Headers = {"If-Match": etag} if etag else {}
            get = partial(self._client.get_object, self.name, name, start, request_headers=headers)
            try:
                return get(length=length or 0)
            except S3Error as error:
                if start or error.code != NO_RANGE:
                    raise
                return get()  # an empty object has no first byte

    def failing(self, name: str, error: Exception) -> Exception:
        try:
            with self._asking(name):
                raise error
        except LakehouseError as ours:
            return ours

    def find(self, name: str) -> Stored | None:
        try:
            with self._asking(name):
                found = self._client.stat_object(self.name, name)
        except ObjectNotFoundError:
            return None
        return stored(name, found)

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """Yield the objects whose names begin with `prefix`, in the order of their names."""
        listing = self._client.list_objects(
            self.name, prefix, recursive=True, start_after=after or None
        )
        while True:
            with self._asking(prefix):
                found = next(listing, None)
            if found is None:
                return
            assert found.object_name
            yield stored(found.object_name, found)

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the next parts of names after `prefix`, up to a slash and with it."""
        with self._asking(prefix):
            for found in self._client.list_objects(self.name, prefix):
                if found.is_dir and found.object_name:
                    yield found.object_name

    def delete(self, name: str) -> None:
        with self._asking(name):
            self._client.remove_object(self.name, name)

    def delete_all(self, names: Iterable[str]) -> None:
        """Remove objects, a thousand a request; `StoreRefusedError` names one that stays."""
        with self._asking(""):
            wanted = (DeleteObject(name) for name in names)
            for error in self._client.remove_objects(self.name, wanted):
                raise StoreRefusedError(f"{error.name} is not deleted ({error.code})")

    def time_s(self, name: str) -> float:
        """Return the server's time, told when it stores a small object under `name`."""
        with self._asking(name):
            self._client.put_object(self.name, name, io.BytesIO(b""), 0)
        found = self.find(name)
        if found is None:
            raise StoreDownError("what was just stored is not there")
        return found.changed_at_s

    def check(self) -> None:
        """Raise when the bucket is not there, or does not answer."""
        with self._asking(""):
            if not self._client.bucket_exists(self.name):
                raise NoBucketError(self._place)

    def close(self) -> None:
        self._http.clear()

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Say in our words what the library raises; none of its own may have the keys in them."""
        try:
            yield
        except LakehouseError:
            raise
        except S3Error as error:
            let_go(error)
            raise self._meaning(name, error) from error
        except (MinioException, HTTPError, OSError, ValueError, ParseError) as error:
            let_go(error)
            log.warning("the object store failed: %s", type(error).__name__)
            raise StoreDownError(words(error)) from error

    def _meaning(self, name: str, error: S3Error) -> Exception:
        code, status = error.code or "", error.response.status
        if code in GONE:
            return ObjectNotFoundError(name)
        if code in TAKEN:
            return ObjectExistsError(name)
        if code == "NoSuchBucket":
            return NoBucketError(self._place)
        if code in BUSY or status in (429, 503):
            return StoreBusyError()
        if status in (400, 401, FORBIDDEN):
            return StoreRefusedError(code)
        return StoreDownError(f"{code}, status {status}")


def stored(name: str, found: Object) -> Stored:
    assert found.size is not None and found.last_modified is not None
    etag = (found.etag or "").strip('"')
    return Stored(name, found.size, found.last_modified.timestamp(), etag)


def let_go(error: BaseException) -> None:
    """Let go of what the frames of the library hold.

    One of them holds the very error that it raised: until a collection of garbage it would be
    there, with all that its callers hold, a lease on the files of a table among it.
    """
    seen: set[int] = set()
    left: list[object] = [error]
    while left:
        each = left.pop()
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            clear_frames(each.__traceback__)
            left += [each.__context__, each.__cause__, getattr(each, "reason", None)]


def words(error: BaseException) -> str:
    """Return why a request failed, without what the library knows of it."""
    while isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, NewConnectionError):
        return "nobody listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"the answer was broken off ({type(error).__name__})"
