"""Errors keep their kind across the wire; what may be sent twice is, within limits."""

import io
import socket

import pytest

from lakehouse.client import Client, RemoteError
from lakehouse.errors import (
    BusyError,
    ConflictError,
    InvalidInputError,
    LakehouseError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
    UpstreamError,
)
from tests.client.scripted import Reply, peer, problem

PAGE = b'{"columns":[{"name":"n","type":"INTEGER"}],"rows":[[1]],"row_count":1}'
ROWS = b'{"name":"t","namespace":"main","added_rows":1,"row_count":1,"snapshot_id":7}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidInputError), (404, NotFoundError), (409, ConflictError), (429, BusyError)],
)
def test_a_problem_is_raised_as_its_kind_with_all_its_facts(
    status: int, kind: type[LakehouseError]
) -> None:
    reply = problem(status, "no-such-thing", "it is not there", X_Lakehouse_Trace_Id="abc")
    with peer(reply) as server, Client(server.url) as lake, pytest.raises(kind) as caught:
        lake.describe("t")

    error = caught.value
    assert isinstance(error, RemoteError)
    assert error.detail == "it is not there"
    assert error.context == {"table": "t"}
    assert error.problem.type == "/problems/no-such-thing"
    assert error.problem.status == status
    assert error.problem.trace_id == "abc"


def test_a_typed_500_is_an_unknown_outcome_and_an_untyped_one_a_bug() -> None:
    known, bug = problem(500, "commit-state-unknown", "look first"), Reply(500, b'{"detail":"bug"}')
    with peer(known, bug) as server, Client(server.url) as lake:
        with pytest.raises(OutcomeUnknownError):
            lake.describe("t")
        with pytest.raises(RemoteError, match="bug") as caught:
            lake.describe("t")
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_a_proxy_that_answers_html_is_quoted() -> None:
    reply = Reply(502, b"<html>bad gateway</html>")
    with (
        peer(reply) as server,
        Client(server.url) as lake,
        pytest.raises(UpstreamError, match=r"502 .*bad gateway"),
    ):
        lake.describe("t")


def test_another_program_on_the_port_is_recognised() -> None:
    with (
        peer(Reply(200, b"<html>hello</html>")) as server,
        Client(server.url) as lake,
        pytest.raises(UpstreamError, match="does another program listen there"),
    ):
        lake.health()


def test_nobody_on_the_port_says_what_to_start() -> None:
    with socket.socket() as taken:  # bound, not listening: refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url) as lake, pytest.raises(UnavailableError) as caught:
            lake.health()
    assert url in caught.value.detail
    assert "lakehouse serve" in caught.value.detail


@pytest.mark.parametrize(
    "url", ["127.0.0.1:3110", "ftp://host", "http://", "http://[::1", "nonsense"]
)
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a URL"):
        Client(url)


def test_a_read_is_sent_again_after_retry_after() -> None:
    busy = problem(503, "too-many-statements", "later", Retry_After="0")
    with peer(busy, busy, Reply(200, PAGE)) as server, Client(server.url) as lake:
        assert lake.sql("SELECT 1").rows == [[1]]
    assert len(server.seen) == 3


def test_rows_are_sent_again_with_the_same_key() -> None:
    busy = problem(503, "busy", "later", Retry_After="0")
    with peer(busy, Reply(201, ROWS)) as server, Client(server.url) as lake:
        lake.rows("t", [{"n": 1}])
    keys = [each.headers["idempotency-key"] for each in server.seen]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert server.seen[0].body == server.seen[1].body == b'{"rows":[{"n":1}]}'


def test_rows_survive_an_answer_that_is_lost_on_the_way() -> None:
    with (
        peer(Reply(silent=True), Reply(201, ROWS)) as server,
        Client(server.url) as lake,
    ):
        lake.rows("t", [{"n": 1}])
    assert len(server.seen) == 2


def test_without_retry_after_nothing_is_sent_again() -> None:
    damaged = problem(503, "table-damaged", "files are gone")
    with peer(damaged) as server, Client(server.url) as lake, pytest.raises(UnavailableError):
        lake.describe("t")
    assert len(server.seen) == 1


def test_retries_end() -> None:
    busy = problem(503, "busy", "later", Retry_After="0")
    with peer(busy) as server, Client(server.url) as lake, pytest.raises(UnavailableError):
        lake.describe("t")
    assert len(server.seen) == 6


def test_a_pause_beyond_the_budget_is_not_begun() -> None:
    busy = problem(503, "busy", "later", Retry_After="5")
    with (
        peer(busy) as server,
        Client(server.url, retry_max_s=1) as lake,
        pytest.raises(UnavailableError),
    ):
        lake.describe("t")
    assert len(server.seen) == 1


def test_a_write_without_a_key_whose_answer_is_lost_is_of_unknown_outcome() -> None:
    with (
        peer(Reply(silent=True)) as server,
        Client(server.url) as lake,
        pytest.raises(OutcomeUnknownError, match="may or may not have happened"),
    ):
        lake.storage.put("k", io.BytesIO(b"sent once"))
    assert len(server.seen) == 1


def test_half_an_answer_is_never_a_whole_one() -> None:
    half = Reply(200, b"n\r\n1\r\n", broken=True)
    with (
        peer(half) as server,
        Client(server.url) as lake,
        lake.export("SELECT 1", "csv") as pieces,
        pytest.raises(UnavailableError, match="ended early"),
    ):
        list(pieces)


def test_a_silent_server_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with (
            Client(url, timeout_s=0.2) as lake,
            pytest.raises(UnavailableError, match="did not answer within"),
        ):
            lake.describe("t")


def test_a_proxy_for_the_world_is_not_asked_for_the_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with peer(Reply(200, b'{"service":"lakehouse"}')) as server, Client(server.url) as lake:
        assert lake.health().service == "lakehouse"


def test_later_pages_are_fetched_when_they_are_read() -> None:
    first = PAGE[:-1] + b',"truncated":true,"next":"/v1/sql/results/r?offset=1"}'
    second = PAGE.replace(b"[[1]]", b"[[2]]")
    with peer(Reply(200, first), Reply(200, second)) as server, Client(server.url) as lake:
        result = lake.sql("SELECT n FROM t")
        rows = iter(result)
        assert next(rows) == [1]
        assert len(server.seen) == 1
        assert next(rows) == [2]
        assert server.seen[1].path == "/v1/sql/results/r?offset=1"
        assert result.truncated


def test_names_are_escaped_in_paths() -> None:
    with peer(Reply(200, b'{"items":[]}')) as server, Client(server.url) as lake:
        list(lake.history("sales.a b/ü?"))
    assert server.seen[0].path == "/v1/tables/sales.a%20b%2F%C3%BC%3F/snapshots"
