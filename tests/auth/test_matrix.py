"""Every route, every role, on what was granted and on what was not: one table."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from lakehouse.api.access import Guard, open_to_all
from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.auth import Grant, TokenCreate
from lakehouse.config import Config
from lakehouse.state import DataDirectory
from tests.services import client_of

CALLERS = {
    "nobody": None,
    "reader": [Grant("reader", "own"), Grant("reader", "objects:own/")],
    "writer": [Grant("writer", "own"), Grant("writer", "objects:own/")],
    "admin of own": [Grant("admin", "own"), Grant("admin", "objects:own/")],
    "reader of theirs": [
        *(Grant("writer", on) for on in ("own", "objects:own/")),
        *(Grant("reader", on) for on in ("theirs", "objects:theirs/")),
    ],
    "reader of all": [Grant("reader")],
    "writer of all": [Grant("writer")],
    "admin": [Grant("admin")],
}
CSV = b"id,name\n1,Ada\n"
COLUMNS = [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]
RANK = ["reader", "writer", "admin"]


@dataclass(frozen=True)
class Row:
    """A request, `{ns}` in it, and what it takes.

    kind: `read` and `write` are of a table or an object that is there, and 404 for who may not see
    it; `select` is that in SQL, where it is 400; `make` may make one, and is 403 for who may not,
    whatever is there; `somewhere` takes a role that writes, on anything; `all` and `everything` are
    of everything, to write and to read; `mine` shows to everybody what is theirs.
    """

    kind: str
    method: str
    path: str
    body: Any = None
    media: str = "application/json"
    ok: int = 200

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


T = "/v1/tables/{ns}.t"
ONE = [1.0] * 256
V = "/v1/vectors/index/{ns}.k"
ROWS = [
    Row("read", "GET", T),
    Row("read", "GET", f"{T}/snapshots"),
    Row("read", "GET", f"{T}/refs"),
    Row("read", "GET", f"{T}/refs/main"),
    Row("read", "GET", f"{T}/schema"),
    Row("read", "GET", f"{T}/properties"),
    Row("read", "GET", f"{T}/export?format=csv"),
    Row("read", "GET", f"{T}/changes?since=first"),
    Row("read", "GET", f"{T}/diff?from=first&to=main"),
    Row("read", "GET", f"{T}/diff/rows?from=first&to=main"),
    Row("select", "POST", "/v1/sql", {"sql": "SELECT * FROM {ns}.t"}),
    Row("select", "POST", "/v1/sql", {"sql": "WITH x AS (SELECT * FROM {ns}.t) FROM x"}),
    Row("select", "POST", "/v1/sql", {"sql": "SELECT (SELECT count(*) FROM {ns}.t)"}),
    Row("select", "POST", "/v1/sql", {"sql": "FROM range(3) r, LATERAL (SELECT * FROM {ns}.t)"}),
    Row("select", "POST", "/v1/sql", {"sql": 'SELECT * FROM vectors."{ns}.k"'}),
    Row(
        "read",
        "POST",
        "/v1/sql",
        {"sql": "FROM hits", "search": {"hits": {"collection": "{ns}.k", "vector": ONE}}},
    ),
    Row("select", "POST", "/v1/sql", {"sql": "DESCRIBE {ns}.t"}),
    Row("select", "POST", "/v1/sql", {"sql": "SUMMARIZE {ns}.t"}),
    Row("select", "POST", "/v1/sql", {"sql": "EXPLAIN SELECT * FROM {ns}.t"}),
    Row("select", "GET", "/v1/sql?sql=SELECT%20*%20FROM%20{ns}.t"),
    Row("read", "GET", "/v1/maintenance?table={ns}.t"),
    Row("read", "GET", "/v1/storage/get/{ns}/raw.csv"),
    Row("write", "POST", f"{T}/rows", {"rows": [{"id": 9, "name": "Bo"}]}, ok=201),
    Row("write", "POST", f"{T}/rows?mode=upsert&key=id", {"rows": [{"id": 9}]}, ok=201),
    Row("write", "POST", f"{T}/rows?mode=delete&key=id", {"rows": [{"id": 9}]}, ok=201),
    Row("write", "POST", f"{T}/delete", {"where": "id = 99"}),
    Row("write", "POST", f"{T}/update", {"set": {"name": "'x'"}, "where": "id = 1"}),
    Row("write", "POST", f"{T}/schema", {"changes": [{"op": "add", "name": "z", "type": "long"}]}),
    Row("write", "POST", f"{T}/properties", {"set": {"user.owner": "me"}}),
    Row("write", "PUT", f"{T}/refs/v1", {"type": "tag"}),
    Row("write", "DELETE", f"{T}/refs/v1", ok=204),
    Row("write", "POST", f"{T}/rollback", {"to": "main"}),
    Row("write", "POST", "/v1/tables/{ns}.u/rename", {"to": "{ns}.v"}),
    Row("write", "DELETE", "/v1/tables/{ns}.v", ok=204),
    Row("write", "POST", "/v1/tables/{ns}.v/undrop", {}),
    Row("write", "DELETE", "/v1/tables/{ns}.v?purge=true", ok=204),
    Row("make", "POST", "/v1/tables", {"name": "{ns}.n", "columns": COLUMNS}, ok=201),
    Row("make", "POST", "/v1/ingest?name=m&namespace={ns}&mode=append", CSV, "text/csv"),
    Row("make", "POST", "/v1/ingest?name=m&namespace={ns}&dry_run=true", CSV, "text/csv"),
    Row("make", "POST", "/v1/ingest?name=o&namespace={ns}&source=object:{ns}/raw.csv"),
    Row("make", "POST", "/v1/tables/{ns}.q/from-query", {"sql": "SELECT 1 AS a", "mode": "create"}),
    Row("make", "PUT", "/v1/storage/put/{ns}/raw.csv", CSV, "text/csv"),
    Row("make", "DELETE", "/v1/storage/delete/{ns}/raw.csv", ok=204),
    Row("write", "POST", "/v1/maintenance/run", {"table": "{ns}.t"}),
    Row("all", "POST", "/v1/maintenance/run", {}),
    Row("everything", "GET", "/v1/maintenance"),
    Row("mine", "GET", "/v1/tables"),
    Row("mine", "GET", "/v1/namespaces"),
    Row("mine", "GET", "/v1/catalog/list"),
    Row("mine", "GET", "/v1/storage/list"),
    Row("mine", "GET", "/v1/jobs"),
    Row("mine", "GET", "/v1/queries"),
    Row("mine", "POST", "/v1/embed", {"texts": ["a lake"]}),
    Row("everything", "GET", "/v1/embed/stats"),
    Row("mine", "GET", "/v1/embed/models"),
    Row("mine", "GET", "/v1/vectors/index"),
    Row("make", "POST", "/v1/vectors/index", {"name": "{ns}.c", "dimension": 2}, ok=201),
    Row("read", "GET", V),
    Row("read", "GET", f"{V}/items"),
    Row("read", "POST", f"{V}/search", {"vector": ONE}),
    Row("read", "POST", f"{V}/get", {"ids": ["a"]}),
    Row("write", "POST", f"{V}/add", {"items": [{"id": "a", "vector": ONE}]}),
    Row("write", "POST", f"{V}/delete", {"ids": ["a"]}),
    Row("write", "POST", f"{V}/documents", {"documents": [{"id": "d", "text": "a lake"}]}),
    Row("write", "POST", f"{V}/check", {}),
    Row("write", "POST", f"{V}/optimize"),
    Row("write", "POST", f"{V}/reembed", {}),
    Row("write", "POST", f"{V}/merge", {"dest": "{ns}.l"}),
    Row("write", "DELETE", "/v1/vectors/index/{ns}.gone", ok=204),
    Row("read", "DELETE", "/v1/queries/unknown-{ns}", ok=404),
    Row("mine", "GET", "/v1/tokens/self"),
    Row("mine", "GET", "/v1/schedules"),
    Row(
        "make",
        "POST",
        "/v1/schedules",
        {"name": "of-{ns}", "cron": "0 0 29 2 *", "table": "{ns}.s", "sql": "SELECT 1 AS a"},
        ok=201,
    ),
    Row("read", "GET", "/v1/schedules/unknown-{ns}", ok=404),
    Row("read", "GET", "/v1/schedules/unknown-{ns}/runs", ok=404),
    Row("somewhere", "POST", "/v1/schedules/unknown-{ns}/run", ok=404),
    Row("somewhere", "POST", "/v1/schedules/unknown-{ns}/pause", ok=404),
    Row("somewhere", "POST", "/v1/schedules/unknown-{ns}/resume", ok=404),
    Row("somewhere", "DELETE", "/v1/schedules/unknown-{ns}", ok=404),
    Row("somewhere", "GET", "/v1/uploads"),
    Row("somewhere", "POST", "/v1/uploads", {"size_bytes": 5, "key": "of {ns}"}, ok=201),
    Row("somewhere", "GET", "/v1/uploads/{ns}", ok=404),
    Row("somewhere", "PUT", "/v1/uploads/{ns}?offset=0", CSV, ok=404),
    Row("somewhere", "DELETE", "/v1/uploads/{ns}", ok=404),
    Row("administer", "GET", "/v1/tokens"),
    Row(
        "administer",
        "POST",
        "/v1/tokens",
        {"name": "{ns}-new", "grants": [{"role": "admin"}]},
        ok=201,
    ),
    Row("administer", "POST", "/v1/tokens/{ns}-new/rotate", {}, ok=201),
    Row("administer", "DELETE", "/v1/tokens/{ns}-new", ok=204),
]


async def prepared(lake: Lakehouse, send: Any) -> None:
    """Make the same in both namespaces: tables `t` and `u`, a tag, an object, collections."""
    for ns in ("own", "theirs"):
        await send("POST", "/v1/namespaces", {"name": ns})
        for table in ("t", "u"):
            await send("POST", "/v1/tables", {"name": f"{ns}.{table}", "columns": COLUMNS})
            rows = {"rows": [{"id": 1, "name": f"secret of {ns}"}]}
            await send("POST", f"/v1/tables/{ns}.{table}/rows", rows)
        await send("PUT", f"/v1/tables/{ns}.t/refs/first", {"type": "tag"})
        await send("POST", f"/v1/tables/{ns}.t/rows", {"rows": [{"id": 2, "name": "second"}]})
        await send("PUT", f"/v1/storage/put/{ns}/raw.csv", CSV)
        for collection in ("k", "l", "gone"):
            asked = {"name": f"{ns}.{collection}", "dimension": 256}
            await send("POST", "/v1/vectors/index", asked)
            items = [{"id": "a", "vector": ONE, "metadata": {"of": f"secret of {ns}"}}]
            await send("POST", f"/v1/vectors/index/{ns}.{collection}/add", {"items": items})


@pytest.fixture(scope="module", params=CALLERS)
async def asking(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """A lakehouse with two namespaces, and a client of one of the callers."""
    folder = tmp_path_factory.mktemp("matrix")
    with DataDirectory.open(folder / "data") as directory:
        async with open_lakehouse(Config(), directory) as lake:
            app = create_app(lake)
            async with client_of(app.from_operator) as operator:

                async def send(method: str, path: str, body: Any) -> None:
                    content = body if isinstance(body, bytes) else json.dumps(body).encode()
                    answer = await operator.request(method, path, content=content)
                    assert answer.is_success, answer.text

                await prepared(lake, send)
            lake.tokens.create(TokenCreate("keeper", [Grant("admin")]))
            grants = CALLERS[request.param]
            secret = lake.tokens.create(TokenCreate("asking", grants)).token if grants else ""
            async with client_of(app) as client:
                if secret:
                    client.headers["Authorization"] = f"Bearer {secret}"
                yield request.param, client


def role_on(name: str, ns: str) -> int:
    """Return the rank of a caller's role on a namespace; -1 for none."""
    covering = {"own": ("own", "*"), "theirs": ("theirs", "*"), "": ("*",)}[ns]
    return max((RANK.index(g.role) for g in CALLERS[name] or [] if g.on in covering), default=-1)


def expected(name: str, row: Row, ns: str) -> int:
    """Return the status that a caller gets."""
    here, of_all = role_on(name, ns), role_on(name, "")
    writes_somewhere = max(role_on(name, "own"), of_all) >= 1
    match row.kind:
        case _ if name == "nobody":
            return 401
        case "read":
            return row.ok if here >= 0 else 404
        case "select":
            return row.ok if here >= 0 else 400
        case "write" if here < 1:
            return 403 if here == 0 or not writes_somewhere else 404
        case "make" if here < 1:
            return 403
        case "somewhere" if not writes_somewhere:
            return 403
        case "all" if of_all < 1:
            return 403
        case "everything" if of_all < 0:
            return 403
        case "administer" if of_all < 2:
            return 403
    return row.ok


async def test_each_route_gives_each_caller_what_was_granted(
    asking: tuple[str, httpx.AsyncClient],
) -> None:
    name, client = asking
    wrong = []
    for row in ROWS:
        for ns in ("theirs", "own"):
            body = row.body if isinstance(row.body, bytes) else json.dumps(row.body).encode()
            answer = await client.request(
                row.method,
                row.path.replace("{ns}", ns),
                content=body.replace(b"{ns}", ns.encode()) if row.body is not None else None,
                headers={"Content-Type": row.media} if row.body is not None else {},
            )
            if answer.status_code != expected(name, row, ns):
                wrong.append((str(row), ns, answer.status_code, expected(name, row, ns)))
            if role_on(name, ns) < 0:
                assert "secret of" not in answer.text, row
    assert not wrong, "\n".join(map(str, wrong))


async def test_lists_show_what_was_granted_and_no_more(
    asking: tuple[str, httpx.AsyncClient],
) -> None:
    name, client = asking
    if name == "nobody":
        return
    lists = ["/v1/tables", "/v1/namespaces", "/v1/catalog/list", "/v1/storage/list"]
    lists.append("/v1/vectors/index")
    texts = [(await client.get(path)).text for path in lists]
    for sql in (
        "SHOW TABLES",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.columns",
    ):
        texts.append((await client.post("/v1/sql", json={"sql": sql})).text)
    sees_foreign = role_on(name, "theirs") >= 0
    assert ("theirs" in texts[0]) == sees_foreign
    for text in texts:
        assert sees_foreign or "theirs" not in text, text


@pytest.mark.parametrize("sql", ["SELECT * FROM theirs.t", "SELECT * FROM theirs.tt"])
async def test_a_hidden_table_is_told_like_one_that_is_not_there(
    asking: tuple[str, httpx.AsyncClient], sql: str
) -> None:
    name, client = asking
    if role_on(name, "theirs") >= 0 or name == "nobody":
        return
    hidden, missing = [
        (await client.post("/v1/sql", json={"sql": sql.replace("theirs", each)})).json()
        for each in ("theirs", "nowhere")
    ]
    for each in (hidden, missing):
        each.pop("trace_id")
    told = json.dumps(hidden).replace("theirs", "nowhere")
    assert told == json.dumps(missing)


async def test_every_route_says_what_it_asks_of_its_caller(lake: Lakehouse) -> None:
    app: Any = create_app(lake)._app
    ours = [
        (route.path, handler)
        for route in app.routes
        for handler, _ in getattr(route, "route_handler_map", {}).values()
        if handler.fn.__module__.startswith("lakehouse.")
    ]
    assert len(ours) > 50
    bare = [
        path
        for path, handler in ours
        if not any(isinstance(g, Guard) or g is open_to_all for g in handler.guards or ())
    ]
    assert bare == []
