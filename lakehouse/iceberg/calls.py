"""One request of the protocol and its answer: read from the path as it was sent, byte by byte.

A name may hold `/`, escaped; a path that was decoded before it was split has lost where.
Source: https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
import orjson

from lakehouse.catalog import Idempotency
from lakehouse.errors import InvalidInputError
from lakehouse.iceberg.problems import (
    NoSuchNamespaceError,
    NoSuchTableError,
    NoSuchViewError,
    TooManyValuesError,
)
from lakehouse.names import InvalidNameError, TableName, check_levels, check_name

T = TypeVar("T")

LEVELS = "\x1f"
"""Between the levels of a namespace."""

VALUES_MAX = 1_000_000
"""Of a body: 70 MB as objects; of 8 MB of `{}` they were 190 MB. The largest schema has 8 to 10
bytes a value."""

PAGE_SIZE = 1_000
PAGE_SIZES = re.compile(r"0*[1-9][0-9]{0,17}")
"""What clients ask for; at most `PAGE_SIZE` are given."""
AFTER = "after:"
"""How the token of a page begins; then comes its last name."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose path has matched an endpoint."""

    names: Mapping[str, str]
    """What stood in the path where the endpoint has a name, decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By name in lower case."""
    content: bytes = b""
    key: str | None = None
    request_hash: str = ""
    """Of a request that must have its effect once."""

    def once(self, kept: Callable[[Any], msgspec.Struct]) -> Idempotency[Any] | None:
        """Return what is stored with an effect; None for a request without a key."""
        if self.key is None:
            return None
        return Idempotency(
            self.key, self.request_hash, lambda effect: msgspec.json.encode(kept(effect))
        )

    def body(self, kind: type[T]) -> T:
        """Return the body as what an endpoint takes; fields that we do not know are let be. Blocks.

        Raises:
            InvalidInputError: it is no JSON, or lacks something.
            TooManyValuesError: it may have more than `VALUES_MAX` values.
        """
        # Those in texts count, too. A decoder counts when all are made.
        if sum(self.content.count(each) for each in (b"{", b"[", b",")) > VALUES_MAX:
            raise TooManyValuesError(VALUES_MAX)
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(f"the body is not what is sent here: {error}") from error

    @property
    def namespace(self) -> str:
        """The namespace of the path.

        Raises:
            NoSuchNamespaceError: it cannot be the name of one.
        """
        return namespace_of(self.names["namespace"])

    @property
    def table(self) -> TableName:
        """The table of the path.

        Raises:
            NoSuchTableError: it cannot be the name of one.
        """
        return self._named("table", NoSuchTableError)

    @property
    def view(self) -> TableName:
        """The view of the path.

        Raises:
            NoSuchViewError: it cannot be the name of one.
        """
        return self._named("view", NoSuchViewError)

    def _named(self, what: str, none: type[NoSuchTableError | NoSuchViewError]) -> TableName:
        levels, name = self.names["namespace"].split(LEVELS), self.names[what]
        try:
            return TableName(check_levels(levels), check_name(f"{what} name", name, slashes=True))
        except InvalidNameError:
            raise none(f"{'.'.join(levels)}.{name}") from None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def told(value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(200, orjson.dumps(value), headers or {})


def segments_of(raw_path: bytes) -> list[str]:
    """Return the parts of a path, each decoded by itself.

    A `+` is a space, as Iceberg's Java library escapes one (`RESTUtil.encodeString`); a plus of a
    name comes as `%2B` from all of them.

    Raises:
        InvalidInputError: one is not UTF-8.
    """
    try:
        parts = raw_path.replace(b"+", b" ").split(b"/")
        return [unquote_to_bytes(part).decode() for part in parts if part]
    except UnicodeDecodeError:
        raise InvalidInputError("the path is not percent-escaped UTF-8") from None


def levels_of(namespace: str) -> list[str]:
    return namespace.split(".")


def query_of(raw: bytes) -> dict[str, str]:
    """Return the parameters of a query; of one that is there twice the last."""
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))


def namespace_of(text: str) -> str:
    """Return the namespace that the protocol names.

    Raises:
        NoSuchNamespaceError: it cannot be the name of one.
    """
    levels = text.split(LEVELS)
    try:
        return check_levels(levels)
    except InvalidNameError:
        raise NoSuchNamespaceError(".".join(levels)) from None


def listing(namespace: str, names: Sequence[str], query: Mapping[str, str]) -> Answer:
    """Return the answer that the tables or the views of a namespace are."""
    page = page_of(names, query)
    levels = levels_of(namespace)
    found = [{"namespace": levels, "name": name} for name in page.items]
    return told({"identifiers": found, "next-page-token": page.next_token})


@dataclass(frozen=True, slots=True)
class Page:
    items: Sequence[str]
    next_token: str | None


def page_of(found: Sequence[str], query: Mapping[str, str]) -> Page:
    """Return the part of sorted names that a client asks for.

    Without `pageToken` it gets all of them; an empty one says that it takes pages.

    Raises:
        InvalidInputError: the page size is no number from 1, or the token is not one of ours.
    """
    token = query.get("pageToken")
    if token is None:
        return Page(found, None)
    asked = query.get("pageSize", str(PAGE_SIZE))
    if not PAGE_SIZES.fullmatch(asked):
        raise InvalidInputError(f"pageSize is a whole number from 1, not {asked[:40]!r}")
    size = min(int(asked), PAGE_SIZE)
    if token and not token.startswith(AFTER):
        raise InvalidInputError(f"the pageToken {token[:40]!r} is none that a page ended with")
    last = token.removeprefix(AFTER)
    rest = [each for each in found if each > last]
    return Page(rest[:size], f"{AFTER}{rest[size - 1]}" if len(rest) > size else None)
