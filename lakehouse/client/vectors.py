"""Collections of vectors: items in, what is near out."""

import base64
import builtins
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from lakehouse.client.answers import value_of
from lakehouse.client.jobs import Jobs
from lakehouse.client.models import Job
from lakehouse.client.transport import Transport


class CollectionIndex(msgspec.Struct, frozen=True):
    state: str
    """`none` while every search is exact, `building`, `ready` or `damaged`."""
    indexed: int = 0
    waiting: int = 0
    """Items that are found without it."""
    recall: float | None = None
    """Of the last check, from 0 to 1."""
    recall_k: int | None = None
    checked_at: datetime | None = None


class CollectionSource(msgspec.Struct, frozen=True):
    """The table that a collection is derived from, and how far it has come."""

    table: str
    id: str
    text: str
    metadata: list[str]
    state: str
    """`current`, `pending` or `failed`; `detail` says why."""
    snapshot_id: int | None
    table_snapshot_id: int | None
    lag_s: float
    skipped: int
    """Rows of the last look that cannot be items."""
    detail: str | None = None


class Collection(msgspec.Struct, frozen=True):
    name: str
    dimension: int
    distance: str
    length: int
    columns: dict[str, str]
    model: str | None
    created_at: datetime
    index: CollectionIndex
    source: CollectionSource | None = None


class CollectionList(msgspec.Struct, frozen=True):
    names: list[str]


class ItemsAdded(msgspec.Struct, frozen=True):
    added: int
    length: int
    """Items of the collection now."""


class ItemsDeleted(msgspec.Struct, frozen=True):
    deleted: int
    length: int


class Merged(msgspec.Struct, frozen=True):
    merged: int
    skipped: int
    length: int
    """Items of the destination now."""


class Hit(msgspec.Struct, frozen=True):
    id: str
    metadata: dict[str, Any]
    distance: float | None = None
    """None where only words were looked for, or found."""
    score: float | None = None
    """Large is good; of searches by words."""


class Found(msgspec.Struct, frozen=True):
    results: list[Hit]
    """The nearest first."""
    approximate: bool = False
    """Whether a true neighbour may be missing."""
    explain: dict[str, Any] | None = None


class DocumentAdded(msgspec.Struct, frozen=True):
    id: str
    chunks: int


class DocumentFailed(msgspec.Struct, frozen=True):
    index: int
    id: str
    detail: str
    retryable: bool


class DocumentsDone(msgspec.Struct, frozen=True):
    added: list[DocumentAdded]
    failed: list[DocumentFailed]
    """Of these nothing was changed."""
    length: int
    """Items of the collection now."""


class VectorItem(msgspec.Struct, frozen=True):
    id: str
    metadata: dict[str, Any]
    text: str | None = None
    vector: list[float] | None = None


class VectorItemPage(msgspec.Struct, frozen=True):
    items: list[VectorItem]
    next_cursor: str | None = None


class RecallChecked(msgspec.Struct, frozen=True):
    queries: int
    k: int
    recall: float
    """The share of the true nearest k that searches found, from 0 to 1."""
    items: int
    approximate: bool


class Optimized(msgspec.Struct, frozen=True):
    built: list[str]
    """Columns that got an index; `vector` is that of the vectors."""
    merged: int
    """Pieces that were written together."""
    fragments: int
    """Pieces that the rows lie in now."""
    versions_removed: int
    bytes_removed: int
    indexed: int
    waiting: int


class Reembedded(msgspec.Struct, frozen=True):
    embedded: int
    """None where the model was the same, and nothing was done."""
    model: str
    digest: str
    dimension: int


class VectorCollections:
    """`lake.vectors`: collections by name, `name` or `namespace.name`."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def create(
        self,
        name: str,
        *,
        dimension: int | None = None,
        model: str | None = None,
        distance: str = "cosine",
        columns: Mapping[str, str] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Collection:
        """Make a collection; `ConflictError` when the name is taken.

        Args:
            dimension: numbers of a vector; None for as many as the model gives.
            model: what embeds texts; None for the default.
            distance: `cosine` or `euclidean`.
            columns: keys of the metadata that filters will ask for, with their types.
            source: the table that it is derived from: `table`, its columns `id` and `text`, and
                `metadata`, a list of others. None for a collection that items are added to.
        """
        asked = {
            "name": name,
            "dimension": dimension,
            "model": model,
            "distance": distance,
            "columns": dict(columns or {}),
            "source": None if source is None else dict(source),
        }
        # A second one of that name is refused, so it may not be sent again unseen.
        answer = self._transport.send("POST", "/v1/vectors/index", json=asked, again=False)
        return value_of(answer, Collection)

    def list(self) -> builtins.list[str]:
        """Return the names of the collections that the caller may read."""
        return value_of(self._transport.send("GET", "/v1/vectors/index"), CollectionList).names

    def info(self, name: str) -> Collection:
        return value_of(self._transport.send("GET", path_of(name)), Collection)

    def drop(self, name: str) -> None:
        """Drop a collection and all its items: it does not come back."""
        self._transport.send("DELETE", path_of(name), again=False)

    def add(self, name: str, items: Sequence[Mapping[str, Any]]) -> ItemsAdded:
        """Add up to 10,000 items, or replace those with their ids: all of them, or none.

        Args:
            name: of the collection.
            items: each an `id`, a `vector` or a `text`, and `metadata` if it has some.

        Raises:
            InvalidInputError: an item is bad; the message names it.
            ConflictError: the model is not the one that the collection was built with.
        """
        # Sent twice it has one effect: items are replaced by id.
        asked = {"items": [written(each) for each in items]}
        return value_of(self._post(name, "add", asked), ItemsAdded)

    def put_documents(
        self,
        name: str,
        documents: Sequence[Mapping[str, Any]],
        *,
        size: int = 1000,
        overlap: int = 100,
        by: str = "text",
    ) -> DocumentsDone:
        """Split documents into chunks and put them in the place of those with their ids.

        Args:
            documents: each with `id`, `text` and perhaps `metadata`.
            by: `heading` reads Markdown: no chunk goes over a heading.
        """
        asked = {"documents": [*documents], "size": size, "overlap": overlap, "by": by}
        return value_of(self._post(name, "documents", asked), DocumentsDone)

    def search(
        self,
        name: str,
        text: str | None = None,
        *,
        vector: Sequence[float] | None = None,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        mode: str = "vector",
        explain: bool = False,
        wait_for: int | None = None,
    ) -> Found:
        """Return the `k` items nearest to a text or a vector, of those that the filter keeps.

        Args:
            mode: `text` looks for the words of a text, `hybrid` for both.
            wait_for: a snapshot of the table that the collection is derived from, to be reached
                before; `UnavailableError` when it takes longer than 30 s.
        """
        asked: dict[str, Any] = {
            "k": k,
            "filter": dict(filter or {}),
            "mode": mode,
            "explain": explain,
            "wait_for": wait_for,
        }
        if text is not None:
            asked["text"] = text
        if vector is not None:
            asked["vector"] = packed(vector)
        return value_of(self._post(name, "search", asked), Found)

    def get(
        self, name: str, ids: Sequence[str], *, with_vectors: bool = False
    ) -> builtins.list[VectorItem]:
        """Return up to 1,000 items by their ids; those that are not there are left out."""
        asked = {"ids": [*ids], "with_vectors": with_vectors}
        return value_of(self._post(name, "get", asked), VectorItemPage).items

    def items(self, name: str) -> Iterator[VectorItem]:
        """Yield all items by id, read page by page."""
        cursor: str | None = None
        while True:
            params = {"cursor": cursor}
            found = self._transport.send("GET", f"{path_of(name)}/items", params=params)
            page = value_of(found, VectorItemPage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def delete(
        self,
        name: str,
        ids: Sequence[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
    ) -> ItemsDeleted:
        """Delete items by their ids, or all that a filter keeps; `{}` keeps all of them."""
        asked: dict[str, Any] = {}
        if ids is not None:
            asked["ids"] = [*ids]
        if filter is not None:
            asked["filter"] = dict(filter)
        return value_of(self._post(name, "delete", asked, again=False), ItemsDeleted)

    def merge(self, name: str, dest: str, *, clear_source: bool = False) -> Merged:
        """Copy items into `dest`; ids that it has are skipped. The source can be emptied."""
        asked = {"dest": dest, "clear_source": clear_source}
        return value_of(self._post(name, "merge", asked, again=False), Merged)

    def check(self, name: str, *, queries: int = 100, k: int = 10) -> RecallChecked:
        """Measure how many of the true nearest searches find."""
        return value_of(self._post(name, "check", {"queries": queries, "k": k}), RecallChecked)

    def optimize(self, name: str, *, told: Callable[[Job], None] = lambda job: None) -> Optimized:
        """Write files together, bring indexes up to date and remove old versions: now.

        Args:
            name: of the collection.
            told: called with the job at each change.
        """
        return msgspec.convert(self._job(name, "optimize", None, told), Optimized)

    def reembed(
        self,
        name: str,
        model: str | None = None,
        *,
        told: Callable[[Job], None] = lambda job: None,
    ) -> Reembedded:
        """Embed the texts of a collection again: its model changed, or another is to be it.

        Args:
            name: of the collection.
            model: None for the one that it has.
            told: called with the job at each change.

        Raises:
            UnprocessableError: items have no text, or one that the model knows no word of.
            ConflictError: they are being embedded already.
        """
        asked = {"model": model} if model is not None else {}
        return msgspec.convert(self._job(name, "reembed", asked, told), Reembedded)

    def _job(self, name: str, verb: str, asked: object, told: Callable[[Job], None]) -> Any:
        """Return the result of what a job does; begun twice it has one effect."""
        headers = {"Prefer": "respond-async"}
        path = f"{path_of(name)}/{verb}"
        answer = self._transport.send("POST", path, json=asked, headers=headers)
        return self._jobs.wait(value_of(answer, Job).id, told).result

    def _post(self, name: str, verb: str, asked: object, *, again: bool = True) -> Any:
        return self._transport.send("POST", f"{path_of(name)}/{verb}", json=asked, again=again)


def path_of(name: str) -> str:
    return f"/v1/vectors/index/{quote(name, safe='')}"


def written(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an item as it is sent."""
    vector = item.get("vector")
    return item if vector is None else {**item, "vector": packed(vector)}


def packed(vector: Sequence[float] | str) -> "str | builtins.list[float]":
    """Return the base64 of a vector, which is half of the bytes and a tenth of the work.

    What is base64 already, or has no such form, is sent as it is, for the server to say why.
    """
    if isinstance(vector, str):
        return vector
    if isinstance(vector, bytes | bytearray):  # whole numbers to Python, memory to an array
        return [*vector]
    try:
        numbers = array("f", vector)
    except (TypeError, OverflowError):
        return [*vector]
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers).decode()
