"""Raw objects of the storage API, and the datasets that are registered from them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote

from lakehouse.client.answers import value_of
from lakehouse.client.models import Manifest, ManifestList, ObjectPage, StoredObject
from lakehouse.client.transport import Transport
from lakehouse.client.uploads import Progress, Source, silent, upload_of


class Storage:
    """Objects by key: `client.storage.put("raw/a.parquet", path)`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, key: str, source: Source, *, progress: Progress = silent) -> StoredObject:
        """Store the bytes of `source` under `key`, replacing what was there.

        Raises:
            InvalidInputError: the key is refused.
            TooLargeError: over the server's limit.
            ConflictError: a dataset reads the object that is there.
        """
        upload = upload_of(source)
        response = self._transport.send(
            "PUT",
            f"/v1/storage/put/{quote(key)}",
            body=lambda: upload.pieces(progress),
            headers={"Content-Type": "application/octet-stream", **upload.headers()},
            again=upload.again,
        )
        return value_of(response, StoredObject)

    def get(self, key: str) -> bytes:
        """Return the object's bytes, in memory; `NotFoundError` when there is none."""
        return self._transport.send("GET", f"/v1/storage/get/{quote(key)}").content

    @contextmanager
    def read(self, key: str) -> Iterator[Iterator[bytes]]:
        """Open the object to read it in pieces; `NotFoundError` when there is none."""
        with self._transport.stream("GET", f"/v1/storage/get/{quote(key)}") as pieces:
            yield pieces

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose key begins with `prefix`, by key."""
        token: str | None = None
        while True:
            params = {"prefix": prefix, "continuation_token": token}
            response = self._transport.send("GET", "/v1/storage/list", params=params)
            page = value_of(response, ObjectPage)
            yield from page.objects
            token = page.next
            if token is None:
                return

    def delete(self, key: str) -> None:
        """Delete the object; `ConflictError` when a dataset reads it."""
        self._transport.send("DELETE", f"/v1/storage/delete/{quote(key)}")


class Datasets:
    """The Go contract's datasets: tables of the namespace `main`, by their manifests."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def register(
        self,
        name: str,
        schema_fingerprint: str,
        keys: Sequence[str] = (),
        row_count: int | None = None,
    ) -> Manifest:
        """Make Parquet objects of the storage readable as a table, without a copy.

        Raises:
            NotFoundError: an object is not there.
            ConflictError: the name has another fingerprint.
        """
        body = {
            "name": name,
            "schema_fingerprint": schema_fingerprint,
            "objects": [{"key": key} for key in keys],
            "row_count": row_count,
        }
        return value_of(self._transport.send("POST", "/v1/catalog/register", json=body), Manifest)

    def manifest(self, name: str) -> Manifest:
        """Return the dataset's manifest; `NotFoundError` when there is none."""
        path = f"/v1/catalog/manifest/{quote(name, safe='')}"
        return value_of(self._transport.send("GET", path), Manifest)

    def list(self) -> list[Manifest]:
        """Return all datasets by name."""
        found: list[Manifest] = []
        cursor: str | None = None
        while True:
            response = self._transport.send("GET", "/v1/catalog/list", params={"cursor": cursor})
            page = value_of(response, ManifestList)
            found += page.manifests
            cursor = page.next_cursor
            if cursor is None:
                return found
