"""Whatever may be asked, what is answered is in the OpenAPI document, for every caller.

Requests are made from the document (schemathesis), with names of what is there put into most of
them, and each is sent by nobody, a reader, a writer and an admin: `LAKEHOUSE_TEST_LONG=1`.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from lakehouse.client import Client, Grant
from lakehouse.local_socket import operator_path
from tests.services import lakehouse_server

CASES = {"POSITIVE": 20, "NEGATIVE": 6}
"""For each route, of what the document allows, and of what it does not."""
COLUMNS = [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]
# What a parameter or a field of a name is mostly, instead of something random.
LIKELY: dict[str, list[Any]] = {
    "table": ["shop.orders", "shop.people", "vault.secrets", "shop.nothing", "main.x"],
    "to": ["shop.other", "shop.orders", "first", "main"],
    "namespace": ["shop", "vault", "nothing"],
    "name": ["orders", "shop.orders", "new", "shop.new", "a.b.c"],
    "key": ["raw/a.csv", "raw/b.csv", "other/c.csv"],
    "keys": [["id"]],
    "ref": ["first", "main", "second"],
    "since": ["first", "main"],
    "from": ["first", "main"],
    "as_of": ["first", "2026-01-01", "main", {}, {"shop.orders": "first"}, {"shop.orders": 7}],
    "sql": ["SELECT 1", "FROM shop.orders", "FROM vault.secrets", "SELECT now()", "SELECT"],
    "where": ["id = 1", "true", "name = ?", "nothing = 1", "id / 0 = 1"],
    "set": [{"name": "'x'"}, {"id": "id + 1"}, {"user.owner": "me"}],
    "parameters": [[], [1], {"a": 1}],
    "rows": [[{"id": 1, "name": "a"}], [{"id": "x"}], []],
    "columns": [COLUMNS, [], [{"name": "id", "type": "int"}]],
    "changes": [[{"op": "add", "name": "z", "type": "long"}], [{"op": "drop", "name": "name"}]],
    "format": ["csv", "parquet", "arrow", "ndjson", "json"],
    "mode": ["append", "create", "overwrite", "upsert", "delete"],
    "grants": [[{"role": "reader", "on": "shop"}], [{"role": "admin"}]],
    "token": ["reader", "nobody"],
    "type": ["tag", "branch"],
    "timeout_s": [1],
    "limit": [1, 1000],
    "wait_s": [0.1],
}
RAW = [
    *(
        b"",
        b"id,name\n1,a\n",
        b'{"rows": [{"id": 1, "name": "a"}]}',
        b'{"id": 1}\n',
        b"PAR1",
        b"\xff",
    )
]
"""Bodies of routes that take any bytes."""
HEADERS: list[dict[str, str]] = [
    *({}, {}, {"Idempotency-Key": "one"}, {"Prefer": "respond-async"}, {"If-None-Match": "*"}),
    *({"Range": "bytes=0-1"}, {"Range": "bytes=9999-"}, {"Accept": "text/csv"}),
    *({"Accept": "image/png"}, {"Content-Type": "text/csv"}),
]
GRANTS = {
    "reader": [Grant("reader", "shop"), Grant("reader", "objects:raw/")],
    "writer": [Grant("writer", "shop"), Grant("writer", "objects:raw/")],
    "admin": [Grant("admin")],
}


@dataclass(frozen=True)
class Asking:
    """A server, and the headers of those who ask it."""

    url: str
    callers: dict[str, dict[str, str]]


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    with lakehouse_server(tmp_path / "data") as server:
        with Client(f"unix:{operator_path(server.data_dir)}") as owner:
            owner.tokens.create("keeper", [Grant("admin")])
            tokens = {name: owner.tokens.create(name, each).token for name, each in GRANTS.items()}
        callers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
        yield Asking(server.url, {"nobody": {}, **callers})


def furnish(admin: httpx.Client) -> None:
    """Make what the names mean, where the requests before have left none of it."""
    for namespace in ("shop", "vault"):
        admin.post("/v1/namespaces", json={"name": namespace})
    for name in ("shop.orders", "shop.people", "vault.secrets"):
        admin.post("/v1/tables", json={"name": name, "columns": COLUMNS})
        admin.post(f"/v1/tables/{name}/rows", json={"rows": LIKELY["rows"][0]})
    admin.put("/v1/tables/shop.orders/refs/first", json={"type": "tag"})
    admin.put("/v1/storage/put/raw/a.csv", content=RAW[1])


def allowed_by(document: Any) -> Any:
    """Return the document as schemathesis reads it: it makes no fields that are always refused."""
    for schema in document["components"]["schemas"].values():
        schema["additionalProperties"] = False
    # By name, and late: it takes half a second, and a checkout without it runs all other tests.
    return import_module("schemathesis").openapi.from_dict(document)


@st.composite
def cases_of(draw: st.DrawFn, operation: Any, mode: Any) -> Any:
    """A request of the document, with names that mean something, and a body where one is due."""
    random = st.text(min_size=1, max_size=20)
    names = {
        each.name: draw(st.one_of(*[st.sampled_from(LIKELY.get(each.name, ["x"]))] * 3, random))
        for each in operation.path_parameters
    }
    case = draw(operation.as_strategy(generation_mode=mode, path_parameters=names or None))
    for part in (case.query, case.body):
        for name in [*part] if isinstance(part, dict) else ():
            if name in LIKELY and draw(st.integers(0, 3)):
                part[name] = draw(st.sampled_from(LIKELY[name]))
    case.headers = draw(st.sampled_from([case.headers or {}, *HEADERS]))
    if types := taken_raw(operation):
        case.body, case.media_type = draw(st.sampled_from(RAW)), "application/octet-stream"
        if "Content-Type" not in case.headers:
            case.headers = {**case.headers, "Content-Type": draw(st.sampled_from(types))}
    return case


def taken_raw(operation: Any) -> list[str]:
    """Return the types that a route takes bytes of; none of one that takes JSON."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    types = [name.replace("*/*", "application/octet-stream") for name in content]
    return types if types and "application/json" not in types else []


def ask(asking: Asking, cases: Any, count: int) -> None:
    """Send cases by every caller; the same ones each time."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def send(case: Any) -> None:
        for name, headers in asking.callers.items():
            answer = case.call(base_url=asking.url, headers=headers, timeout=30)
            said = f"{name}: {answer.status_code} {answer.content[:300]!r}"
            assert answer.status_code < 500, said
            assert str(answer.status_code) in case.operation.definition.raw["responses"], said

    with suppress(Unsatisfiable):  # there is nothing in it that could be wrong
        send()


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="a minute")
def test_what_is_answered_is_in_the_document(asking: Asking) -> None:
    with httpx.Client(base_url=asking.url, headers=asking.callers["admin"]) as admin:
        schema = allowed_by(admin.get("/schema/openapi.json").json())
        for result in schema.get_all_operations():
            operation = result.ok()
            furnish(admin)
            for name, count in CASES.items():
                mode = import_module("schemathesis").GenerationMode[name]
                ask(asking, cases_of(operation, mode), count)
