"""Every error is one shape of `application/problem+json`, whoever raised it."""

import inspect
import json
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ImproperlyConfiguredException
from litestar.params import HeaderParameter, JSONBody, QueryParameter

from lakehouse import errors
from lakehouse.api.bodies import JsonRequest
from lakehouse.api.problems import EXCEPTION_HANDLERS, STATUS, get_problem, kinds, slug, status_of
from lakehouse.api.streams import ClientGoneError
from lakehouse.database import EngineFatalError
from lakehouse.observability import Metrics
from tests.services import client_of, edge_of

MEMBERS = {"type", "title", "status", "detail", "retryable", "context", "trace_id"}
KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.LakehouseError) and kind is not errors.LakehouseError
]


class Column(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    type: str = "long"


class Made(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    columns: list[Column] = []
    limit: Annotated[int, msgspec.Meta(ge=1)] = 1


RAISED: list[BaseException] = []


@get("/raise", sync_to_thread=False)
def raise_it() -> None:
    raise RAISED[-1]


@post("/things")
async def make_thing(data: JSONBody[Made]) -> Made:
    return data


@post("/small", request_max_body_size=10)
async def make_small(data: JSONBody[Made]) -> Made:
    return data


@get("/list", sync_to_thread=False)
def list_things(
    limit: Annotated[int, QueryParameter(ge=1, le=9)],
    depth: Annotated[int | None, HeaderParameter(name="X-Depth")] = None,
) -> int:
    return limit


STOPPED: list[int] = []

APP = edge_of(
    Litestar(
        [raise_it, make_thing, make_small, list_things, get_problem],
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=JsonRequest,
        logging_config=None,
        state=State({"stop": lambda: STOPPED.append(1)}),
    ),
    Metrics("test"),
)


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the problem, after the look at its shape that every one must stand."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == MEMBERS
    assert problem["status"] == answer.status_code
    assert problem["trace_id"] == answer.headers["X-Lakehouse-Trace-Id"]
    assert problem["detail"]
    assert problem["title"]
    return problem


async def raised(error: BaseException) -> httpx.Response:
    RAISED.append(error)
    async with client_of(APP) as client:
        return await client.get("/raise")


async def sent(path: str, body: bytes | str, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else body.encode()
    async with client_of(APP) as client:
        return await client.post(path, content=content, headers=headers)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_has_its_status_type_and_title(kind: type[errors.LakehouseError]) -> None:
    answer = await raised(kind("it is so", table="orders"))

    problem = problem_of(answer)
    assert answer.status_code == STATUS[kind]
    assert problem["type"] == f"/problems/{slug(kind)}"
    assert problem["detail"] == "it is so"
    assert problem["context"] == {"table": "orders"}
    assert problem["retryable"] is kind.retryable
    expected = str(kind.retry_after_s) if kind.retry_after_s else None
    assert answer.headers.get("Retry-After") == expected


async def test_context_may_hold_anything(tmp_path: Any) -> None:
    problem = problem_of(await raised(errors.ConflictError("x", path=tmp_path, n={1, 2}, e=KINDS)))

    assert problem["context"]["path"] == str(tmp_path)


async def test_half_a_surrogate_pair_does_not_hide_the_error() -> None:
    problem = problem_of(await raised(errors.NotFoundError("no \ud800 here", name="\ud800")))

    assert problem["detail"] == "no \\ud800 here"
    assert "ud800" in problem["context"]["as_text"]


async def test_a_bug_says_nothing_but_its_trace_id(caplog: pytest.LogCaptureFixture) -> None:
    problem = problem_of(await raised(ValueError("/etc/secret is the path")))

    assert problem["status"] == 500
    assert problem["type"] == "about:blank"
    assert "secret" not in json.dumps(problem)
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.exc_info is not None


async def test_an_error_in_a_task_group_is_still_that_error() -> None:
    group = ExceptionGroup("tasks", [errors.NotFoundError("gone")])

    assert problem_of(await raised(group))["type"] == "/problems/not-found"


@pytest.mark.parametrize(
    "error", [MemoryError(), SystemError("error return without exception set")]
)
async def test_no_memory_is_the_servers_limit_and_may_be_tried_again(error: Exception) -> None:
    answer = await raised(error)

    assert problem_of(answer)["type"] == "/problems/out-of-memory"
    assert answer.status_code == 503
    assert answer.json()["retryable"] is True


async def test_a_broken_engine_ends_the_server() -> None:
    answer = await raised(EngineFatalError("database has been invalidated"))

    assert problem_of(answer)["type"] == "/problems/engine-broken"
    assert answer.status_code == 503
    assert STOPPED == [1]


async def test_a_client_that_left_is_no_error_of_the_server() -> None:
    assert (await raised(ClientGoneError())).status_code == 499


@pytest.mark.parametrize(
    "error", [HTTPException("teapot", status_code=418), ImproperlyConfiguredException("oh")]
)
async def test_what_the_framework_raises_has_the_same_shape(error: Exception) -> None:
    problem_of(await raised(error))


async def test_an_unknown_route_names_the_one_that_was_meant() -> None:
    async with client_of(APP) as client:
        near = problem_of(await client.get("/thing"))
        far = problem_of(await client.get("/" + "x" * 5000))

    assert near["type"] == "/problems/route-not-found"
    assert near["detail"] == "there is no route /thing; did you mean /things?"
    assert near["context"] == {"near": ["/things"]}
    assert far["status"] == 404
    assert len(far["detail"]) < 400


async def test_a_wrong_method_names_the_right_ones() -> None:
    async with client_of(APP) as client:
        answer = await client.delete("/things")

    assert answer.status_code == 405
    assert "POST" in problem_of(answer)["context"]["allowed"]
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ('{"nam": "x"}', "nam", "the field 'nam' is unknown; did you mean 'name'?"),
        ('{"name": "x", "zz": 1}', "zz", "'zz' is unknown; there are name, columns, limit"),
        ("{}", "name", "the field 'name' is missing"),
        ('{"name": 3}', "name", "name: expected str, got int"),
        ('{"name": "x", "limit": 0}', "limit", "limit: expected int >= 1"),
        (
            '{"name": "x", "columns": [{"name": "a"}, {"nme": "b"}]}',
            "columns[1].nme",
            "the field 'columns[1].nme' is unknown",
        ),
        ('{"name": "x", "columns": [{}]}', "columns[0].name", "'columns[0].name' is missing"),
        ("[]", "", "the body: expected object, got array"),
        ("null", "", "the body: expected object, got null"),
        ("", "", "the body is missing: this route takes JSON"),
    ],
)
async def test_a_wrong_field_is_named_with_its_place(body: str, field: str, words: str) -> None:
    answer = await sent("/things", body)

    problem = problem_of(answer)
    assert answer.status_code == 400
    assert problem["type"] == "/problems/invalid-request"
    assert words in problem["detail"]
    (error,) = problem["context"]["errors"]
    assert error["field"] == field
    assert error["in"] == "body"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"name": ', "the body is not JSON: it ends at byte 8, before all"),
        (b'{"name" "x"}', "the body is not JSON: expected ':' (byte 8)"),
        (b'{"name": "\xff"}', "the body is not JSON: it is not UTF-8: "),
        (b'{"name": "x"} {}', "trailing characters (byte 15)"),
        (b"\xff\xfe{", "the body is not JSON: "),
        (b"[" * 100_000, "the body is not JSON: it is nested too deeply"),
        (b"[" * 61 + b"]" * 61, "the body is not JSON: it is nested too deeply"),
        (b'{"a":' * 61 + b"1" + b"}" * 61, "the body is not JSON: it is nested too deeply"),
        (b'{"name": NaN}', "the body is not JSON: invalid character (byte 9)"),
    ],
)
async def test_a_body_that_is_no_json_is_refused_with_its_position(body: bytes, words: str) -> None:
    answer = await sent("/things", body)

    assert answer.status_code == 400
    assert problem_of(answer)["type"] == "/problems/malformed-json"
    assert words in answer.json()["detail"]


async def test_a_wrong_parameter_is_named_with_its_place() -> None:
    async with client_of(APP) as client:
        high = problem_of(await client.get("/list?limit=99"))
        text = problem_of(await client.get("/list?limit=x"))
        missing = problem_of(await client.get("/list"))
        header = problem_of(await client.get("/list?limit=1", headers={"X-Depth": "deep"}))

    for problem in (high, text):
        assert problem["context"]["errors"][0]["field"] == "limit"
        assert problem["context"]["errors"][0]["in"] == "query"
    assert "limit" in missing["detail"]
    assert header["context"]["errors"][0]["in"] == "header"


async def test_a_body_over_the_limit_of_its_route_says_the_limit() -> None:
    answer = await sent("/small", '{"name": "long enough"}')

    assert answer.status_code == 413
    assert problem_of(answer)["context"] == {"max_bytes": 10}


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_json_is_read_whatever_it_says_it_is(content_type: str) -> None:
    answer = await sent("/things", '{"name": "x"}', **{"Content-Type": content_type})

    assert answer.status_code == 201


async def test_with_an_origin_json_must_say_so() -> None:
    origin = {"Origin": "http://localhost"}

    form = await sent("/things", '{"name": "x"}', **{**origin, "Content-Type": "text/plain"})
    said = await sent("/things", '{"name": "x"}', **{**origin, "Content-Type": "application/json"})

    assert form.status_code == 415
    problem_of(form)
    assert said.status_code == 201


async def test_the_type_of_every_problem_resolves() -> None:
    found = list(kinds(errors.LakehouseError))
    assert len(found) > len(KINDS)
    async with client_of(APP) as client:
        for error in found:
            answer = await client.get(f"/problems/{slug(error)}")

            assert answer.status_code == 200, error
            assert f"status {status_of(error)}" in answer.text
            assert "Base of every error" not in answer.text


async def test_a_type_that_is_none_is_a_problem_of_its_own() -> None:
    async with client_of(APP) as client:
        answer = await client.get("/problems/no-such-thing")

    assert answer.status_code == 404
    assert problem_of(answer)["type"] == "/problems/problem-not-found"
