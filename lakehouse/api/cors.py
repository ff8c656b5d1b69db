"""Which web pages may ask: none, but those of the origins that the operator has listed.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Iterable, Mapping, Sequence

METHODS = b"GET, HEAD, POST, PUT, DELETE"
HEADERS = (
    b"Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, Range"
)
EXPOSED = (
    b"ETag, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After,"
    b" X-Lakehouse-Index, X-Lakehouse-Query-Id, X-Lakehouse-Requests-Left-Today,"
    b" X-Lakehouse-Rows-Left-Today, X-Lakehouse-Trace-Id"
)
MAX_AGE_S = b"600"

Pairs = Sequence[tuple[bytes, bytes]]


class Cors:
    """What an answer says to a browser. Credentials are never allowed: tokens come in a header."""

    def __init__(self, origins: Iterable[str]) -> None:
        self.origins = frozenset(origins)

    def allowing(self, headers: Mapping[bytes, bytes]) -> Pairs:
        """Return the fields of an answer to a page of a listed origin; none to any other."""
        if not self.origins:
            return ()
        origin = headers.get(b"origin", b"")
        if origin.decode("latin-1") not in self.origins:
            return ((b"vary", b"Origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"Origin"),
        )

    def preflight(self, method: str, headers: Mapping[bytes, bytes]) -> Pairs:
        """Return the fields that answer a preflight of a listed origin; none for anything else."""
        is_asked = method == "OPTIONS" and b"access-control-request-method" in headers
        if not is_asked or headers.get(b"origin", b"").decode("latin-1") not in self.origins:
            return ()
        return (
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", HEADERS),
            (b"access-control-max-age", MAX_AGE_S),
        )
