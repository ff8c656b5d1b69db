"""Items and filters to try the language with: values that are near each other, and nasty ones."""

import json
import random
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from lakehouse.vectors.conditions import ColumnType
from tests.vectors.oracle import Whole

COLUMNS: dict[str, ColumnType] = {
    "s": "string",
    "n": "integer",
    "f": "float",
    "b": "boolean",
    "A time 'of' \"day\"": "timestamp",
}
TIME = "A time 'of' \"day\""

STRINGS = [
    "", "a", "A", "ab", "a b", "b", "it's", "''", 'q"', '"', "back\\slash", "\\", "\\n", "\\u0000",
    "nul\0x", "\0", "\x01", "\x1f", "\x7f", "\n", "\t\b\f\r", "\u0085", "é", "e\u0301", "\u2028",
    "\ufffd", "\uffff", "\U00010000", "😀", "' OR '1'='1", "'; DROP TABLE t; --", "--", "/*", "?",
    "$1", "%", "_", "`", "1", "1.0", "true", "null", "NaN", "[1]", "x" * 300,
]  # fmt: skip
NUMBERS = [
    0, 0.0, -0.0, 1, 1.0, -1, 1.5, 0.1, 0.1 + 0.2, 2**53 - 1, 2**53, 2**53 + 1, 2.0**53, -(2**53),
    -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 2.0**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**20, 1e20,
    10**300, 1e16, 1e23, 1e308, -1e308, 5e-324, 2.2250738585072014e-308, 123456789.123, 1e-7,
]  # fmt: skip
TIMES = [
    "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z",
    "2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31t12:00:00.000001z",
    "2026-01-31T12:00:00.5-11:30", "9999-12-31T23:59:59.999999Z",
]  # fmt: skip
KEYS = [
    "", "k", "K", "a.b", 'q"', "it's",
    "sp ace", "é😀", "a/b~1", "\\", "0", "*", "nul\0", "[0]", "\n",
]  # fmt: skip
SCALARS: list[Any] = [None, True, False, *STRINGS, *NUMBERS]

strings = st.sampled_from(STRINGS) | st.text(max_size=6)
numbers = (
    st.sampled_from(NUMBERS)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
scalars = st.none() | st.booleans() | strings | numbers
OF_COLUMN: dict[str, st.SearchStrategy[Any]] = {
    "id": strings,
    "s": strings,
    "n": numbers,
    "f": numbers,
    "b": st.booleans(),
    TIME: st.sampled_from(TIMES),
}
ORDERS = ["$gt", "$gte", "$lt", "$lte"]
JOINS = st.sampled_from(["$and", "$or"])


@st.composite
def asked(draw: st.DrawFn, key: str | None) -> Any:
    """Draw what may be asked of a column, or of any key of the metadata."""
    values = scalars if key is None else OF_COLUMN[key]
    some = values | st.none()
    ranges = [] if key == "b" else ORDERS

    def operators() -> dict[str, Any]:
        names = ["$eq", "$ne", "$in", "$nin", "$exists", *ranges]
        found: dict[str, Any] = {}
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
            if name == "$exists":
                found[name] = draw(st.booleans())
            elif name in ("$in", "$nin"):
                found[name] = draw(st.lists(some, max_size=4))
            else:
                found[name] = draw(values if name in ranges and key else some)
        return found

    def plain() -> Any:
        match draw(st.integers(0, 4)):
            case 0:
                return draw(some)
            case 1:
                return draw(st.lists(some, max_size=4))
        return operators()

    match draw(st.integers(0, 8)):
        case 0:
            return {"$not": plain()}
        case 1:
            return {draw(JOINS): [plain() for _ in range(draw(st.integers(0, 3)))]}
    return plain()


@st.composite
def filters(draw: st.DrawFn, of_columns: bool = False, depth: int = 3) -> dict[str, Any]:
    """Draw a filter, all of it on declared columns if asked for."""
    match draw(st.integers(0, 6)) if depth else 6:
        case 0:
            return {"$not": draw(filters(of_columns, depth - 1))}
        case 1 | 2:
            parts = [draw(filters(of_columns, depth - 1)) for _ in range(draw(st.integers(0, 3)))]
            return {draw(JOINS): parts}
        case 3:
            return draw(filters(of_columns, depth - 1)) | draw(filters(of_columns, depth - 1))
    if of_columns or draw(st.booleans()):
        key = draw(st.sampled_from([*OF_COLUMN]))
        return {key: draw(asked(key))}
    return {draw(st.sampled_from(KEYS)): draw(asked(None))}


class Items:
    """Some items, as Python values for the oracle and as a table for an engine."""

    def __init__(
        self, columns: list[dict[str, Any]], metadata: list[dict[str, Any] | None]
    ) -> None:
        self.columns = columns
        self.metadata = metadata

    def table(self) -> pa.Table:
        texts = [
            None if each is None else json.dumps(each, ensure_ascii=index % 2 == 0)
            for index, each in enumerate(self.metadata)
        ]
        types = {
            "id": pa.string(), "s": pa.string(), "n": pa.int64(), "f": pa.float64(),
            "b": pa.bool_(), TIME: pa.timestamp("us", "UTC"),
        }  # fmt: skip
        return pa.table(
            {
                name: pa.array([each[name] for each in self.columns], of)
                for name, of in types.items()
            }
            | {"metadata": pa.array(texts, pa.string()), "place": range(len(texts))}
        )


def random_items(seed: int, count: int) -> Items:
    """Return items made of the values above, a fifth of all values missing."""
    chance = random.Random(seed)

    def maybe(values: list[Any]) -> Any:
        return None if chance.random() < 0.2 else chance.choice(values)

    moments = [datetime.fromisoformat(each.upper()).astimezone(UTC) for each in TIMES]
    integers = [Whole(each) for each in NUMBERS if type(each) is int and abs(each) < 2**63]
    nested: list[Any] = [[], [1], {}, {"k": 1}]
    columns = [
        {
            "id": f"{chance.choice(STRINGS)}{i if i % 2 else ''}",
            "s": maybe(STRINGS),
            "n": maybe(integers),
            "f": maybe([float(each) for each in NUMBERS]),
            "b": maybe([True, False]),
            TIME: maybe(moments),
        }
        for i in range(count)
    ]
    metadata = [
        maybe([{key: chance.choice(SCALARS + nested) for key in chance.sample(KEYS, 8)}])
        for _ in range(count)
    ]
    return Items(columns, metadata)
