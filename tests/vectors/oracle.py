"""What a filter means, said a second time: over plain Python values, from the language's page.

It shares nothing with the product: no tree, no normal form, one function over the raw JSON.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any


class Whole(int):
    """An integer of a column: it compares exactly with every number."""


def matches(raw: Any, item: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> bool:
    """Tell whether an item passes; `item` holds its id and its declared columns."""
    return all(asked(key, value, item, metadata or {}) for key, value in raw.items())


def asked(key: str, value: Any, item: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    if key == "$and":
        return all(matches(each, item, metadata) for each in value)
    if key == "$or":
        return any(matches(each, item, metadata) for each in value)
    if key == "$not":
        return not matches(value, item, metadata)
    return holds(item[key] if key in item else metadata.get(key), value)


def holds(has: Any, wanted: Any) -> bool:
    """Tell whether the value `has` is as `wanted`: a scalar, a list, an object of operators."""
    if isinstance(wanted, list):
        return any(equal(has, each) for each in wanted)
    if not isinstance(wanted, dict):
        return equal(has, wanted)
    return all(operator_holds(has, key, each) for key, each in wanted.items())


def operator_holds(has: Any, operator: str, operand: Any) -> bool:
    match operator:
        case "$and":
            return all(holds(has, each) for each in operand)
        case "$or":
            return any(holds(has, each) for each in operand)
        case "$not":
            return not holds(has, operand)
        case "$eq" | "$in":
            return holds(has, operand)
        case "$ne" | "$nin":
            return not holds(has, operand)
        case "$exists":
            return (has is not None) is operand
    side = compared(has, operand)
    match operator, side:
        case _, None:
            return False
        case "$gt", _:
            return side > 0
        case "$gte", _:
            return side >= 0
        case "$lt", _:
            return side < 0
        case "$lte", _:
            return side <= 0
    raise AssertionError(operator)


def equal(has: Any, wanted: Any) -> bool:
    if has is None or wanted is None:
        return has is None and wanted is None
    if isinstance(has, bool) or isinstance(wanted, bool):
        return has is wanted
    return compared(has, wanted) == 0


def compared(has: Any, wanted: Any) -> int | None:
    """Return -1, 0 or 1; None when the two have no order."""
    if isinstance(has, bool) or isinstance(wanted, bool):
        return None
    if isinstance(has, datetime):
        wanted = datetime.fromisoformat(wanted.upper())
    elif isinstance(has, str) and isinstance(wanted, str):
        has, wanted = [ord(each) for each in has], [ord(each) for each in wanted]
    elif isinstance(has, int | float) and type(wanted) in (int, float):
        if not isinstance(has, Whole) and not (is_int64(has) and is_int64(wanted)):
            has, wanted = float(has), float(wanted)
    else:
        return None
    return int(has > wanted) - int(has < wanted)


def is_int64(value: int | float) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63
