"""What a decoder of JSON does not say of a text: names that are twice, and faults in our words."""

import json
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import msgspec

WHITESPACE = b" \t\r\n"
CONTAINERS = frozenset([dict, list])
"""What a decoder makes of objects and lists."""
LEVELS_MAX = 60
"""Objects and lists within each other in a body. What Arrow takes ends at 62, and the engine needs
a second to bind a list of 400."""
PIECE_BYTES = 1024
"""Of a long text, what is decoded at once to see whether a name is twice."""
VECTOR_BYTES = 64
"""A list of numbers or a text of base64 that is longer is left out where only names count: most of
a body of items."""
OF_NUMBERS = b"0123456789+-.eE," + WHITESPACE
OF_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
OBJECT, LIST = dict[str, msgspec.Raw], list[msgspec.Raw]


class Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, those of one name too."""


def fault(error: Exception, body: bytes) -> str:
    """Return in words why `body` is no JSON, and where: bytes are counted from 0.

    Args:
        error: what msgspec raised over it.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: {error.reason}"
    said = str(error).removeprefix("JSON is malformed: ")
    if "out of range" in said:
        return f"it holds a number that is too large ({said[:1].lower()}{said[1:]})"
    if said != "Input data was truncated":
        return said[:1].lower() + said[1:]
    size = len(body.rstrip(WHITESPACE))
    return f"it ends at byte {size}, before all that it opened is closed" if size else "it is empty"


def with_repeats(body: bytes) -> Any:
    """Return the value of a JSON text, each object as `Pairs`; seven times as slow as a decoder."""
    return json.loads(body, object_pairs_hook=Pairs)


def keys_most(body: bytes, *, plain_names: bool = False) -> int:
    """Return how many members the objects of a JSON text have at most; never fewer than it has.

    A quote that ends a name is the only one before a colon, but for those inside of texts.

    Args:
        plain_names: none ends in a backslash, so a quote that looks escaped ends none.
    """
    if b'"' not in body:
        return 0
    dense = body.translate(None, WHITESPACE)
    return dense.count(b'":') - (dense.count(b'\\":') if plain_names else 0)


def key_count(value: object, levels: int = LEVELS_MAX) -> int:
    """Return how many members the objects in a decoded value have.

    Raises:
        RecursionError: there is something at more than `levels`.
    """
    if type(value) not in CONTAINERS:
        return 0
    if not levels:
        raise RecursionError
    if isinstance(value, dict):
        return len(value) + sum(map(key_count, value.values(), repeat(levels - 1)))
    assert isinstance(value, list), "a decoder makes no third kind"
    inner = [each for each in value if type(each) in CONTAINERS]  # none in a vector
    return sum(map(key_count, inner, repeat(levels - 1)))


def repeated(value: object, path: str = "") -> Iterator[str]:
    """Yield the paths of the members whose name an earlier one of their object has."""
    seen = set()
    for name, below, inner in members(value, path):
        if name in seen:
            yield below
        if name is not None:
            seen.add(name)
        yield from repeated(inner, below)


def members(value: object, path: str) -> Iterator[tuple[str | None, str, object]]:
    """Yield what is in an object or a list: its name in an object, its path, itself."""
    if isinstance(value, Pairs):
        for name, inner in value:
            yield name, f"{path}.{name}" if path else name, inner
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield None, f"{path}[{number}]", inner


def repeated_in(body: bytes) -> Iterator[str]:
    """Yield what `repeated` does, of a long text that is JSON: piece by piece.

    Costs about what a decoder of all of it does, vectors left out, and the memory of one piece.

    Raises:
        RecursionError: a piece is nested too deeply.
    """
    for _ in repeated_in_pieces(without_vectors(body)):
        yield from repeated_in_pieces(body)  # names may differ by numbers that were left out
        return


def without_vectors(body: bytes) -> bytes:
    """Return a JSON text whose long lists of numbers are empty, also those inside of texts.

    And so are long texts of base64 alone, or parts of texts that quotes stand around; no names.
    """
    first, *parts = body.split(b"[")
    kept = [first]
    for part in parts:
        end = part.find(b"]")
        is_vector = end > VECTOR_BYTES and not part[:end].translate(None, OF_NUMBERS)
        kept.append(part[end:] if is_vector else part)
    texts = b"[".join(kept).split(b'"')
    return b'"'.join(
        b"" if is_base64(each) and not after.lstrip(WHITESPACE).startswith(b":") else each
        for each, after in zip(texts, [*texts[1:], b""], strict=True)
    )


def is_base64(text: bytes) -> bool:
    return len(text) > VECTOR_BYTES and not text.translate(None, OF_BASE64)


def repeated_in_pieces(body: bytes, path: str = "") -> Iterator[str]:
    if b"{" not in body:
        return
    if len(body) <= PIECE_BYTES:
        if may_repeat(body):
            yield from repeated(with_repeats(body), path)
    elif body.lstrip(WHITESPACE).startswith(b"["):
        for number, each in enumerate(msgspec.json.decode(body, type=LIST)):
            yield from repeated_in_pieces(bytes(each), f"{path}[{number}]")
    elif body.lstrip(WHITESPACE).startswith(b"{"):
        pieces = {n: bytes(it) for n, it in msgspec.json.decode(body, type=OBJECT).items()}
        # Of a name that is twice one value is in no piece, and its names are left over here too.
        if keys_most(body) - sum(map(keys_most, pieces.values())) > len(pieces):
            yield from repeated(with_repeats(body), path)
            return
        for name, piece in pieces.items():
            yield from repeated_in_pieces(piece, f"{path}.{name}" if path else name)


def may_repeat(piece: bytes) -> bool:
    """Whether a text has more names than its value, or holds a number that no float is."""
    try:
        return keys_most(piece) != key_count(msgspec.json.decode(piece))
    except msgspec.DecodeError:
        return True
