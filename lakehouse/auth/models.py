"""Tokens and grants as they cross the wire."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec

Role: TypeAlias = Literal["reader", "writer", "admin"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]

GRANTS_MAX = 100


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role on a part of what is there."""

    role: Role
    on: Text = "*"
    """`*`, a namespace, a table as `namespace.table`, or `objects:` and the beginning of keys."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a token may ask for; beyond it 429 says when to ask again. Null is no limit."""

    requests_per_minute: Positive | None = None
    concurrency: Positive | None = None
    """Requests at once."""
    requests_per_day: Positive | None = None
    rows_per_day: Positive | None = None
    """Rows answered or changed; the request that goes beyond is answered whole."""
    texts_per_day: Positive | None = None
    """Texts embedded; as with rows."""


NO_LIMITS = Limits()


class TokenCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    grants: Annotated[list[Grant], msgspec.Meta(min_length=1, max_length=GRANTS_MAX)]
    tenant: Text = "main"
    addresses: Annotated[list[Text], msgspec.Meta(max_length=GRANTS_MAX)] = []
    """Networks it may be used from: `10.0.0.0/8`, `192.168.1.7`. Empty for all."""
    expires_at: datetime | None = None
    limits: Limits = NO_LIMITS


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret, which nobody has but its owner."""

    id: str
    name: str
    tenant: str
    grants: list[Grant]
    addresses: list[str]
    limits: Limits = Limits()
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
