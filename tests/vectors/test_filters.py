"""What is no filter is refused, with its place and what to write instead; limits hold exactly."""

from typing import Any

import pytest

from lakehouse.vectors.errors import FilterKindError, InvalidFilterError
from lakehouse.vectors.filters import (
    DEPTH_MAX,
    NODES_MAX,
    OPERATORS,
    VALUES_MAX,
    parse_filter,
)
from lakehouse.vectors.operands import KEY_BYTES_MAX, STRING_BYTES_MAX
from tests.vectors.filter_cases import COLUMNS, SCALARS, TIME


def refusal(raw: object) -> str:
    with pytest.raises(InvalidFilterError) as caught:
        parse_filter(raw, COLUMNS)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ([], "filter: a filter is an object, not a list"),
        (None, "filter: a filter is an object, not null"),
        ("k", "filter: a filter is an object, not the string 'k'"),
        ({"$and": {}}, "filter.$and: takes a list of filters, not an object"),
        ({"$or": None}, "filter.$or: takes a list of filters, not null"),
        ({"$or": [{}, 1]}, "filter.$or[1]: a filter is an object, not the number 1"),
        ({"$not": []}, "filter.$not: a filter is an object, not a list"),
        ({"k": {"$in": 1}}, "filter.k.$in: takes a list of values, not the number 1"),
        ({"k": {"$nin": {}}}, "filter.k.$nin: takes a list of values, not an object"),
        ({"k": [1, [2]]}, "filter.k[1]: a value is a string, a number, true, false or null"),
        ({"k": {"$eq": {}}}, "filter.k.$eq: a value is a string, a number, true, false or null"),
        ({"k": {"$exists": 1}}, "filter.k.$exists: takes true or false, not the number 1"),
        ({"k": {"$gt": []}}, "filter.k.$gt: a value is a string, a number, true, false or null"),
        ({"k": float("inf")}, "filter.k: a number is finite"),
        ({"k": float("nan")}, "filter.k: a number is finite"),
        ({"k": 10**400}, "filter.k: a number is finite"),
        ({"k": {"$lt": -(10**5000)}}, "filter.k.$lt: a number is finite"),
        ({"k": "\ud800"}, "filter.k: the string '\\ud800' is not Unicode text"),
        ({"\udfff": 1}, "filter: the key '\\udfff' is not Unicode text"),
        ({1: 1}, "filter: a key is a string, not the number 1"),
    ],
)
def test_a_refusal_says_where_and_what_to_write(raw: object, why: str) -> None:
    assert refusal(raw).startswith(why)


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        ({"$xor": []}, "filter"),
        ({"$eq": 1}, "filter"),
        ({"$": 1}, "filter"),
        ({"$or": [{"$regex": "a"}]}, "filter.$or[0]"),
        ({"k": {"$regex": "a"}}, "filter.k"),
        ({"k": {"gt": 1}}, "filter.k"),
        ({"k": {"$not": {"$GT": 1}}}, "filter.k.$not"),
        ({"k": {}}, "filter.k"),
    ],
)
def test_an_unknown_operator_is_told_which_there_are(raw: object, at: str) -> None:
    text = refusal(raw)
    assert text.startswith(f"{at}: ")
    assert all(f"{each} " in f"{text} " for each in OPERATORS)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("s", 1, "the number 1"),
        ("s", True, "true"),
        ("n", "1", "the string '1'"),
        ("n", False, "false"),
        ("f", "0.5", "the string '0.5'"),
        ("f", True, "true"),
        ("b", 1, "the number 1"),
        ("b", "true", "the string 'true'"),
        ("id", 7, "the number 7"),
        (TIME, 0, "the number 0"),
        (TIME, "2026-01-31", "the string '2026-01-31'"),
        (TIME, "2026-01-31T12:00:00", "the string '2026-01-31T12:00:00'"),
        (TIME, "2026-06-31T12:00:00Z", "the string '2026-06-31T12:00:00Z'"),
        (TIME, "0000-01-01T00:00:00Z", "the string '0000-01-01T00:00:00Z'"),
        (TIME, "0001-01-01T00:00:00+01:00", "the string '0001-01-01T00:00:00+01:00'"),
    ],
)
@pytest.mark.parametrize("wrap", ["{}", "$eq", "$ne", "$in", "$nin", "$gt", "$lte", "list"])
def test_a_value_of_the_wrong_kind_names_the_column(
    column: str, value: Any, shown: str, wrap: str
) -> None:
    asked = {"{}": value, "list": [value], "$in": {"$in": [value]}, "$nin": {"$nin": [value]}}
    with pytest.raises(FilterKindError) as caught:
        parse_filter({column: asked.get(wrap, {wrap: value})}, COLUMNS)
    kind = COLUMNS.get(column, "string")
    assert caught.value.context["column"] == column
    assert caught.value.context["column_type"] == kind
    assert f"column {column!r} is of type {kind} and cannot be compared with {shown}" in str(
        caught.value
    )


@pytest.mark.parametrize(("column", "value"), [("b", True), ("n", None), ("s", None)])
def test_what_has_no_order_is_refused_for_a_column(column: str, value: Any) -> None:
    with pytest.raises(FilterKindError):
        parse_filter({column: {"$gte": value}}, COLUMNS)


def nested(depth: int) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for _ in range(depth - 1):
        raw = {"$not": raw}
    return raw


LIMITS: list[tuple[Any, Any, str]] = [
    (nested(DEPTH_MAX), nested(DEPTH_MAX + 1), "deeper than"),
    ({"k": ["a"] * VALUES_MAX}, {"k": ["a"] * VALUES_MAX, "s": ["b"]}, "values in the lists"),
    ({"$or": [{}] * (NODES_MAX // 2 - 1)}, {"$or": [{}] * (NODES_MAX // 2)}, "conditions in one"),
    ({"é" * (KEY_BYTES_MAX // 2): 1}, {"é" * (KEY_BYTES_MAX // 2 + 1): 1}, "a key has at most"),
    ({"k": "x" * STRING_BYTES_MAX}, {"k": "x" * (STRING_BYTES_MAX + 1)}, "a string has at most"),
]


@pytest.mark.parametrize(("most", "more", "why"), LIMITS)
def test_limits_hold_exactly(most: object, more: object, why: str) -> None:
    parse_filter(most, COLUMNS)
    assert why in refusal(more)


def test_a_filter_far_too_deep_is_refused_without_being_walked() -> None:
    assert "deeper than" in refusal(nested(900))


def test_every_scalar_can_be_asked_of_the_metadata() -> None:
    parse_filter({"k": {"$in": SCALARS}}, COLUMNS)
    for each in SCALARS:
        parse_filter({"k": each, "other": {"$gt": each}}, COLUMNS)
