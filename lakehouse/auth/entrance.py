"""Who sends a request: a token, a name that a trusted proxy vouches for, or anybody on loopback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.auth.addresses import Network, client_address, is_within
from lakehouse.auth.callers import OPEN_TO_ALL, Caller
from lakehouse.auth.errors import NoTokenError, WrongTokenError
from lakehouse.auth.tokens import Tokens

BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Entrance:
    """Decides who asks, from what a request says and where it comes from."""

    tokens: Tokens
    is_loopback: bool
    """Whether only this machine reaches the server."""
    proxies: tuple[Network, ...] = ()
    """Who may say for whom it speaks; of nobody else is that read."""
    user_header: str | None = None
    """In which a proxy names a user that it has checked."""
    users: Mapping[str, str] | None = None
    """The token whose grants each of these users has."""

    @property
    def is_open(self) -> bool:
        """Whether no token is asked for."""
        return self.is_loopback and not self.tokens.are_needed

    def caller(self, headers: Mapping[bytes, bytes], peer: str) -> Caller:
        """Return who asks.

        Args:
            headers: names in lower case; one that came twice has its values joined by commas.
            peer: the address that the connection is from.

        Raises:
            NoTokenError, WrongTokenError: nobody we know.
            ForeignAddressError: the token may not be used from there.
        """
        address = self.address(headers, peer)
        given = headers.get(b"authorization")
        if given is not None:
            return self.tokens.find(bearer(given), address)
        if self.user_header and is_within(peer, self.proxies):
            user = headers.get(self.user_header.lower().encode(), b"").decode("latin-1")
            if user:
                return self.tokens.of_name((self.users or {}).get(user, ""), address)
        if self.is_open:
            return OPEN_TO_ALL
        raise NoTokenError

    def address(self, headers: Mapping[bytes, bytes], peer: str) -> str:
        """Return where a request comes from, behind the proxies that we trust."""
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return client_address(peer, listed(forwarded), self.proxies)


def bearer(header: bytes) -> str:
    """Return the secret in an `Authorization` header; `WrongTokenError` when it holds none."""
    scheme, _, secret = header.decode("latin-1").strip().partition(" ")
    if scheme.lower() != BEARER or not secret.strip():
        raise WrongTokenError
    return secret.strip()


def listed(text: str) -> Sequence[str]:
    return [each for each in text.split(",") if each.strip()]
