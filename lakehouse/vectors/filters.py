"""The filter language of collections: JSON in, one condition out.

`{}` passes all items. Keys are ANDed; a scalar is equality, a list is an OR of equalities, `null`
means "has no value". An object holds operators: `$eq $ne $in $nin $gt $gte $lt $lte $exists`, and
at any level `$and`, `$or` (lists) and `$not`. A key is `id`, a declared column, or else a top-level
key of the item's metadata; a key that begins with `$` cannot be asked for.

The logic has two values. An item without the key (or with null there) satisfies no comparison, and
`$not`, `$ne`, `$nin` are plain negation: such an item passes them. Ranges compare numbers with
numbers and strings with strings, by code point; another kind is false. `1` equals `1.0`, `true`
equals only `true`, an object or a list in the metadata exists and equals nothing.

Numbers: an integer column compares exactly. A number of the metadata compares exactly with an
integer when both are integers of 64 bits, else both as doubles, as a float column does.
"""

from collections.abc import Callable, Mapping
from functools import partial

from lakehouse.vectors.conditions import All, ColumnType, Condition, Field, Not, Some
from lakehouse.vectors.errors import InvalidFilterError
from lakehouse.vectors.operands import (
    ORDERS,
    compares,
    equals,
    exists,
    read_key,
    read_scalar,
    shown,
)

DEPTH_MAX = 16
"""Objects within objects, the filter itself counted."""
NODES_MAX = 1_000
"""Objects, and the keys and operators in them, of one filter."""
VALUES_MAX = 1_000
"""Values in all lists of one filter."""

ID = Field("id", "string")

JOINS = ("$and", "$or", "$not")
OPERATORS = ("$eq", "$ne", "$in", "$nin", *ORDERS, "$exists", *JOINS)

Read = Callable[[object, str, int], Condition]


def parse_filter(raw: object, columns: Mapping[str, ColumnType]) -> Condition:
    """Read the JSON value `raw` as a filter of a collection with the given columns.

    Raises:
        InvalidFilterError: it is not one; says where, and what to write instead.
    """
    return _Reader(columns).filter(raw, "filter", 0)


class _Reader:
    """One reading of one filter: knows the columns, counts what the limits bound.

    `at` is the place in the filter, for errors; `depth` counts the objects around it.
    """

    def __init__(self, columns: Mapping[str, ColumnType]) -> None:
        self._columns = columns
        self._nodes = 0
        self._values = 0

    def filter(self, raw: object, at: str, depth: int) -> Condition:
        if not isinstance(raw, dict):
            raise InvalidFilterError(at, f"a filter is an object, not {shown(raw)}")
        parts: list[Condition] = []
        for key, value in self._entries(raw, at, depth):
            here = f"{at}.{key[:100]}"
            if key in JOINS:
                parts.append(self._join(key, value, here, depth + 1, self.filter))
            elif key.startswith("$"):
                raise _unknown(key, at)
            else:
                parts.append(self._on(self._field(key), value, here, depth + 1))
        return _all(parts)

    def _on(self, field: Field, value: object, at: str, depth: int) -> Condition:
        """Read what is asked of one field: a scalar, a list, or an object of operators."""
        if isinstance(value, list):
            return self._one_of(field, value, at)
        if not isinstance(value, dict):
            return equals(field, [read_scalar(value, at)], at)
        if not value:
            raise InvalidFilterError(at, f"name an operator: {' '.join(OPERATORS)}")
        entries = self._entries(value, at, depth)
        return _all([self._operator(field, key, each, at, depth + 1) for key, each in entries])

    def _operator(
        self, field: Field, operator: str, operand: object, at: str, depth: int
    ) -> Condition:
        here = f"{at}.{operator[:100]}"
        if operator not in OPERATORS:
            raise _unknown(operator, at)
        if operator in JOINS:
            return self._join(operator, operand, here, depth, partial(self._on, field))
        if operator in ("$in", "$nin"):
            among = self._one_of(field, operand, here)
            return among if operator == "$in" else Not(among)
        value = read_scalar(operand, here)
        if operator == "$exists":
            return exists(field, value, here)
        if operator in ORDERS:
            return compares(field, operator, value, here)
        equal = equals(field, [value], here)
        return equal if operator == "$eq" else Not(equal)

    def _join(self, operator: str, operand: object, at: str, depth: int, read: Read) -> Condition:
        if operator == "$not":
            return Not(read(operand, at, depth))
        if not isinstance(operand, list):
            raise InvalidFilterError(at, f"takes a list of filters, not {shown(operand)}")
        self._count(len(operand), at)
        parts = tuple(read(each, f"{at}[{i}]", depth) for i, each in enumerate(operand))
        return All(parts) if operator == "$and" else Some(parts)

    def _one_of(self, field: Field, values: object, at: str) -> Condition:
        if not isinstance(values, list):
            raise InvalidFilterError(at, f"takes a list of values, not {shown(values)}")
        self._values += len(values)
        if self._values > VALUES_MAX:
            raise InvalidFilterError(
                at, f"more than {VALUES_MAX:,} values in the lists of one filter: ask in parts"
            )
        return equals(field, [read_scalar(each, f"{at}[{i}]") for i, each in enumerate(values)], at)

    def _field(self, key: str) -> Field:
        return ID if key == ID.name else Field(key, self._columns.get(key))

    def _entries(self, raw: dict[object, object], at: str, depth: int) -> list[tuple[str, object]]:
        if depth >= DEPTH_MAX:
            raise InvalidFilterError(at, f"deeper than {DEPTH_MAX} objects: write it flatter")
        self._count(1 + len(raw), at)
        return [(read_key(key, at), value) for key, value in raw.items()]

    def _count(self, nodes: int, at: str) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise InvalidFilterError(
                at, f"more than {NODES_MAX:,} conditions in one filter: use $in, or ask in parts"
            )


def _all(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _unknown(operator: str, at: str) -> InvalidFilterError:
    return InvalidFilterError(
        at, f"{operator[:100]!r} is no operator; there are {' '.join(OPERATORS)}"
    )
