"""What a decoder of JSON does not say of a text: names that are twice, and faults in our words."""

import json
from collections.abc import Iterator
from itertools import repeat
from typing import Any

WHITESPACE = b" \t\r\n"
CONTAINERS = frozenset([dict, list])
"""What a decoder makes of objects and lists."""
LEVELS_MAX = 60
"""Objects and lists within each other in a body. What Arrow takes ends at 62, and the engine needs
a second to bind a list of 400."""


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
