"""What a filter means, as a tree: the language reads into it, the engines' texts come out of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeGuard

Scalar = bool | int | float | str | datetime
Order = Literal["$gt", "$gte", "$lt", "$lte"]
ColumnType = Literal["string", "integer", "float", "boolean", "timestamp"]
"""Of a declared column: int64, double, microseconds of UTC. The rest lies in the metadata."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """What a condition looks at: a column, or without a type a top-level key of the metadata."""

    name: str
    type: ColumnType | None = None


@dataclass(frozen=True, slots=True)
class All:
    """Each part is true; of no parts: true."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part is true; of no parts: false."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"


@dataclass(frozen=True, slots=True)
class Exists:
    """The item has a value there, and it is not null."""

    field: Field


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is one of `values`: at least one, and for a column all of its type."""

    field: Field
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Compares:
    """The value is of the kind of `value` and on the given side of it."""

    field: Field
    order: Order
    value: int | float | str | datetime


Condition = All | Some | Not | Exists | Equals | Compares

ALWAYS = All(())
NEVER = Some(())


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell a number from `true` and `false`, which are integers to Python."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_exact(value: Scalar) -> TypeGuard[int]:
    """Tell whether a number must be compared as int64: as a double it may equal its neighbour."""
    return is_number(value) and isinstance(value, int) and abs(value) >= 2**53
