"""Tokens: made once, kept as a hash, rotated without a gap, revoked at once."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.auth import (
    Caller,
    ForbiddenError,
    Grant,
    InvalidGrantError,
    LastAdminError,
    TokenCreate,
    TokenMade,
    TokenNameTakenError,
    TokenNotFoundError,
    Tokens,
    WrongTokenError,
    acting,
)
from lakehouse.auth.errors import ForeignAddressError
from lakehouse.auth.secrets import DIGITS, check_digits, hash_of, new_secret
from lakehouse.errors import InvalidInputError
from lakehouse.state import SqliteState, State

HERE = "127.0.0.1"
ADMIN = [Grant("admin")]
READER = [Grant("reader", "sales")]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with SqliteState.open(tmp_path / "catalog.db") as state:
        yield state


@pytest.fixture
def tokens(state: State) -> Tokens:
    return Tokens(state)


def made(tokens: Tokens, name: str = "ops", grants: list[Grant] | None = None) -> TokenMade:
    return tokens.create(TokenCreate(name, grants or ADMIN))


def test_a_secret_is_random_long_and_tells_itself_from_other_words() -> None:
    secrets = [new_secret() for _ in range(100)]
    assert len(set(secrets)) == 100
    assert all(re.fullmatch(r"lh_[0-9A-Za-z]{49}", each) for each in secrets)
    assert all(check_digits(each[:-6]) == each[-6:] for each in secrets)
    other = DIGITS[(DIGITS.index(secrets[0][10]) + 1) % 62]
    misspelt = secrets[0][:10] + other + secrets[0][11:]
    assert check_digits(misspelt[:-6]) != misspelt[-6:]


def test_a_token_is_found_by_its_secret_and_by_nothing_else(tokens: Tokens) -> None:
    token = made(tokens, "etl", READER)
    who = tokens.find(token.token, HERE)
    assert (who.name, who.token_id, list(who.grants)) == ("etl", token.id, READER)
    for wrong in ("", "etl", token.id, token.token[:-1], token.token + "x", new_secret()):
        with pytest.raises(WrongTokenError):
            tokens.find(wrong, HERE)


def test_hashes_are_compared_in_constant_time(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides is the comparison whose time tells nothing of the secret."""
    secret = made(tokens, "timed").token
    compared: list[tuple[str, str]] = []

    def differs(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr("hmac.compare_digest", differs)
    with pytest.raises(WrongTokenError):
        tokens.find(secret, HERE)
    assert compared == [(hash_of(secret), hash_of(secret))]


def test_no_secret_is_on_the_disk(tokens: Tokens, state: State, tmp_path: Path) -> None:
    token = made(tokens)
    state.copy_to(tmp_path / "copy.db")
    for file in tmp_path.iterdir():
        assert token.token.encode() not in file.read_bytes(), file


def test_tokens_outlive_the_process(tokens: Tokens, state: State) -> None:
    token = made(tokens)
    assert Tokens(state).find(token.token, HERE).name == "ops"
    assert [each.name for each in Tokens(state).all()] == ["ops"]


def test_a_server_is_open_until_there_is_a_token_and_never_again(tokens: Tokens) -> None:
    assert not tokens.are_needed
    ends = datetime.now(UTC) + timedelta(milliseconds=30)
    tokens.create(TokenCreate("short", ADMIN, expires_at=ends))
    assert tokens.are_needed
    while datetime.now(UTC) < ends:
        pass
    assert tokens.are_needed, "a token that expired must not open the server"


def test_a_server_whose_tokens_were_all_revoked_stays_closed(tokens: Tokens) -> None:
    made(tokens, "etl", READER)
    tokens.revoke("etl")
    assert tokens.are_needed


@pytest.mark.parametrize("name", ["local", "Local", "anonymous", "lakehouse", "environment"])
def test_no_token_is_called_like_a_caller_of_the_servers_own(tokens: Tokens, name: str) -> None:
    with pytest.raises(TokenNameTakenError, match="of the server's own"):
        made(tokens, name)


def test_who_administers_a_part_makes_no_token(tokens: Tokens) -> None:
    made(tokens, "ops")
    part = Caller("part", (Grant("admin", "sales"), Grant("writer")), "id")
    for work in (
        tokens.all,
        lambda: made(tokens, "pwned"),
        lambda: tokens.rotate("ops", timedelta(0)),
        lambda: tokens.revoke("ops"),
    ):
        with acting(part), pytest.raises(ForbiddenError):
            work()


def test_a_token_that_is_rotated_by_its_id_keeps_its_name(tokens: Tokens) -> None:
    old = made(tokens, "etl", READER)
    new = tokens.rotate(old.id, timedelta(0))
    assert new.name == "etl"
    assert [each.name for each in tokens.revoke("etl")] == ["etl"]


def test_an_expired_token_is_none(tokens: Tokens) -> None:
    ends = datetime.now(UTC) + timedelta(milliseconds=50)
    token = tokens.create(TokenCreate("short", READER, expires_at=ends))
    assert tokens.find(token.token, HERE).name == "short"
    while datetime.now(UTC) < ends:
        pass
    with pytest.raises(WrongTokenError):
        tokens.find(token.token, HERE)
    with pytest.raises(InvalidInputError, match="has passed"):
        tokens.create(TokenCreate("late", READER, expires_at=ends))


def test_a_name_is_one_callers_for_good(tokens: Tokens) -> None:
    """By its name a caller has its jobs, results and keys, and is in the audit log."""
    made(tokens, "keeper")
    made(tokens, "etl", READER)
    for _ in range(2):
        for name in ("etl", "ETL"):
            with pytest.raises(TokenNameTakenError, match="take another name"):
                made(tokens, name, READER)
        if tokens.all()[-1].revoked_at is None:
            tokens.revoke("etl")


@pytest.mark.parametrize("name", ["", " ", "-x", "a b", "a\n", "\x1f", "x" * 101, "ä"])
def test_what_is_no_name_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(InvalidInputError, match="no name of a token"):
        made(tokens, name)


def test_a_rotated_token_has_two_secrets_for_a_while(tokens: Tokens) -> None:
    old = made(tokens, "etl", READER)
    new = tokens.rotate("etl", timedelta(hours=1))
    assert {tokens.find(each.token, HERE).name for each in (old, new)} == {"etl"}
    assert new.grants == READER
    last = tokens.rotate("etl", timedelta(0))
    for each in (old, new):
        with pytest.raises(WrongTokenError):
            tokens.find(each.token, HERE)
    assert tokens.find(last.token, HERE).name == "etl"
    with pytest.raises(TokenNotFoundError):
        tokens.rotate("nobody", timedelta(0))


def test_a_revocation_is_told_and_at_once(tokens: Tokens) -> None:
    told: list[frozenset[str]] = []
    tokens.on_change = told.append
    made(tokens, "keeper")
    token = made(tokens, "etl", READER)
    tokens.revoke(token.id)
    with pytest.raises(WrongTokenError):
        tokens.find(token.token, HERE)
    assert told == [frozenset({token.id})]
    with pytest.raises(TokenNotFoundError):
        tokens.revoke("etl")


async def test_an_expiry_is_told_once_and_a_rotation_has_somebody_left(tokens: Tokens) -> None:
    made(tokens, "keeper")
    ends = datetime.now(UTC) + timedelta(milliseconds=50)
    short = tokens.create(TokenCreate("short", READER, expires_at=ends))
    old = made(tokens, "etl", READER)
    tokens.rotate("etl", timedelta(milliseconds=50))
    told: list[frozenset[str]] = []
    tokens.on_change = told.append
    looking = asyncio.create_task(tokens.keep_looking())
    await asyncio.sleep(1.5)
    looking.cancel()
    ended = frozenset({short.id, old.id})
    assert sorted(each for some in told for each in some) == sorted(ended)
    assert tokens.names_ended(ended) == {"short"}


def test_the_last_admin_stays(tokens: Tokens) -> None:
    made(tokens, "first")
    made(tokens, "etl", READER)
    ends = datetime.now(UTC) + timedelta(days=1)
    tokens.create(TokenCreate("guest", ADMIN, expires_at=ends))
    with pytest.raises(LastAdminError):
        tokens.revoke("first")
    tokens.revoke("etl")
    made(tokens, "second")
    tokens.revoke("first")
    with pytest.raises(LastAdminError):
        tokens.revoke("second")


def test_a_rotation_keeps_an_admin(tokens: Tokens) -> None:
    made(tokens, "ops")
    new = tokens.rotate("ops", timedelta(0))
    with pytest.raises(LastAdminError):
        tokens.revoke("ops")
    assert tokens.find(new.token, HERE).name == "ops"


def test_a_token_is_good_from_its_networks_alone(tokens: Tokens) -> None:
    token = tokens.create(TokenCreate("far", READER, addresses=["10.1.0.0/16", "::1"]))
    for address in ("10.1.2.3", "::1", "::ffff:10.1.2.3"):
        assert tokens.find(token.token, address).name == "far"
    for wrong in ("10.2.0.1", "127.0.0.1", "", None, "localhost"):
        with pytest.raises(ForeignAddressError):
            tokens.find(token.token, wrong)
    with pytest.raises(InvalidGrantError, match="no network"):
        tokens.create(TokenCreate("bad", READER, addresses=["10.1.2.3/8"]))


def test_a_secret_of_the_operators_own_is_an_admin_that_nobody_revokes(state: State) -> None:
    tokens = Tokens(state, ["s" * 40])
    assert tokens.are_needed
    assert tokens.find("s" * 40, HERE).may("administer", "")  # type: ignore[arg-type]
    assert tokens.all() == []
    with pytest.raises(TokenNotFoundError):
        tokens.revoke("environment")
    with pytest.raises(InvalidGrantError, match="32 are the least"):
        Tokens(state, ["short"])
