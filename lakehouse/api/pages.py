"""Lists come in pages: a bounded `limit`, and an opaque `cursor` that says where to go on."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from litestar.params import QueryParameter

from lakehouse.errors import InvalidInputError

T = TypeVar("T")

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000

Limit: TypeAlias = Annotated[
    int, QueryParameter(ge=1, le=LIMIT_MAX, description="Items in one answer.")
]
Cursor: TypeAlias = Annotated[
    str | None, QueryParameter(description="`next_cursor` of the page before.")
]


def page_of(
    items: Sequence[T], key: Callable[[T], str], limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """Return the items after `cursor`, at most `limit`, and the cursor of the next page.

    Items that appear or vanish between two pages shift nothing: a cursor holds a key, no number.

    Args:
        items: in the order of their keys.
        cursor: what an earlier page answered; None for the first page.

    Raises:
        InvalidInputError: the cursor was not made here.
    """
    start = bisect_right(items, decoded(cursor), key=key) if cursor else 0
    chosen = list(items[start : start + limit])
    more = start + limit < len(items)
    return chosen, encoded(key(chosen[-1])) if more else None


def encoded(key: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def decoded(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=str)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError("the cursor was not made here; start without one") from error
