"""Who may do what: the table of roles, and what a grant covers."""

import pytest

from lakehouse.auth import (
    ALL_OBJECTS,
    EVERYTHING,
    Caller,
    Grant,
    InvalidGrantError,
    namespace_resource,
    object_resource,
    table_resource,
)
from lakehouse.auth.models import Role

ORDERS = table_resource("sales", "orders")
STAFF = table_resource("hr", "staff")
RAW = object_resource("raw/2026/a.csv")


def holding(*grants: tuple[Role, str]) -> Caller:
    return Caller("somebody", tuple(Grant(role, on) for role, on in grants))


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("reader", {"read"}),
        ("writer", {"read", "write", "operate"}),
        ("admin", {"read", "write", "operate", "administer"}),
    ],
)
def test_a_role_is_what_it_may_do(role: Role, allowed: set[str]) -> None:
    who = holding((role, "*"))
    assert {
        action
        for action in ("read", "write", "operate", "administer")
        if who.may(action, EVERYTHING)
    } == allowed


@pytest.mark.parametrize(
    ("on", "covers", "not_covers"),
    [
        ("*", [ORDERS, STAFF, RAW, EVERYTHING], []),
        ("sales", [ORDERS, namespace_resource("sales")], [STAFF, RAW, EVERYTHING]),
        ("SALES", [ORDERS], [STAFF]),
        ("sales.orders", [ORDERS], [table_resource("sales", "orders2"), STAFF]),
        ("sales.ORDERS", [ORDERS], [table_resource("sales", "order")]),
        ("sale", [], [ORDERS, namespace_resource("sales")]),
        ("sales.a.b", [table_resource("sales", "a.b")], [table_resource("sales", "a")]),
        ('"a.b".t', [table_resource("a.b", "t")], [table_resource("a", "b.t")]),
        ('"a.b"', [namespace_resource("a.b"), table_resource("a.b", "t")], [ORDERS]),
        ("objects:", [RAW, object_resource("x")], [ORDERS, EVERYTHING]),
        ("objects:raw/", [RAW], [object_resource("rawer"), ORDERS]),
        ("objects:raw", [RAW, object_resource("rawer")], [object_resource("ra")]),
    ],
)
def test_a_grant_covers_what_it_names_and_no_neighbour(
    on: str, covers: list[str], not_covers: list[str]
) -> None:
    who = holding(("reader", on))
    assert [each for each in covers if not who.may("read", each)] == []  # type: ignore[arg-type]
    assert [each for each in not_covers if who.may("read", each)] == []  # type: ignore[arg-type]


def test_a_part_is_seen_through_the_whole_and_the_whole_through_a_part() -> None:
    who = holding(("reader", "sales.orders"))
    assert who.may_somewhere("read", namespace_resource("sales"))
    assert who.may_somewhere("read", EVERYTHING)
    assert not who.may("read", namespace_resource("sales"))
    assert not who.may_somewhere("read", namespace_resource("hr"))
    assert not who.may_somewhere("write", EVERYTHING)


def test_grants_add_up_each_with_its_own_role() -> None:
    who = holding(("writer", "sales"), ("reader", "hr"))
    assert who.may("write", ORDERS)
    assert who.may("read", STAFF)
    assert not who.may("write", STAFF)


def test_without_a_grant_there_is_nothing() -> None:
    assert not holding().may_somewhere("read", EVERYTHING)


@pytest.mark.parametrize(
    "on", ["", "/", "a/b", "sales.", ".orders", "sal*", "**", "sales/orders", '"a/b"']
)
def test_what_is_no_grant_is_refused(on: str) -> None:
    with pytest.raises(InvalidGrantError):
        holding(("reader", on))


def test_parts_are_sorted_and_none_is_within_another() -> None:
    who = holding(
        ("reader", "objects:b"),
        ("writer", "objects:a/"),
        ("reader", "objects:a/b"),
        ("reader", "objects:a-"),
        ("reader", "sales"),
    )
    assert who.parts("read", ALL_OBJECTS) == ["objects/a-", "objects/a/", "objects/b"]
    assert who.parts("write", ALL_OBJECTS) == ["objects/a/"]
    assert who.parts("read", object_resource("a/x")) == ["objects/a/x"]
    assert who.parts("read", object_resource("c")) == []
    assert holding(("reader", "*")).parts("read", ALL_OBJECTS) == [ALL_OBJECTS]
