"""What may be read from outside of the warehouse, and what an address means."""

import time

import pytest

from lakehouse.auth import Caller, ForbiddenError, Grant, acting
from lakehouse.config import BrokenRulesError, S3Keys, StorageConfig
from lakehouse.storage import InvalidSourceError, Outside
from lakehouse.storage.credentials import Fixed, KeySource
from lakehouse.storage.errors import SourceNotAllowedError
from lakehouse.storage.outside import matches, parse

NOBODY_LISTENS = "http://127.0.0.1:9"


def outside(*sources: str) -> Outside:
    """One whose server is not there: what is refused is refused before it is asked."""
    config = StorageConfig(sources=sources, endpoint=NOBODY_LISTENS)
    return Outside(config, KeySource(Fixed(S3Keys("key", "secret", ""))))


@pytest.mark.parametrize(
    "address",
    [
        "s3://exports",
        "s3://exports/",
        "s3://exports/*",
        "s3://exports/daily2",
        "s3://exports/daily2/a.csv",
        "s3://exports/d*/a.csv",
        "s3://exports/**/daily/a.csv",
        "s3://other/daily/a.csv",
        "s3://exports.daily/a.csv",
    ],
)
def test_what_no_prefix_has_is_not_read(address: str) -> None:
    with pytest.raises(SourceNotAllowedError, match=r"storage\.sources"):
        next(outside("s3://exports/daily").list(address))


def test_without_the_setting_nothing_is_read() -> None:
    with pytest.raises(SourceNotAllowedError):
        next(Outside(StorageConfig(), None).list("s3://exports/daily/a.csv"))


@pytest.mark.parametrize(
    "address",
    [
        "s3://exports/daily/../secret/a.csv",
        "s3://exports/daily/./a.csv",
        "s3://exports/daily//a.csv",
        "s3://exports/daily/..",
        "s3://exports/daily/*/../../secret/a.csv",
        "s3://exports/daily/a\ncsv",
        "s3://exports/daily/a\0",
        "s3://exports/daily\\..\\secret",
        "s3://user@host/daily/a.csv",
        "s3://exports:9000/daily/a.csv",
        "s3://EXPORTS/daily",
        "s3:///daily",
        "s3://exports/daily/" + "a" * 3000,
        "http://exports/daily",
        "s3a://exports/daily",
    ],
)
def test_an_address_that_somebody_could_read_as_another_is_none(address: str) -> None:
    with pytest.raises(InvalidSourceError):
        next(outside("s3://exports/daily").list(address))


def test_who_has_no_grant_on_an_address_does_not_read_it() -> None:
    reader = Caller("reader", (Grant("reader", "objects:s3://exports/daily/own/"),), "t1")
    there = outside("s3://exports/daily")
    with acting(reader):
        for address in ("s3://exports/daily", "s3://exports/daily/*.csv", "s3://exports/daily/a"):
            with pytest.raises(ForbiddenError):
                next(there.list(address))


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a/*.csv", "a/b.csv", True),
        ("a/*.csv", "a/b/c.csv", False),
        ("a/**/*.csv", "a/c.csv", True),
        ("a/**/*.csv", "a/b/b/c.csv", True),
        ("a/**", "a/b/c", True),
        ("a/day-?/x", "a/day-1/x", True),
        ("a/day-?/x", "a/day-11/x", False),
        ("a/[0-9]*/x", "a/2026/x", True),
        ("a/*.csv", "a/b.CSV", False),
    ],
)
def test_a_pattern_stays_within_its_parts(pattern: str, name: str, fits: bool) -> None:
    assert matches(name.split("/"), pattern.split("/")) is fits


def test_no_pattern_takes_long() -> None:
    began = time.monotonic()
    assert not matches(["a" * 1000], ["*a" * 500 + "b"])
    assert not matches(["a"] * 400, [*["**", "a"] * 200, "b"])
    assert time.monotonic() - began < 2


def test_an_address_means_an_object_and_what_lies_below_it() -> None:
    assert parse("s3://exports/a/b")[1:] == ("a/b", "a/b/", None)
    assert parse("s3://exports/a/b/")[1:] == ("", "a/b/", None)
    assert parse("s3://exports")[1:] == ("", "", None)
    assert parse("s3://exports/a/b*/c")[1:] == ("", "a/", ["a", "b*", "c"])


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("s3://lake", "overlaps"),
        ("s3://lake/prod", "overlaps"),
        ("s3://lake/prod/tables", "overlaps"),
        ("exports/daily", "is not"),
        ("s3://exports/daily/", "is not"),
        ("s3://exports/../x", "is not"),
        ("s3://exports/*", "is not"),
    ],
)
def test_a_prefix_is_plain_and_apart_from_the_warehouse(source: str, why: str) -> None:
    with pytest.raises(BrokenRulesError) as raised:
        StorageConfig(warehouse="s3://lake/prod", sources=(source,))
    assert why in str(raised.value.rules)
    StorageConfig(warehouse="s3://lake/prod", sources=("s3://lake/prod2", "s3://lake/exports"))
