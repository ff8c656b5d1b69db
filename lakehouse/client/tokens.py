"""Tokens, over HTTP: only an admin, or the owner of the data directory, gets an answer."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import quote

import msgspec

from lakehouse.client.answers import value_of
from lakehouse.client.models import NO_LIMITS, Grant, Limits, Token, TokenMade, TokenPage, WhoAmI
from lakehouse.client.transport import Transport


class Tokens:
    """`lake.tokens`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        grants: Sequence[Grant],
        *,
        addresses: Sequence[str] = (),
        limits: Limits = NO_LIMITS,
        expires_at: datetime | None = None,
        tenant: str = "main",
    ) -> TokenMade:
        """Create a token; its secret is in the answer and nowhere else.

        Raises:
            ConflictError: there is a valid one of this name.
            InvalidInputError: a grant or a network is none.
        """
        body = {
            "name": name,
            "grants": msgspec.to_builtins(list(grants)),
            "addresses": list(addresses),
            "limits": msgspec.to_builtins(limits),
            "expires_at": expires_at.isoformat() if expires_at else None,
            "tenant": tenant,
        }
        response = self._transport.send("POST", "/v1/tokens", json=body, again=False)
        return value_of(response, TokenMade)

    def rotate(self, name: str, *, overlap_s: int = 3600) -> TokenMade:
        """Return a new secret for a token; the one before ends after `overlap_s` seconds."""
        path = f"/v1/tokens/{quote(name, safe='')}/rotate"
        response = self._transport.send("POST", path, json={"overlap_s": overlap_s}, again=False)
        return value_of(response, TokenMade)

    def revoke(self, name: str) -> None:
        """End a token now, by name or id.

        Raises:
            NotFoundError: there is no valid one.
            ConflictError: it is the last admin.
        """
        self._transport.send("DELETE", f"/v1/tokens/{quote(name, safe='')}", again=False)

    def who_am_i(self) -> WhoAmI:
        """Return who the server takes us for, and what we may do."""
        return value_of(self._transport.send("GET", "/v1/tokens/self"), WhoAmI)

    def list(self) -> Iterator[Token]:
        """Yield all tokens by the time they were made, those that ended too."""
        cursor: str | None = None
        while True:
            response = self._transport.send("GET", "/v1/tokens", params={"cursor": cursor})
            page = value_of(response, TokenPage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
