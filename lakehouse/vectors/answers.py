"""How large an answer may be: metadata is of any size up to 64 KiB, and up to 10,000 items have it.

What few items have is small enough whatever they are; of more it is measured before it is read.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.vectors.errors import AnswerTooLargeError
from lakehouse.vectors.schema import METADATA_MAX_BYTES, TEXT_MAX_BYTES

ANSWER_MAX_BYTES = 64 * 1024 * 1024
SURE_ROWS = ANSWER_MAX_BYTES // METADATA_MAX_BYTES
"""Of so many the metadata is no more than that."""
SURE_ITEMS = ANSWER_MAX_BYTES // (METADATA_MAX_BYTES + TEXT_MAX_BYTES)
"""The same, with their texts."""


def check_bytes(size_bytes: int, max_bytes: int | None = None) -> None:
    """Raise `AnswerTooLargeError` for more than an answer may have, or than is said."""
    max_bytes = ANSWER_MAX_BYTES if max_bytes is None else max_bytes
    if size_bytes > max_bytes:
        raise AnswerTooLargeError(size_bytes, max_bytes)


def metadata_bytes(rows: pa.Table, places: Any = None) -> int:
    """Return how large the metadata of rows is, or of those at some places."""
    sizes = pc.binary_length(rows["metadata"])
    chosen = sizes if places is None else sizes.take(places)
    return int(pc.sum(chosen).as_py() or 0)
