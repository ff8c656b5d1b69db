"""Who sends a request: what it says, and where it comes from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.auth import (
    Entrance,
    Grant,
    NoTokenError,
    TokenCreate,
    Tokens,
    WrongTokenError,
)
from lakehouse.auth.addresses import client_address, networks
from lakehouse.auth.errors import ForeignAddressError
from lakehouse.state import SqliteState

PROXY = networks(["10.0.0.7"])


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    with SqliteState.open(tmp_path / "catalog.db") as state:
        yield Tokens(state)


def test_loopback_is_open_while_there_are_no_tokens(tokens: Tokens) -> None:
    assert Entrance(tokens, is_loopback=True).caller({}, "127.0.0.1").name == "anonymous"
    with pytest.raises(NoTokenError):
        Entrance(tokens, is_loopback=False).caller({}, "127.0.0.1")


def test_who_is_anonymous_administers_nothing(tokens: Tokens) -> None:
    who = Entrance(tokens, is_loopback=True).caller({}, "127.0.0.1")
    assert who.may("write", "")  # type: ignore[arg-type]
    assert not who.may_somewhere("administer", "")  # type: ignore[arg-type]


def test_with_the_first_token_everybody_needs_one(tokens: Tokens) -> None:
    entrance = Entrance(tokens, is_loopback=True)
    token = tokens.create(TokenCreate("etl", [Grant("reader")])).token
    with pytest.raises(NoTokenError):
        entrance.caller({}, "127.0.0.1")
    for scheme in ("Bearer", "bearer", "BEARER "):
        header = f"{scheme} {token}".encode()
        assert entrance.caller({b"authorization": header}, "127.0.0.1").name == "etl"


@pytest.mark.parametrize(
    "header",
    [b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"Bearer a b", b"Bearer \xff\xfe", b"lh_x"],
)
def test_a_wrong_token_is_refused_even_where_none_is_asked_for(
    tokens: Tokens, header: bytes
) -> None:
    with pytest.raises(WrongTokenError):
        Entrance(tokens, is_loopback=True).caller({b"authorization": header}, "127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.7", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.7", ["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        ("10.0.0.7", ["192.0.2.1", "10.0.0.7"], "192.0.2.1"),
        ("10.0.0.7", [], "10.0.0.7"),
        ("192.0.2.9", ["127.0.0.1"], "192.0.2.9"),
    ],
)
def test_an_address_is_believed_from_a_trusted_proxy_alone(
    peer: str, forwarded: list[str], address: str
) -> None:
    assert client_address(peer, forwarded, PROXY) == address


def test_a_proxy_vouches_for_users_and_nobody_else_does(tokens: Tokens) -> None:
    tokens.create(TokenCreate("analysts", [Grant("reader", "sales")]))
    entrance = Entrance(tokens, False, PROXY, "X-Forwarded-User", {"ada": "analysts"})
    named = {b"x-forwarded-user": b"ada"}
    assert entrance.caller(named, "10.0.0.7").name == "analysts"
    with pytest.raises(NoTokenError):
        entrance.caller(named, "192.0.2.9")
    with pytest.raises(NoTokenError):
        entrance.caller({}, "10.0.0.7")
    with pytest.raises(WrongTokenError):
        entrance.caller({b"x-forwarded-user": b"eve"}, "10.0.0.7")


def test_a_token_of_a_network_is_checked_behind_the_proxy(tokens: Tokens) -> None:
    made = tokens.create(TokenCreate("far", [Grant("reader")], addresses=["192.0.2.0/24"]))
    entrance = Entrance(tokens, False, PROXY)
    said = {b"authorization": f"Bearer {made.token}".encode()}
    assert entrance.caller({**said, b"x-forwarded-for": b"192.0.2.5"}, "10.0.0.7").name == "far"
    for headers, peer in (
        (said, "10.0.0.7"),
        ({**said, b"x-forwarded-for": b"192.0.2.5"}, "198.51.100.1"),
        ({**said, b"x-forwarded-for": b"192.0.2.5, 198.51.100.1"}, "10.0.0.7"),
    ):
        with pytest.raises(ForeignAddressError):
            entrance.caller(headers, peer)
