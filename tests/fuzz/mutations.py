"""How bytes, text and JSON are broken. Each takes a chance and what it breaks."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Change: TypeAlias = Callable[[random.Random, bytes], bytes]

EDGES = (0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536)
LARGE = (
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**40,
    2**53,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
INTEGERS = (*EDGES, *LARGE, *(-each for each in (*EDGES[1:], *LARGE)))
TOKENS = (
    *(b'"', b'""', b"'", b"\0", b"\r", b"\n", b"\r\n", b"\n\n", b",", b"\t", b";", b"|", b"\\"),
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xef\xbb\xbf"),
    *(b"1e400", b"-1e400", b"1e-400", b"NaN", b"-inf", b"Infinity", b"9" * 400, b"0" * 400),
    *(b"9223372036854775808", b"-9223372036854775809", b"0x1F", b"1_000", b"1.", b".5", b"-", b"+"),
    *(
        b"9999-12-31",
        b"0000-00-00",
        b"294247-01-10 04:00:55",
        b"-infinity",
        b"2024-02-30",
        b"24:00",
    ),
    *(b"true", b"TRUE", b"null", b"NULL", b"{}", b"[]", b"[[", b'{"a":', b"\\u0000", b"\\ud800"),
    *("\u202e".encode(), "é".encode(), "e\u0301".encode(), "\U0010ffff".encode(), b"x" * 5000),
)
JSON_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -0.0,
        1.5,
        2**63,
        -(2**63) - 1,
        10**400,
        5e-324,
        1.7976931348623157e308,
    ),
    *(
        "",
        "\0",
        "\ud800",
        "text",
        "2024-01-01",
        "2024-13-45",
        "x" * 5000,
        [],
        {},
        [[]],
        [{}],
        {"": 1},
    ),
    *([None], [1, "a"], {"a": 1, "A": 2}, {"a": {"a": {"a": {}}}}, [[[[[1]]]]], [1, [2, [3]]]),
)


def place(chance: random.Random, data: bytes) -> int:
    """A position; the ends more often than the middle."""
    size = len(data)
    if not size:
        return 0
    near = min(size, 64)
    return chance.choice(
        (chance.randrange(size), chance.randrange(near), size - 1 - chance.randrange(near))
    )


def span(chance: random.Random, data: bytes) -> tuple[int, int]:
    start = place(chance, data)
    return start, min(len(data), start + chance.choice((1, 2, 4, 8, 32, 256, 2048)))


def flip_bits(chance: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16)) if data else 0):
        out[place(chance, data)] ^= 1 << chance.randrange(8)
    return bytes(out)


def set_bytes(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    filling = chance.choice((b"\0", b"\xff", b"\x80", chance.randbytes(1)))
    return data[:start] + filling * (end - start) + data[end:]


def truncate(chance: random.Random, data: bytes) -> bytes:
    return data[: place(chance, data)]


def delete(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    return data[:start] + data[end:]


def duplicate(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    return data[:end] + data[start:end] * chance.choice((1, 2, 16)) + data[end:]


def move(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    rest = data[:start] + data[end:]
    target = place(chance, rest)
    return rest[:target] + data[start:end] + rest[target:]


def put_integer(chance: random.Random, data: bytes) -> bytes:
    size = chance.choice((1, 2, 4, 8))
    number = chance.choice(INTEGERS) % (1 << 8 * size)
    start = place(chance, data)
    piece = number.to_bytes(size, "little" if chance.random() < 0.5 else "big")
    return data[:start] + piece + data[start + size :]


def put_token(chance: random.Random, data: bytes) -> bytes:
    start, end = span(chance, data)
    end = chance.choice((start, end))
    return data[:start] + chance.choice(TOKENS) * chance.choice((1, 1, 3)) + data[end:]


BYTES: tuple[Change, ...] = (
    *(flip_bits, set_bytes, truncate, delete, duplicate, move, put_integer),
)


def several(chance: random.Random, data: bytes, changes: Sequence[Change]) -> bytes:
    """One change after the other, mostly one or two."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 6))):
        data = chance.choice(changes)(chance, data)
    return data


def splice(chance: random.Random, one: bytes, other: bytes) -> bytes:
    """The beginning of one file, the end of another."""
    return one[: place(chance, one)] + other[place(chance, other) :]


def change_field(chance: random.Random, data: bytes) -> bytes:
    """Another value, quoted or not, in one field of a CSV."""
    delimiter = max((b",", b"\t", b";"), key=data.count)
    lines = data.split(b"\n")
    row = chance.randrange(len(lines))
    fields = lines[row].split(delimiter)
    value = chance.choice(TOKENS)
    if chance.random() < 0.4:
        value = b'"' + value + chance.choice((b'"', b"", b'""', b'"x'))
    fields[chance.randrange(len(fields))] = value
    lines[row] = delimiter.join(fields)
    return b"\n".join(lines)


def change_shape(chance: random.Random, data: bytes) -> bytes:
    """More or fewer fields in a line, or more lines."""
    delimiter = max((b",", b"\t", b";"), key=data.count)
    lines = data.split(b"\n")
    row = chance.randrange(len(lines))
    how = chance.randrange(4)
    if how == 0:
        lines[row] += delimiter * chance.choice((1, 2, 500))
    elif how == 1:
        lines[row] = lines[row].partition(delimiter)[2]
    elif how == 2:
        lines[row:row] = [lines[row]] * chance.choice((1, 50, 300))
    else:
        lines[row] += chance.choice((b"\r", b"\r\r", b"\0", b"\x1a"))
    return b"\n".join(lines)


def change_json(chance: random.Random, data: bytes) -> bytes:
    """Another value, key or depth somewhere in one line of NDJSON."""
    lines = data.split(b"\n")
    number = chance.randrange(len(lines))
    try:
        row = json.loads(lines[number])
    except (ValueError, RecursionError):
        return put_token(chance, data)
    lines[number] = json.dumps(changed_value(chance, row)).encode()
    if chance.random() < 0.1:
        lines[number] = lines[number].replace(b"}", b"," + lines[number][1:], 1)  # keys are twice
    return b"\n".join(lines)


def change_document(chance: random.Random, data: bytes) -> bytes:
    """Another value, key or depth somewhere in a JSON document, or another layout."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return put_token(chance, data)
    return json.dumps(
        changed_value(chance, value), indent=chance.choice((None, None, 0, 2))
    ).encode()


def changed_value(chance: random.Random, value: Any) -> Any:
    if chance.random() < 0.35 or not isinstance(value, dict | list) or not value:
        return other_value(chance, value)
    if isinstance(value, list):
        spot = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value * chance.choice((2, 100))
        return [*value[:spot], changed_value(chance, value[spot]), *value[spot + 1 :]]
    key = chance.choice(list(value))
    if chance.random() < 0.25:
        new = chance.choice(
            ("", key.upper(), "\0", "a.b", "x" * 300, "e\u0301", " ", '"', "k" + key)
        )
        return {**value, new: other_value(chance, value[key])}
    return {**value, key: changed_value(chance, value[key])}


def other_value(chance: random.Random, value: Any) -> Any:
    if chance.random() < 0.2:
        for _ in range(chance.choice((1, 3, 20, 200))):
            value = {"n": value} if chance.random() < 0.5 else [value]
        return value
    return chance.choice(JSON_VALUES)


CSV: tuple[Change, ...] = (*BYTES, *([put_token] * 2), *([change_field] * 4), *([change_shape] * 3))
NDJSON: tuple[Change, ...] = (*BYTES, *([put_token] * 2), *([change_json] * 8))
JSON: tuple[Change, ...] = (*BYTES, *([put_token] * 3), *([change_document] * 20))
