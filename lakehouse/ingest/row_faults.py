"""What the decoder of rows does not say: a field that is twice, half a character, a near name."""

import difflib
from collections.abc import Callable, Iterator, Sequence

from lakehouse.catalog import folded
from lakehouse.errors import InvalidInputError
from lakehouse.ingest.models import BadRow
from lakehouse.json_text import Pairs, members, repeated, with_repeats

NAMES_SHOWN_MAX = 20


def first_repeated(body: bytes) -> BadRow | None:
    """Return the first field that is twice in a row of a body that was decoded.

    Raises:
        InvalidInputError: `rows` itself is twice.
    """
    whole: Pairs = with_repeats(body)
    if len(whole) > 1:
        raise InvalidInputError('"rows" is twice in the body; send it once')
    return first_in_rows(whole, repeated, "the field is twice in the row; send it once")


def first_surrogate(body: bytes) -> BadRow | None:
    """Return the first text that is no Unicode, in a body that could not be decoded."""
    try:
        whole = with_repeats(body)
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


def torn(value: object, path: str) -> Iterator[str]:
    """Yield the paths of texts, and of names, with half a surrogate pair."""
    if isinstance(value, str) and not is_unicode(value):
        yield path
    for name, below, inner in members(value, path):
        if name is not None and not is_unicode(name):
            yield below
        yield from torn(inner, below)


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
