"""The tokens of one lakehouse: made, found, rotated, revoked. Secrets are not kept.

Its methods block, but for `find`, which reads memory alone.
"""

import asyncio
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from lakehouse.auth.addresses import Network, is_within, networks
from lakehouse.auth.callers import Caller, check_may
from lakehouse.auth.errors import (
    ForeignAddressError,
    InvalidGrantError,
    InvalidTokenNameError,
    LastAdminError,
    TokenNameTakenError,
    TokenNotFoundError,
    WrongTokenError,
)
from lakehouse.auth.grants import EVERYTHING, covered
from lakehouse.auth.models import Grant, Limits, Token, TokenCreate, TokenMade
from lakehouse.auth.secrets import hash_of, new_secret
from lakehouse.errors import InvalidInputError
from lakehouse.state import State, Transaction

COLUMNS = (
    "token_id, name, tenant, grants, addresses, created_at, expires_at, revoked_at, limits, sha256"
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
GIVEN_MIN_CHARS = 32
"""Of a secret that somebody else chose: below, it can be guessed."""
GIVEN = "environment"
LOOK_EVERY_S = 0.5
"""Between two looks at which tokens have expired: what they have under way ends with them."""
TAKEN = frozenset(["local", "anonymous", "nobody", "lakehouse", GIVEN])
"""What callers without a token are called: by its name a caller has its jobs and results."""


@dataclass(frozen=True, slots=True)
class Known:
    """A token as requests meet it."""

    token: Token
    sha256: str
    caller: Caller
    addresses: tuple[Network, ...]
    expires_at: float

    @property
    def is_valid(self) -> bool:
        return self.token.revoked_at is None and time.time() < self.expires_at

    def caller_from(self, address: str | None) -> Caller:
        if not self.is_valid:
            raise WrongTokenError
        if self.addresses and not (address and is_within(address, self.addresses)):
            raise ForeignAddressError(address or "a socket")
        return self.caller


class Tokens:
    """All tokens, kept in `catalog.db` and in memory.

    Args:
        given: a secret that the operator put into the environment or a credential: an admin.
        on_change: called with the ids that are no longer valid: after a change, on its thread,
            and by `keep_looking`.
    """

    def __init__(
        self,
        state: State,
        given: Sequence[str] = (),
        *,
        on_change: Callable[[frozenset[str]], None] = lambda revoked: None,
    ) -> None:
        self._state = state
        self._changing = threading.Lock()
        self._given = {hash_of(secret): given_token(secret) for secret in given}
        self._known: dict[str, Known] = {}
        self._told: frozenset[str] = frozenset()
        self.on_change = on_change
        self._read()

    @property
    def are_valid(self) -> bool:
        """Whether there is one that lets somebody in."""
        return any(each.is_valid for each in list(self._known.values()))

    @property
    def are_needed(self) -> bool:
        """Whether there ever were any: one that ended still says that this server is not open."""
        return bool(self._known)

    def find(self, secret: str, address: str | None) -> Caller:
        """Return whose secret it is.

        Args:
            address: where it comes from; None for a socket of this machine.

        Raises:
            WrongTokenError: it is unknown, revoked or expired.
            ForeignAddressError: it may not be used from there.
        """
        digest = hash_of(secret)
        known = self._known.get(digest)
        if known is None or not hmac.compare_digest(known.sha256, digest):
            raise WrongTokenError
        return known.caller_from(address)

    def of_name(self, name: str, address: str | None) -> Caller:
        """Return the caller of a token that somebody we trust has named; raises as `find` does."""
        return self._valid(name).caller_from(address)

    def still(self, name: str) -> Caller:
        """Return whom a token stands for that asked for something before, wherever it was then.

        Raises:
            WrongTokenError: it has ended, and so have those that it was rotated to.
        """
        return self._valid(name).caller

    def _valid(self, name: str) -> Known:
        for each in list(self._known.values()):
            if each.is_valid and each.token.name == name:
                return each
        raise WrongTokenError

    def names_ended(self, token_ids: Collection[str]) -> set[str]:
        """Return whose tokens these were who have no valid one now: a rotation goes on."""
        known = list(self._known.values())
        valid = {each.token.name for each in known if each.is_valid}
        return {each.token.name for each in known if each.token.id in token_ids} - valid

    async def keep_looking(self) -> None:
        """Tell of each token that expires, until cancelled."""
        while True:
            self._tell()
            await asyncio.sleep(LOOK_EVERY_S)

    def all(self) -> list[Token]:
        """Return all tokens of the table by the time they were made; those that ended too.

        Raises:
            ForbiddenError: the caller does not administer everything.
        """
        check_administers()
        return self._all()

    def _all(self) -> list[Token]:
        found = [each.token for digest, each in self._known.items() if digest not in self._given]
        return sorted(found, key=lambda token: (token.created_at, token.id))

    def create(self, asked: TokenCreate) -> TokenMade:
        """Make a token and return it with its secret, which is nowhere else.

        Raises:
            InvalidTokenNameError: what it is to be called is no name.
            InvalidGrantError: a grant or a network is none.
            TokenNameTakenError: there is one of this name, or was: its jobs, results and keys are
                those of the name.
            InvalidInputError: it would have ended already.
            ForbiddenError: the caller does not administer everything.
        """
        check_administers()
        check_name("token", asked.name)
        check_name("tenant", asked.tenant)
        covered(asked.grants), networks(asked.addresses)
        expires_at = with_zone(asked.expires_at)
        if expires_at is not None and expires_at <= now():
            raise InvalidInputError(f"expires_at={expires_at.isoformat()} has passed already")
        with self._changing:
            if asked.name.lower() in TAKEN | {each.name.lower() for each in self._all()}:
                raise TokenNameTakenError(asked.name)
            return self._make(
                asked.name,
                asked.tenant,
                asked.grants,
                asked.addresses,
                asked.limits,
                expires_at=expires_at,
            )

    def rotate(self, name: str, overlap: timedelta) -> TokenMade:
        """Make a new secret with the grants of a token; the one before ends after `overlap`.

        Args:
            name: of the token, or its id.

        Raises:
            TokenNotFoundError: there is no valid token of this name.
            ForbiddenError: the caller does not administer everything.
        """
        check_administers()
        with self._changing:
            valid = self._valid_of(name)
            if not valid:
                raise TokenNotFoundError(name)
            ends_at = now() + overlap
            newest = max(valid, key=lambda each: each.created_at)
            valid = self._valid_of(newest.name)
            made = self._make(
                newest.name,
                newest.tenant,
                newest.grants,
                newest.addresses,
                newest.limits,
                expires_at=newest.expires_at,
                ending=[each.id for each in valid],
                ends_at=ends_at,
            )
        self._tell()
        return made

    def revoke(self, name: str) -> list[Token]:
        """End every valid token of this name, or of this id, now, and return them.

        Raises:
            TokenNotFoundError: there is none.
            LastAdminError: nobody could make another one.
            ForbiddenError: the caller does not administer everything.
        """
        check_administers()
        with self._changing:
            valid = self._valid_of(name)
            if not valid:
                raise TokenNotFoundError(name)
            ids = {each.id for each in valid}
            if self._is_last_admin(ids):
                raise LastAdminError(name)
            at = time.time()

            def work(tx: Transaction) -> None:
                for each in ids:
                    tx.execute("UPDATE token SET revoked_at = ? WHERE token_id = ?", (at, each))

            self._state.write(work)
            self._read()
        self._tell()
        return [each for each in self._all() if each.id in ids]

    def _valid_of(self, name: str) -> list[Token]:
        """Return the valid tokens of a name, or of an id. What was given is not ours to end."""
        return [
            each.token
            for digest, each in self._known.items()
            if digest not in self._given
            and each.is_valid
            and name in (each.token.name, each.token.id)
        ]

    def _is_last_admin(self, ids: set[str]) -> bool:
        """Whether no admin without an end would be left, and there is one now."""
        lasting = {
            each.token.id
            for each in self._known.values()
            if each.is_valid
            and each.token.expires_at is None
            and each.caller.may("administer", EVERYTHING)
        }
        return bool(lasting & ids) and not lasting - ids

    def _make(
        self,
        name: str,
        tenant: str,
        grants: Sequence[Grant],
        addresses: Sequence[str],
        limits: Limits,
        *,
        expires_at: datetime | None,
        ending: Sequence[str] = (),
        ends_at: datetime | None = None,
    ) -> TokenMade:
        secret, token_id, created_at = new_secret(), secrets.token_hex(6), now()
        row = (
            token_id,
            name,
            tenant,
            msgspec.json.encode(grants).decode(),
            msgspec.json.encode(addresses).decode(),
            created_at.timestamp(),
            expires_at.timestamp() if expires_at else None,
            None,
            msgspec.json.encode(limits).decode(),
            hash_of(secret),
        )

        ends = ends_at.timestamp() if ends_at else None

        def work(tx: Transaction) -> None:
            tx.execute(f"INSERT INTO token ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", row)
            for each in ending:
                tx.execute(
                    "UPDATE token SET expires_at = ? WHERE token_id = ?"
                    " AND (expires_at IS NULL OR expires_at > ?)",
                    (ends, each, ends),
                )

        self._state.write(work)
        self._read()
        return TokenMade(
            id=token_id,
            name=name,
            tenant=tenant,
            grants=list(grants),
            addresses=list(addresses),
            limits=limits,
            created_at=created_at,
            expires_at=expires_at,
            token=secret,
        )

    def _read(self) -> None:
        rows = self._state.read(lambda tx: tx.execute(f"SELECT {COLUMNS} FROM token").fetchall())
        self._known = {**{row[-1]: known(row) for row in rows}, **self._given}

    def _tell(self) -> None:
        """Tell of those that have ended since the last time. Reads memory alone."""
        ended = frozenset(each.token.id for each in self._known.values() if not each.is_valid)
        new, self._told = ended - self._told, ended
        if new:
            self.on_change(new)


def known(row: Sequence[Any]) -> Known:
    token_id, name, tenant, grants, addresses, *rest = row
    created_at, expires_at, revoked_at, limits, sha256 = rest
    token = Token(
        id=token_id,
        name=name,
        tenant=tenant,
        grants=msgspec.json.decode(grants, type=list[Grant]),
        addresses=msgspec.json.decode(addresses, type=list[str]),
        limits=msgspec.json.decode(limits, type=Limits),
        created_at=moment(created_at),
        expires_at=moment(expires_at) if expires_at is not None else None,
        revoked_at=moment(revoked_at) if revoked_at is not None else None,
    )
    caller = Caller(name, tuple(token.grants), token_id, tenant, token.limits)
    ends = expires_at if expires_at is not None else float("inf")
    return Known(token, sha256, caller, networks(token.addresses), ends)


def given_token(secret: str) -> Known:
    """Return an admin by a secret of the operator's own.

    Raises:
        InvalidGrantError: it is too short to be one.
    """
    if len(secret) < GIVEN_MIN_CHARS:
        raise InvalidGrantError(
            f"the token of the environment has {len(secret)} characters;"
            f" {GIVEN_MIN_CHARS} are the least: `openssl rand -hex 32`"
        )
    grants = [Grant("admin")]
    token = Token(
        id=GIVEN, name=GIVEN, tenant="main", grants=grants, addresses=[], created_at=now()
    )
    caller = Caller(GIVEN, tuple(grants), GIVEN)
    return Known(token, hash_of(secret), caller, (), float("inf"))


def check_administers() -> None:
    check_may("administer", EVERYTHING, "tokens: one can be granted everything")


def check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidTokenNameError(what, name)


def with_zone(at: datetime | None) -> datetime | None:
    """Return a time with its zone; without one it is UTC."""
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def now() -> datetime:
    return datetime.now(UTC)
