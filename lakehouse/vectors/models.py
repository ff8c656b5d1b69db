"""Collections and items as they cross the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

DIMENSION_MAX = 4096
K_MAX = 10_000
DOCUMENTS_MAX = 1_000
ITEMS_MAX = 10_000
"""Items of one request."""
GET_MAX = 1_000
LIST_MAX = 1_000

Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
Distance: TypeAlias = Literal["cosine", "euclidean"]
ColumnType: TypeAlias = Literal["string", "integer", "float", "boolean", "timestamp"]
Dimension: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=DIMENSION_MAX)]
Mode: TypeAlias = Literal["vector", "text", "hybrid"]
Numbers: TypeAlias = list[float] | str
"""A vector as it arrives: its numbers, or the base64 of float32s, little-endian (RFC 4648 section
4), which is half of the bytes and a tenth of the work."""
IndexState: TypeAlias = Literal["none", "building", "ready", "damaged"]
SourceState: TypeAlias = Literal["current", "pending", "failed"]

COLUMNS_MAX = 100


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table whose rows a collection holds; what is written there is found here."""

    table: Text
    """`name`, or `namespace.name`."""
    id: Text
    """The column of the ids. No two rows should have the same."""
    text: Text
    """The column of the texts, which are embedded."""
    metadata: Annotated[list[Text], msgspec.Meta(max_length=COLUMNS_MAX)] = []
    """Columns that become metadata of an item; those in `columns` do in any case."""


class CollectionCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    """`name`, or `namespace.name`; without a namespace it is `main`."""
    dimension: Dimension | None = None
    """Numbers of a vector. Left out: as many as the model gives."""
    distance: Distance = "cosine"
    """`cosine` is 1 minus the cosine, from 0 to 2; `euclidean` the length of the difference."""
    model: str | None = None
    """What texts are embedded with: one of `GET /v1/embed/models`."""
    columns: dict[str, ColumnType] = {}
    """Keys of the metadata that filters often ask for: each gets a typed column and an index."""
    m: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Accepted, and without effect: exact search and IVF have no graph."""
    ef_search: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Accepted, and without effect."""
    source: Source | None = None
    """The table that it is derived from; then nothing is added or deleted but by that table."""


class IndexInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How far a search of many vectors is ahead of looking at each of them."""

    state: IndexState
    """`none`: every search looks at every vector, and is exact."""
    indexed: int = 0
    """Items that the index knows."""
    waiting: int = 0
    """Items that are found without it, by looking at each."""
    recall: float | None = None
    """Of the last `check`: the share of the true nearest that searches find, from 0 to 1."""
    recall_k: int | None = None
    checked_at: datetime | None = None


class SourceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The table that a collection is derived from, and how far it has come."""

    table: str
    id: str
    text: str
    metadata: list[str]
    state: SourceState
    """`pending`: newer rows are on their way. `failed`: they are not; `detail` says why."""
    snapshot_id: int | None
    """The snapshot of the table that the items are of; None before the first."""
    table_snapshot_id: int | None
    """The one that the table is at; None while it has none, and when it is gone."""
    lag_s: float
    """Seconds since the first change of the table that the collection has not; else 0."""
    skipped: int
    """Rows of the last look that cannot be items, like those without a text; `detail` has one."""
    detail: str | None = None


class Collection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    name: str
    dimension: int
    distance: Distance
    length: int
    """Items."""
    columns: dict[str, ColumnType]
    model: str | None
    """None: only vectors were added so far."""
    created_at: datetime
    index: IndexInfo
    source: SourceInfo | None = None
    m: int | None = None
    ef_search: int | None = None


class CollectionList(msgspec.Struct, frozen=True):
    names: list[str]
    count: int


class ItemIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item with its vector, or with a text that is embedded."""

    id: str
    vector: Numbers | None = None
    """Its numbers, or the base64 of float32s, little-endian."""
    text: str | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    """An object; left out or null it keeps what the item had."""


class ItemsAdd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    items: list[ItemIn]


class ItemsAdded(msgspec.Struct, frozen=True, kw_only=True):
    added: int
    """Items of the request, an id that was there twice once."""
    length: int
    """Items of the collection now."""


class DocumentIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    text: str
    metadata: dict[str, Any] = {}
    """Of each chunk, with `document`, `chunk` and `headings` beside it."""


class DocumentsPut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    documents: Annotated[list[DocumentIn], msgspec.Meta(min_length=1, max_length=DOCUMENTS_MAX)]
    size: int = 1000
    """Characters of a chunk at most."""
    overlap: int = 100
    """Characters that a chunk may share with the one before."""
    by: Literal["text", "heading"] = "text"
    """`heading` reads Markdown: no chunk goes over a heading."""


class DocumentAdded(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    chunks: int


class DocumentFailed(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    """Its place in the request."""
    id: str
    detail: str
    retryable: bool
    """Whether the same document may be taken later."""


class DocumentsDone(msgspec.Struct, frozen=True, kw_only=True):
    added: list[DocumentAdded]
    failed: list[DocumentFailed]
    """Of these nothing was changed; the others are durable, and are found."""
    length: int
    """Items of the collection now."""


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    vector: Numbers | None = None
    """As that of an item."""
    text: Text | None = None
    """Embedded with the collection's model; one of `vector` and `text`."""
    mode: Mode = "vector"
    """`text` looks for the words of `text` (BM25), `hybrid` for both, fused by their ranks."""
    k: Annotated[int, msgspec.Meta(ge=1, le=K_MAX)] = 10
    filter: dict[str, Any] = {}
    """What an item must have: `{"lang": "de", "year": {"$gte": 2020}}`."""
    explain: bool = False
    """Say how it was searched."""
    wait_for: int | None = None
    """A snapshot of the table that the collection is derived from: wait until it is reached."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    distance: float | msgspec.UnsetType = msgspec.UNSET
    """Left out where only the words were looked for, or found."""
    score: float | msgspec.UnsetType = msgspec.UNSET
    """Large is good. Of the words: BM25; of both: the fusion of their ranks."""
    metadata: dict[str, Any]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """How a search went."""

    way: str
    """`memory`: each vector was looked at. `memory index`, `index`: those near in the index in
    memory, or on the disk, by their true distances. `scan`: each vector, from the disk. `words`:
    the index of words."""
    items: int
    """Items of the collection when it was searched."""
    passed: int | None
    """Items that the filter keeps; None without one, and where only the index asked it."""
    approximate: bool


class SearchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    results: list[Hit]
    approximate: bool = False
    """Whether a true neighbour may be missing; left out when none can be."""
    explain: Explained | None = None


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dest: Text
    """The collection that gets the items; those with ids that it has already are skipped."""
    clear_source: bool = False
    """Whether the source is empty afterwards."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    merged: int
    skipped: int
    length: int
    """Items of the destination now."""


class ItemsGet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=GET_MAX)]
    with_vectors: bool = False


class ItemsDelete(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By their ids, or all that a filter keeps; one of both."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)] | None = None
    filter: dict[str, Any] | None = None


class ItemsDeleted(msgspec.Struct, frozen=True, kw_only=True):
    deleted: int
    length: int


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    metadata: dict[str, Any]
    text: str | None = None
    vector: list[float] | None = None


class ItemList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Item]
    """Of those asked for, the ones that are there, by id."""
    next_cursor: str | None = None


class RecallCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    queries: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    """Items of the collection whose neighbours are searched for, spread over all of it."""
    k: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10


class RecallChecked(msgspec.Struct, frozen=True, kw_only=True):
    queries: int
    k: int
    recall: float
    """The share of the true nearest k that searches found, from 0 to 1."""
    items: int
    approximate: bool


class Optimized(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to the files of a collection. Its items are what they were."""

    built: list[str]
    """Columns that got an index now; `vector` is that of the vectors."""
    merged: int
    """Pieces that were written together."""
    fragments: int
    """Pieces that its rows lie in now."""
    versions_removed: int
    """Older than ten minutes: nobody reads them any more."""
    bytes_removed: int
    indexed: int
    """Items that the index of the vectors knows now."""
    waiting: int
    """Items that are found without it."""


class Reembed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: Text | None = None
    """What embeds from now on; left out, the model that the collection has."""


class Reembedded(msgspec.Struct, frozen=True, kw_only=True):
    embedded: int
    """Items whose texts were embedded; none where the model is the same, and nothing was done."""
    model: str
    digest: str
    dimension: int
