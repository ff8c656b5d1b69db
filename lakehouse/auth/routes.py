"""`/v1/tokens` over HTTP."""

from datetime import timedelta

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import administers, reads
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, page_of
from lakehouse.auth.callers import caller
from lakehouse.auth.grants import EVERYTHING, OBJECTS, prefix_of
from lakehouse.auth.models import Token, TokenCreate, TokenMade, TokenPage, TokenRotate, WhoAmI
from lakehouse.auth.tokens import Tokens
from lakehouse.catalog import parse_table_name
from lakehouse.database import Database
from lakehouse.storage import check_key


class TokensController(Controller):
    path = "/v1/tokens"
    tags = ["operations"]

    @get(guards=[administers])
    async def list_tokens(
        self,
        tokens: NamedDependency[Tokens],
        database: NamedDependency[Database],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> TokenPage:
        """List tokens, by the time they were made; those that ended say when. No secret is kept."""
        found = await database.call(tokens.all)
        return TokenPage(*page_of(found, by_time, limit, cursor))

    @post(guards=[administers])
    async def create_token(
        self,
        tokens: NamedDependency[Tokens],
        database: NamedDependency[Database],
        data: JSONBody[TokenCreate],
    ) -> TokenMade:
        """Create a token. Its secret is in this answer and nowhere else.

        With the first one the server asks everybody for a token, at once.
        """
        for grant in data.grants:
            check_grant(grant.on)
        return await database.call(lambda: tokens.create(data))

    @get("/self", guards=[reads], sync_to_thread=False)
    def who_am_i(self) -> WhoAmI:
        """Say who asks: the name of the token, and what it may do."""
        who = caller()
        return WhoAmI(who.name, who.tenant, list(who.grants))

    @post("/{token:str}/rotate", guards=[administers])
    async def rotate_token(
        self,
        tokens: NamedDependency[Tokens],
        database: NamedDependency[Database],
        token: FromPath[str],
        data: JSONBody[TokenRotate],
    ) -> TokenMade:
        """Give a token a new secret; the one before stays valid for `overlap_s`."""
        overlap = timedelta(seconds=data.overlap_s)
        return await database.call(lambda: tokens.rotate(token, overlap))

    @delete("/{token:str}", guards=[administers])
    async def revoke_token(
        self,
        tokens: NamedDependency[Tokens],
        database: NamedDependency[Database],
        token: FromPath[str],
    ) -> None:
        """End a token now, by name or id: its statements and streams stop within a second."""
        await database.call(lambda: tokens.revoke(token))


def check_grant(on: str) -> None:
    """Refuse a grant on what can never be there, so that nobody believes in it.

    Raises:
        InvalidGrantError, InvalidNameError, InvalidKeyError: no name, or no key, is so.
    """
    if prefix_of(on) == EVERYTHING:
        return
    if on.startswith(OBJECTS):
        check_key(on.removeprefix(OBJECTS) or "all")
    else:
        parse_table_name(on if "." in on else f"{on}.any")


def by_time(token: Token) -> str:
    return f"{token.created_at.timestamp():020.6f}{token.id}"
