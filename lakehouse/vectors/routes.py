"""`/v1/vectors`: collections, their items, and what is near, over HTTP."""

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Operation, Schema
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import reads, writes
from lakehouse.api.bodies import typed
from lakehouse.api.documented import streamed
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, decoded, encoded
from lakehouse.api.streams import unless_gone
from lakehouse.lanes import on_thread
from lakehouse.names import parse_table_name, shown
from lakehouse.vectors.models import (
    Collection,
    CollectionCreate,
    CollectionList,
    DocumentsDone,
    DocumentsPut,
    Item,
    ItemList,
    ItemsAdd,
    ItemsAdded,
    ItemsDelete,
    ItemsDeleted,
    ItemsGet,
    Merged,
    MergeRequest,
    RecallCheck,
    RecallChecked,
    SearchRequest,
    SearchResult,
)
from lakehouse.vectors.resident import vectors_of
from lakehouse.vectors.room import BODY_MAX_BYTES
from lakehouse.vectors.schema import as_written, values
from lakehouse.vectors.searching import Found, answer
from lakehouse.vectors.vectors import Vectors

ADDED = {200: ResponseSpec(ItemsAdded, description="The items are durable, and are found.")}
PUT = {200: ResponseSpec(DocumentsDone, description="What became of each document.")}
FOUND = {200: ResponseSpec(SearchResult, description="What is near, nearest first.")}

FEW = 100
"""Hits that are made JSON on the event loop: that takes as long as a hop to a thread."""

AnyRequest: TypeAlias = Request[Any, Any, Any]
ITEM = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "id": Schema(type=OpenAPIType.STRING, min_length=1, max_length=512),
        "vector": Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.NUMBER)),
        "text": Schema(type=OpenAPIType.STRING),
        "metadata": Schema(type=OpenAPIType.OBJECT),
    },
    required=["id"],
)
ITEMS = streamed(
    "The items: each with a vector, or with a text to embed.",
    {
        "application/json": Schema(
            type=OpenAPIType.OBJECT,
            properties={"items": Schema(type=OpenAPIType.ARRAY, items=ITEM)},
            required=["items"],
        )
    },
)


DOCUMENT = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "id": Schema(type=OpenAPIType.STRING, min_length=1, max_length=500),
        "text": Schema(type=OpenAPIType.STRING, min_length=1),
        "metadata": Schema(type=OpenAPIType.OBJECT),
    },
    required=["id", "text"],
)
DOCUMENTS = streamed(
    "The documents, and how they are split.",
    {
        "application/json": Schema(
            type=OpenAPIType.OBJECT,
            properties={
                "documents": Schema(type=OpenAPIType.ARRAY, items=DOCUMENT, min_items=1),
                "size": Schema(type=OpenAPIType.INTEGER, default=1000),
                "overlap": Schema(type=OpenAPIType.INTEGER, default=100),
                "by": Schema(type=OpenAPIType.STRING, enum=["text", "heading"], default="text"),
            },
            required=["documents"],
        )
    },
)


@dataclass
class DocumentsOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = DOCUMENTS


@dataclass
class ItemsOperation(Operation):
    """The operation with its body, which is read on a thread: no signature has it."""

    def __post_init__(self) -> None:
        self.request_body = ITEMS


class VectorsController(Controller):
    path = "/v1/vectors/index"
    tags = ("vectors",)

    @post(guards=[writes])
    async def create_collection(
        self, vectors: NamedDependency[Vectors], data: JSONBody[CollectionCreate]
    ) -> Collection:
        """Make an empty collection."""
        return await vectors.create(data)

    @get(sync_to_thread=False, guards=[reads])
    def list_collections(self, vectors: NamedDependency[Vectors]) -> CollectionList:
        """List the names of all collections."""
        names = [shown(each) for each in vectors.shelf.names()]
        return CollectionList(names, len(names))

    @get("/{name:str}", guards=[reads])
    async def describe_collection(
        self, vectors: NamedDependency[Vectors], name: FromPath[str]
    ) -> Collection:
        """Describe a collection: its parameters, its length, its index."""
        return await vectors.info(parse_table_name(name))

    @delete("/{name:str}", guards=[writes])
    async def drop_collection(self, vectors: NamedDependency[Vectors], name: FromPath[str]) -> None:
        """Drop a collection and all its items. It does not come back."""
        await vectors.drop(parse_table_name(name))

    @post(
        "/{name:str}/add",
        status_code=200,
        request_max_body_size=BODY_MAX_BYTES,
        operation_class=ItemsOperation,
        responses=ADDED,
        guards=[writes],
    )
    async def add_items(
        self, request: AnyRequest, vectors: NamedDependency[Vectors], name: FromPath[str]
    ) -> Response[bytes]:
        """Add items, or put them in the place of those with their ids; all of them or none.

        Each has a `vector`, or a `text` that is embedded with the collection's model.
        """
        async with vectors.room.taken(body_size(request, vectors)):
            asked = await on_thread(partial(typed, await request.body(), ItemsAdd))
            added = await vectors.add(parse_table_name(name), asked.items)
        return Response(msgspec.json.encode(added), media_type="application/json")

    @post(
        "/{name:str}/documents",
        status_code=200,
        request_max_body_size=BODY_MAX_BYTES,
        operation_class=DocumentsOperation,
        responses=PUT,
        guards=[writes],
    )
    async def put_documents(
        self, request: AnyRequest, vectors: NamedDependency[Vectors], name: FromPath[str]
    ) -> Response[bytes]:
        """Split texts or Markdown into chunks, each an item; a document is replaced whole.

        The answer says of each document what became of it; one that failed can be sent again.
        """
        async with vectors.room.taken(body_size(request, vectors)):
            asked = await on_thread(partial(typed, await request.body(), DocumentsPut))
            work = vectors.put_documents(parse_table_name(name), asked)
            done = await unless_gone(request.receive, work)
        return Response(msgspec.json.encode(done), media_type="application/json")

    @post("/{name:str}/search", status_code=200, responses=FOUND, guards=[reads])
    async def search_collection(
        self,
        vectors: NamedDependency[Vectors],
        name: FromPath[str],
        data: JSONBody[SearchRequest],
    ) -> Response[bytes]:
        """Return the items nearest to a vector or a text, of those that a filter keeps."""
        found = await vectors.search(parse_table_name(name), data)
        told = partial(encoded_answer, found, explain=data.explain)
        if found.rows.num_rows <= FEW:
            return Response(told(), media_type="application/json")
        async with vectors.room.answering(found.rows.nbytes):
            return Response(await on_thread(told), media_type="application/json")

    @post("/{name:str}/merge", status_code=200, guards=[writes])
    async def merge_collections(
        self, vectors: NamedDependency[Vectors], name: FromPath[str], data: JSONBody[MergeRequest]
    ) -> Merged:
        """Move items into another collection; those whose ids it has already are skipped."""
        source, dest = parse_table_name(name), parse_table_name(data.dest)
        return await vectors.merge(source, dest, clear_source=data.clear_source)

    @post("/{name:str}/get", status_code=200, guards=[reads])
    async def get_items(
        self, vectors: NamedDependency[Vectors], name: FromPath[str], data: JSONBody[ItemsGet]
    ) -> ItemList:
        """Return items by their ids; those that are not there are left out."""
        rows = await vectors.items(parse_table_name(name), data.ids, with_vectors=data.with_vectors)
        return ItemList(items=await on_thread(partial(items_of, rows)))

    @get("/{name:str}/items", guards=[reads])
    async def list_items(
        self,
        vectors: NamedDependency[Vectors],
        name: FromPath[str],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> ItemList:
        """List the items by id, page by page."""
        after = decoded(cursor) if cursor else None
        rows, more = await vectors.page(parse_table_name(name), after, limit)
        items = await on_thread(partial(items_of, rows))
        return ItemList(items=items, next_cursor=encoded(items[-1].id) if more else None)

    @post("/{name:str}/delete", status_code=200, guards=[writes])
    async def delete_items(
        self, vectors: NamedDependency[Vectors], name: FromPath[str], data: JSONBody[ItemsDelete]
    ) -> ItemsDeleted:
        """Delete items by their ids, or all that a filter keeps."""
        return await vectors.delete(parse_table_name(name), data)

    @post("/{name:str}/check", status_code=200, guards=[writes])
    async def check_collection(
        self,
        vectors: NamedDependency[Vectors],
        name: FromPath[str],
        data: JSONBody[RecallCheck | None] = None,
    ) -> RecallChecked:
        """Measure the recall of searches against looking at every vector."""
        asked = data or RecallCheck()
        return await vectors.check(parse_table_name(name), asked.queries, asked.k)


def encoded_answer(found: Found, *, explain: bool) -> bytes:
    return msgspec.json.encode(answer(found, explain=explain))


def body_size(request: AnyRequest, vectors: Vectors) -> int:
    """Return how many bytes a body has; of one that does not say, the most that it may have."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else vectors.room.body_max_bytes


def items_of(rows: pa.Table) -> list[Item]:
    numbers = vectors_of(rows).tolist() if "vector" in rows.schema.names else None
    ids, texts = values(rows, "id"), values(rows, "text")
    return [
        Item(
            id=name,
            metadata=as_written(metadata),
            text=text,
            vector=numbers[number] if numbers is not None else None,
        )
        for number, (name, text, metadata) in enumerate(
            zip(ids, texts, values(rows, "metadata"), strict=True)
        )
    ]
