"""The `Idempotency-Key` header: the same request under the same key has one effect."""

import hashlib
from typing import Annotated, Any, TypeAlias

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from lakehouse.catalog import Catalog, Once
from lakehouse.errors import InvalidInputError

KEY_MAX = 255

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="The same request under the same key has one effect and one answer.",
    ),
]


class InvalidIdempotencyKeyError(InvalidInputError):
    """The header is no key."""

    def __init__(self) -> None:
        super().__init__(f"Idempotency-Key is 1 to {KEY_MAX} printable characters")


def check_key(key: str | None) -> None:
    """Refuse what is no key; none is fine."""
    if key is not None and not (1 <= len(key) <= KEY_MAX and key.isprintable()):
        raise InvalidIdempotencyKeyError


async def once_of(
    request: Request[Any, Any, Any],
    catalog: NamedDependency[Catalog],
    idempotency_key: IdempotencyKey = None,
) -> Once:
    """Return this request under its key: a route that changes something runs it by that.

    Two requests are the same when method, path, query and body are, byte for byte.
    """
    check_key(idempotency_key)
    if idempotency_key is None:
        return Once(catalog.keys, None, "")
    said = [request.method.encode(), request.scope["raw_path"], request.scope["query_string"]]
    content = b"\0".join([*said, await request.body()])
    return Once(catalog.keys, idempotency_key, hashlib.sha256(content).hexdigest())
