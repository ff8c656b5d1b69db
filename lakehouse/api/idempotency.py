"""The `Idempotency-Key` header: the same request under the same key has one effect."""

from typing import Annotated, TypeAlias

from litestar.params import HeaderParameter

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
