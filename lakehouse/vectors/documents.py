"""Texts that are split into chunks, each an item of its own: `doc#0`, `doc#1`, ...

A document is replaced whole: its new chunks and the end of its old ones are one version.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from lakehouse.errors import LakehouseError, UnavailableError, UpstreamError
from lakehouse.lanes import on_thread
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.errors import InvalidDocumentError
from lakehouse.vectors.items import check_id
from lakehouse.vectors.lance import text_literal
from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.models import DocumentAdded, DocumentFailed, DocumentIn, DocumentsPut
from lakehouse.vectors.schema import ID_MAX_BYTES, Batch, check_declared
from lakehouse.vectors.splitting import Chunk, split

ID_ROOM_BYTES = 12
"""Of an item's 512 bytes, what `#` and the number of a chunk may take."""
TEXT_MAX = 4_000_000
"""Characters of a document: 4,400 chunks as they are cut unless something else is said."""
DOCUMENT_METADATA_MAX_BYTES = 32 * 1024
OURS = ("document", "chunk", "headings")
"""Keys of a chunk's metadata that say where it is from."""
CHUNKS_EMBEDDED = 1_000
NOT_ASKED = (UpstreamError, UnavailableError)
"""After one of these no other document is tried: the model is away for all of them."""

Embed = Callable[[Collection, Sequence[str]], Awaitable[Any]]


async def put_documents(
    collection: Collection, asked: DocumentsPut, embed: Embed
) -> tuple[list[DocumentAdded], list[DocumentFailed]]:
    """Put documents one after the other, and say of each what became of it.

    Raises:
        UpstreamError, UnavailableError: the model is away, and none was put.
    """
    added: list[DocumentAdded] = []
    failed: list[DocumentFailed] = []
    away: LakehouseError | None = None
    for index, document in enumerate(asked.documents):
        try:
            if away is not None:
                raise away
            count = await put_one(collection, index, document, asked, embed)
        except LakehouseError as error:
            away = error if isinstance(error, NOT_ASKED) else None
            if away is not None and not added and not failed:
                raise
            failed.append(
                DocumentFailed(
                    index=index, id=document.id, detail=error.detail, retryable=error.retryable
                )
            )
        else:
            added.append(DocumentAdded(id=document.id, chunks=count))
    return added, failed


async def put_one(
    collection: Collection, index: int, document: DocumentIn, asked: DocumentsPut, embed: Embed
) -> int:
    """Put one document and return how many chunks it has."""
    chunks = await on_thread(partial(checked, index, document, asked, collection.known.definition))
    parts = [
        await embed(collection, [chunk.text for chunk in chunks[start : start + CHUNKS_EMBEDDED]])
        for start in range(0, len(chunks), CHUNKS_EMBEDDED)
    ]
    batch = batch_of(document, chunks, np.concatenate(parts))
    of_document = f"document = {text_literal(document.id)}"
    await collection.alone(partial(collection.write, [batch], of_document))
    return len(chunks)


def checked(
    index: int, document: DocumentIn, asked: DocumentsPut, definition: Definition
) -> list[Chunk]:
    """Return the chunks of a document that can be put into a collection.

    Raises:
        InvalidDocumentError: it cannot; the words say why.
        InvalidSplitError: it cannot be split as asked.
    """
    try:
        check_id(document.id, ID_MAX_BYTES - ID_ROOM_BYTES)
        check_declared(document.metadata, definition)
    except ValueError as error:
        raise InvalidDocumentError(index, str(error)) from error
    if ours := [key for key in OURS if key in document.metadata]:
        raise InvalidDocumentError(
            index, f"its metadata has {ours[0]!r}, which chunks have of ours"
        )
    if len(msgspec.json.encode(document.metadata)) > DOCUMENT_METADATA_MAX_BYTES:
        most = f"{DOCUMENT_METADATA_MAX_BYTES:,}"
        raise InvalidDocumentError(index, f"its metadata is over {most} bytes: each chunk has it")
    if len(document.text) > TEXT_MAX:
        raise InvalidDocumentError(index, f"its text is over {TEXT_MAX:,} characters: send parts")
    chunks = split(document.text, size=asked.size, overlap=asked.overlap, by=asked.by)
    if not chunks:
        raise InvalidDocumentError(index, "its text is empty")
    return chunks


def batch_of(document: DocumentIn, chunks: Sequence[Chunk], vectors: Any) -> Batch:
    def metadata(number: int, chunk: Chunk) -> str:
        ours = {"document": document.id, "chunk": number}
        headings = {"headings": chunk.headings} if chunk.headings else {}
        return msgspec.json.encode({**document.metadata, **ours, **headings}).decode()

    return Batch(
        ids=[f"{document.id}#{number}" for number in range(len(chunks))],
        vectors=vectors.astype(np.float32),
        texts=[chunk.text for chunk in chunks],
        metadata=[metadata(number, chunk) for number, chunk in enumerate(chunks)],
        keeps=[False] * len(chunks),
        documents=[document.id] * len(chunks),
    )
