"""Conditions and ranges of a GET, from the texts of its headers (RFC 9110, 13 and 14)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import NamedTuple

RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
TAG = re.compile(r'(?:W/)?("[^"]*")')


class Span(NamedTuple):
    """The bytes from `start`, `length` of them."""

    start: int
    length: int


class UnsatisfiableError(ValueError):
    """The range begins behind the end of the object."""


def http_date(at: datetime) -> str:
    return format_datetime(at.astimezone(UTC), usegmt=True)


def is_known(headers: Mapping[str, str], etag: str, modified_at: datetime) -> bool:
    """Return whether the client has these bytes already: 304.

    Args:
        headers: names in lower case.
        etag: in quotes.
        modified_at: of the object.
    """
    known = headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in TAG.findall(known)
    since = parsed_date(headers.get("if-modified-since"))
    return since is not None and modified_at.replace(microsecond=0) <= since


def requested_span(
    headers: Mapping[str, str], size: int, etag: str, modified_at: datetime
) -> Span | None:
    """Return the part that is asked for; None for the whole object.

    Several ranges, other units and what cannot be read ask for the whole, as the RFC allows.

    Raises:
        UnsatisfiableError: 416.
    """
    found = RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or not still_same(headers.get("if-range"), etag, modified_at):
        return None
    first, last = found.groups()
    if not first:
        return last_bytes(last, size) if last else None
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableError
    return Span(start, end - start + 1)


def last_bytes(count: str, size: int) -> Span:
    length = min(int(count), size)
    if length == 0:
        raise UnsatisfiableError
    return Span(size - length, length)


def still_same(condition: str | None, etag: str, modified_at: datetime) -> bool:
    """Return whether a part still fits to the parts the client has (If-Range: strong)."""
    if condition is None or condition.strip() == etag:
        return True
    date = parsed_date(condition)
    return date is not None and date == modified_at.replace(microsecond=0)


def parsed_date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
