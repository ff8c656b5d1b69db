"""What the decoder of rows does not say: a field that is twice, half a character, a near name."""

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lakehouse.catalog import folded
from lakehouse.errors import InvalidInputError
from lakehouse.ingest.models import BadRow

NAMES_SHOWN_MAX = 20
WHITESPACE = b" \t\r\n"


class Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, those of one name too."""


def keys_most(body: bytes, *, has_maps: bool) -> int:
    """Return how many members the objects of a JSON text have at most; never fewer than it has.

    A quote that ends a name is the only one before a colon, but for those inside of texts.

    Args:
        has_maps: a name may end in a backslash, so the quote that looks escaped may end one.
    """
    dense = body.translate(None, WHITESPACE)
    return dense.count(b'":') - (0 if has_maps else dense.count(b'\\":'))


def key_count(value: object) -> int:
    """Return how many members the objects in a decoded value have."""
    if isinstance(value, dict):
        return len(value) + sum(map(key_count, value.values()))
    return sum(map(key_count, value)) if isinstance(value, list) else 0


def first_repeated(body: bytes) -> BadRow | None:
    """Return the first field that is twice in a row of a body that was decoded.

    Raises:
        InvalidInputError: `rows` itself is twice.
    """
    whole: Pairs = json.loads(body, object_pairs_hook=Pairs)
    if len(whole) > 1:
        raise InvalidInputError('"rows" is twice in the body; send it once')
    return first_in_rows(whole, repeated, "the field is twice in the row; send it once")


def first_surrogate(body: bytes) -> BadRow | None:
    """Return the first text that is no Unicode, in a body that could not be decoded."""
    try:
        whole = json.loads(body, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return None
    reason = "the text holds half a surrogate pair (\\ud800 to \\udfff), which is no character"
    return first_in_rows(whole, torn, reason)


def first_in_rows(
    whole: object, faults: Callable[[object, str], Iterator[str]], reason: str
) -> BadRow | None:
    rows = dict(whole).get("rows") if isinstance(whole, Pairs) else None
    for line, row in enumerate(rows if isinstance(rows, list) else (), start=1):
        for path in faults(row, ""):
            return BadRow(line, path.encode(errors="backslashreplace").decode(), reason)
    return None


def repeated(value: object, path: str) -> Iterator[str]:
    """Yield the paths of the members whose name an earlier one of their object has."""
    seen = set()
    for name, below, inner in members(value, path):
        if name in seen:
            yield below
        if name is not None:
            seen.add(name)
        yield from repeated(inner, below)


def torn(value: object, path: str) -> Iterator[str]:
    """Yield the paths of texts, and of names, with half a surrogate pair."""
    if isinstance(value, str) and not is_unicode(value):
        yield path
    for name, below, inner in members(value, path):
        if name is not None and not is_unicode(name):
            yield below
        yield from torn(inner, below)


def members(value: object, path: str) -> Iterator[tuple[str | None, str, object]]:
    """Yield what is in an object or a list: its name in an object, its path, itself."""
    if isinstance(value, Pairs):
        for name, inner in value:
            yield name, f"{path}.{name}" if path else name, inner
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield None, f"{path}[{number}]", inner


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def no_such_column(name: str, columns: Sequence[str]) -> str:
    """Say that the table has no column of this name, and which may be meant."""
    by_folded = {folded(column): column for column in columns}
    near = difflib.get_close_matches(folded(name[:255]), by_folded, n=1)
    if near:
        return f"the table has no such column; did you mean {by_folded[near[0]]!r}?"
    return f"the table has no such column; it has {', '.join(columns[:NAMES_SHOWN_MAX])}"
