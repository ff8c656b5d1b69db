"""What the storage routes answer."""

from datetime import datetime

import msgspec


class StoredObject(msgspec.Struct, frozen=True):
    """What PUT has stored."""

    key: str
    size: int
    """In bytes."""
    etag: str
    """Another one after each PUT; GET sends it in quotes."""


class ListedObject(msgspec.Struct, frozen=True):
    """An object, as the list knows it."""

    key: str
    size: int
    """In bytes."""
    last_modified: datetime


class ObjectPage(msgspec.Struct, frozen=True):
    """Objects by the bytes of their keys."""

    objects: list[ListedObject]
    next: str | None
    """Pass it as `continuation_token` for what follows; null at the end."""
