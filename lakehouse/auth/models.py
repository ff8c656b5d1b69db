"""Tokens and grants as they cross the wire."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec

Role: TypeAlias = Literal["reader", "writer", "admin"]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]

GRANTS_MAX = 100


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role on a part of what is there."""

    role: Role
    on: Text = "*"
    """`*`, a namespace, a table as `namespace.table`, or `objects:` and the beginning of keys."""


class TokenCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    grants: Annotated[list[Grant], msgspec.Meta(min_length=1, max_length=GRANTS_MAX)]
    tenant: Text = "main"
    addresses: Annotated[list[Text], msgspec.Meta(max_length=GRANTS_MAX)] = []
    """Networks it may be used from: `10.0.0.0/8`, `192.168.1.7`. Empty for all."""
    expires_at: datetime | None = None


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret, which nobody has but its owner."""

    id: str
    name: str
    tenant: str
    grants: list[Grant]
    addresses: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenMade(Token, frozen=True, kw_only=True):
    """A new token, and its secret: this once."""

    token: str


class TokenRotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=30 * 86_400)] = 3_600
    """Seconds that the secret before stays valid."""


class TokenPage(msgspec.Struct, frozen=True):
    items: list[Token]
    next_cursor: str | None = None


class WhoAmI(msgspec.Struct, frozen=True):
    """The caller, as the server knows it."""

    name: str
    tenant: str
    grants: list[Grant]
