from datetime import UTC, datetime

import pytest

from lakehouse.storage.conditions import (
    Span,
    UnsatisfiableError,
    http_date,
    is_known,
    requested_span,
)

ETAG = '"abc"'
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
DATE = "Fri, 02 Jan 2026 03:04:05 GMT"


def test_a_date_is_written_as_http_wants_it() -> None:
    assert http_date(AT) == DATE


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-4", Span(2, 3)),
        ("bytes=2-", Span(2, 8)),
        ("bytes=0-99", Span(0, 10)),
        ("bytes=-3", Span(7, 3)),
        ("bytes=-99", Span(0, 10)),
        ("BYTES=1-1", Span(1, 1)),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("lines=0-1", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("", None),
    ],
)
def test_one_range_is_a_part_and_anything_odd_is_the_whole(text: str, span: Span | None) -> None:
    assert requested_span({"range": text}, 10, ETAG, AT) == span


@pytest.mark.parametrize(("text", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=-5", 0)])
def test_a_range_behind_the_end_is_unsatisfiable(text: str, size: int) -> None:
    with pytest.raises(UnsatisfiableError):
        requested_span({"range": text}, size, ETAG, AT)


@pytest.mark.parametrize(
    ("condition", "part"),
    [(ETAG, True), ('"other"', False), ("W/" + ETAG, False), (DATE, True), ("yesterday", False)],
)
def test_a_part_is_sent_only_of_what_the_client_has(condition: str, part: bool) -> None:
    headers = {"range": "bytes=1-2", "if-range": condition}

    assert (requested_span(headers, 10, ETAG, AT) is not None) == part


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, False),
        ({"if-none-match": ETAG}, True),
        ({"if-none-match": 'W/"abc"'}, True),
        ({"if-none-match": '"x", "abc"'}, True),
        ({"if-none-match": '"x"'}, False),
        ({"if-none-match": "*"}, True),
        ({"if-modified-since": DATE}, True),
        ({"if-modified-since": "Fri, 02 Jan 2026 03:04:04 GMT"}, False),
        ({"if-modified-since": "nonsense"}, False),
        ({"if-none-match": '"x"', "if-modified-since": DATE}, False),
    ],
)
def test_what_the_client_has_is_not_sent_again(headers: dict[str, str], known: bool) -> None:
    assert is_known(headers, ETAG, AT) == known
