"""Items of a request, checked: whatever is wrong with one refuses them all."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from lakehouse.vectors.errors import InvalidItemError, InvalidQueryError, TooManyItemsError
from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.models import ITEMS_MAX, ItemIn, Numbers
from lakehouse.vectors.schema import (
    ID_MAX_BYTES,
    METADATA_MAX_BYTES,
    TEXT_MAX_BYTES,
    Batch,
    check_declared,
)


def checked(items: Sequence[ItemIn], definition: Definition) -> Batch:
    """Return the items as a batch, in their order; the vectors of texts are still zero.

    Raises:
        InvalidItemError: one cannot be put into this collection.
        TooManyItemsError: there are more than `ITEMS_MAX`.
    """
    if len(items) > ITEMS_MAX:
        raise TooManyItemsError(len(items), ITEMS_MAX)
    rows = np.zeros((len(items), definition.dimension), np.float32)
    for index, item in enumerate(items):
        try:
            check_id(item.id)
        except ValueError as error:
            raise InvalidItemError(index, str(error)) from error
        if (item.vector is None) == (item.text is None):
            said = "has neither a vector nor a text" if item.text is None else "has both"
            raise InvalidItemError(index, f"it {said}: send a `vector`, or a `text` to embed")
        if item.vector is not None:
            rows[index] = vector_of(index, item.vector, definition)
        elif not (item.text or "").strip() or len((item.text or "").encode()) > TEXT_MAX_BYTES:
            raise InvalidItemError(
                index, f"its text is empty, or over {TEXT_MAX_BYTES:,} bytes: split it"
            )
    of_vectors = [index for index, item in enumerate(items) if item.vector is not None]
    for number, why in unfit(rows[of_vectors], definition):
        raise InvalidItemError(of_vectors[number], why)
    metadata = [metadata_of(index, item, definition) for index, item in enumerate(items)]
    return Batch(
        ids=[item.id for item in items],
        vectors=rows,
        texts=[item.text for item in items],
        metadata=metadata,
        keeps=[text is None for text in metadata],
    )


def check_id(name: str, max_bytes: int = ID_MAX_BYTES) -> None:
    """Raise `ValueError`, which says why, unless an item may have this id."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("its id is not valid Unicode") from None
    if not 1 <= size <= max_bytes or "\0" in name:
        raise ValueError(f"its id is empty, has a NUL or is over {max_bytes} bytes ({size:,})")


def vector_of(index: int, said: Numbers, definition: Definition) -> Any:
    try:
        return numbers_of(said, definition)
    except InvalidQueryError as error:
        raise InvalidItemError(index, error.detail) from error


def query_vector(said: Numbers, definition: Definition) -> Any:
    """Return a vector as float32; `InvalidQueryError` when the collection can hold none such."""
    found = np.array(numbers_of(said, definition), np.float32)
    for _, why in unfit(found[None], definition):
        raise InvalidQueryError(why)
    return found


def numbers_of(said: Numbers, definition: Definition) -> Any:
    """Return the numbers of a vector, as many as there must be; infinite beyond float32."""
    if isinstance(said, str):
        found = decoded(said)
    else:
        with np.errstate(over="ignore"):
            found = np.array(said, np.float32)
    if len(found) != definition.dimension:
        raise InvalidQueryError(
            f"the vector has {len(found)} numbers, and the collection {definition.dimension}"
        )
    return found


def unfit(vectors: Any, definition: Definition) -> Iterator[tuple[int, str]]:
    """Yield which vectors no collection can hold, or not this one, and why."""
    for index in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        yield index, "the vector has a number that is none, or beyond float32"
    if definition.distance == "cosine":
        for index in np.flatnonzero(~vectors.any(axis=1)).tolist():
            yield index, "the vector is zero, which has no direction: no cosine is its"


def decoded(text: str) -> Any:
    """Return the numbers that base64 stands for."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except ValueError:
        raise InvalidQueryError(
            "the vector is a text, but no base64 of whole float32s, little-endian: send that, or"
            " a list of numbers"
        ) from None


def metadata_of(index: int, item: ItemIn, definition: Definition) -> str | None:
    """Return the metadata as it was written; None for what keeps the old."""
    raw = bytes(item.metadata)
    if raw == b"null":
        return None
    if not raw.startswith(b"{"):
        raise InvalidItemError(index, "its metadata is no object: {...}")
    if len(raw) > METADATA_MAX_BYTES:
        raise InvalidItemError(index, f"its metadata is over {METADATA_MAX_BYTES:,} bytes")
    if definition.columns:
        try:
            check_declared(msgspec.json.decode(raw), definition)
        except msgspec.DecodeError as error:  # 1e999, which only passes as long as nobody reads it
            raise InvalidItemError(index, f"its metadata: {error}") from error
        except ValueError as error:
            raise InvalidItemError(index, str(error)) from error
    return raw.decode()
