import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from lakehouse.state import State
from lakehouse.storage import LocalStore
from tests.storage.conftest import CONFIG
from tests.storage.raw import Answer, send

Client = AsyncTestClient[Litestar]

ALWAYS = {"objects", "_tmp"}
PUT = b"/v1/storage/put/"
GET = b"/v1/storage/get/"
DELETE = b"/v1/storage/delete/"


def tree(store: LocalStore) -> list[str]:
    """Return all files and folders of the warehouse, but for the two that are always there."""
    return sorted(
        str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.name not in ALWAYS
    )


def problem(answer: Answer) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.body)
    assert body["detail"]
    assert body["status"] == answer.status
    return body


async def put(client: Client, key: str, body: bytes = b"x") -> Any:
    response = await client.put(f"/v1/storage/put/{quote(key)}", content=body)
    assert response.status_code == 200, response.text
    return response.json()


async def keys(client: Client, **params: Any) -> list[str]:
    response = await client.get("/v1/storage/list", params=params)
    assert response.status_code == 200, response.text
    return [each["key"] for each in response.json()["objects"]]


async def test_an_object_goes_in_and_comes_out(client: Client) -> None:
    stored = await put(client, "raw/people.csv", b"name\nAda\n")
    assert {name: stored[name] for name in ("key", "size")} == {"key": "raw/people.csv", "size": 9}

    response = await client.get("/v1/storage/get/raw/people.csv")

    assert response.status_code == 200
    assert response.content == b"name\nAda\n"
    assert response.headers["content-length"] == "9"
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["etag"] == f'"{stored["etag"]}"'
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["last-modified"].endswith(" GMT")


async def test_a_second_put_replaces_the_object_and_its_etag(client: Client) -> None:
    first = await put(client, "a", b"same")
    second = await put(client, "a", b"same")

    assert first["etag"] != second["etag"]
    assert (await client.get("/v1/storage/get/a")).content == b"same"


async def test_an_empty_object_is_an_object(client: Client) -> None:
    assert (await put(client, "empty", b""))["size"] == 0

    response = await client.get("/v1/storage/get/empty")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "0"


async def test_head_says_what_get_would(client: Client) -> None:
    await put(client, "a", b"12345")

    head = await client.head("/v1/storage/get/a")
    whole = await client.get("/v1/storage/get/a")

    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "etag", "last-modified", "accept-ranges", "content-type"):
        assert head.headers[name] == whole.headers[name]
    assert (await client.head("/v1/storage/get/missing")).status_code == 404


async def test_one_range_is_answered_with_that_part(client: Client) -> None:
    await put(client, "a", bytes(range(256)) * 4096)

    response = await client.get("/v1/storage/get/a", headers={"Range": "bytes=300000-700000"})

    assert response.status_code == 206
    assert response.headers["content-range"] == "bytes 300000-700000/1048576"
    assert response.headers["content-length"] == "400001"
    assert response.content == (bytes(range(256)) * 4096)[300000:700001]


async def test_a_range_behind_the_end_is_416(client: Client) -> None:
    await put(client, "a", b"12345")

    response = await client.get("/v1/storage/get/a", headers={"Range": "bytes=5-"})

    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */5"
    assert response.headers["content-type"] == "application/problem+json"


async def test_what_the_client_has_is_304(client: Client) -> None:
    stored = await put(client, "a", b"12345")

    response = await client.get(
        "/v1/storage/get/a", headers={"If-None-Match": f'"{stored["etag"]}"'}
    )
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == f'"{stored["etag"]}"'

    await put(client, "a", b"12345")
    again = await client.get("/v1/storage/get/a", headers={"If-None-Match": f'"{stored["etag"]}"'})
    assert again.status_code == 200


async def test_a_deleted_object_is_gone_and_so_are_its_folders(
    client: Client, store: LocalStore
) -> None:
    await put(client, "a/b/c")

    assert (await client.delete("/v1/storage/delete/a/b/c")).status_code == 204

    missing = await client.get("/v1/storage/get/a/b/c")
    assert missing.status_code == 404
    assert missing.json()["type"] == "/problems/object-not-found"
    assert tree(store) == []
    assert (await client.delete("/v1/storage/delete/a/b/c")).status_code == 204


async def test_the_list_is_sorted_by_the_bytes_of_the_keys(app: Litestar, client: Client) -> None:
    names = ["a", "a!", "a/", "a//b", "a/b", "a/b/c", "a0", "b", "Z", "é", "x" * 300, "_tmp", "."]
    for name in names:
        await send(app, "PUT", PUT + quote(name).encode(), [name.encode()])

    response = await client.get("/v1/storage/list")
    body = response.json()

    assert [each["key"] for each in body["objects"]] == sorted(names, key=str.encode)
    assert body["next"] is None
    for each in body["objects"]:
        assert each["size"] == len(each["key"].encode())
        assert datetime.fromisoformat(each["last_modified"]).tzinfo


async def test_a_prefix_is_of_the_key_and_not_of_a_path(client: Client) -> None:
    for name in ("a/b", "a/bc/d", "a/c", "ab", "b"):
        await put(client, name)

    assert await keys(client, prefix="a/b") == ["a/b", "a/bc/d"]
    assert await keys(client, prefix="a") == ["a/b", "a/bc/d", "a/c", "ab"]
    assert await keys(client, prefix="a/bc/") == ["a/bc/d"]
    for nothing in ("c", "a/b/", "../", "/", "x" * 5000, "a\0"):
        assert await keys(client, prefix=nothing) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_together_are_the_whole_list(client: Client, limit: int) -> None:
    names = sorted([f"{a}{sep}{b}" for a in "ab" for sep in ("", "/", "!/") for b in "xyz"])
    for name in names:
        await put(client, name)

    found: list[str] = []
    token = ""
    while True:
        params: dict[str, Any] = {"limit": limit, "continuation_token": token}
        body = (await client.get("/v1/storage/list", params=params)).json()
        assert len(body["objects"]) <= limit
        found += [each["key"] for each in body["objects"]]
        if body["next"] is None:
            break
        token = body["next"]

    assert found == names


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 10_001}, {"continuation_token": "%%"}])
async def test_a_page_that_cannot_be_asked_for_is_400(
    client: Client, params: dict[str, Any]
) -> None:
    response = await client.get("/v1/storage/list", params=params)

    assert response.status_code == 400
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"/a",
        b"//a",
        b"%2Fa",
        b"..",
        b"../etc/passwd",
        b"%2e%2e/%2e%2e/etc/passwd",
        b"a/..%2f..%2f..%2fetc",
        b"a/../b",
        b"a%00b",
        b"a%0Ab",
        b"a%0Db",
        b"a%09b",
        b"%FF",
        b"x" * 1025,
        b"%C3%A9" * 513,
    ],
)
async def test_a_key_outside_of_the_contract_is_400_everywhere(
    app: Litestar, store: LocalStore, raw: bytes
) -> None:
    for method, route in (("PUT", PUT), ("GET", GET), ("HEAD", GET), ("DELETE", DELETE)):
        answer = await send(app, method, route + raw, [b"evil"])
        assert answer.status == 400, (method, raw)
        if method != "HEAD":
            assert problem(answer)["type"] == "/problems/invalid-key"

    assert tree(store) == []


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"a//b", "a//b"),
        (b"a%2F%2Fb", "a//b"),
        (b"a/b", "a/b"),
        (b"a%2Fb", "a/b"),
        (b"a/", "a/"),
        (b"./a/.", "./a/."),
        (b"%2E/a", "./a"),
        (b"a+b", "a+b"),
        (b"a%20b", "a b"),
        (b"a%252Fb", "a%2Fb"),
        (b"a%3Fb%23c", "a?b#c"),
        ("é".encode(), "é"),
        (b"%F0%9F%8F%94", "\N{SNOW CAPPED MOUNTAIN}"),
        (b"%01%7F", "\x01\x7f"),
        (b"'%22;DROP%20TABLE%20x", "'\";DROP TABLE x"),
        (b"x" * 1024, "x" * 1024),
        (b"%C3%A9" * 512, "é" * 512),
        (b"a" + b"/" * 600, "a" + "/" * 600),
        (b"%01/" * 300, "\x01/" * 300),
    ],
)
async def test_each_key_of_the_contract_is_one_object(
    app: Litestar, client: Client, store: LocalStore, raw: bytes, key: str
) -> None:
    stored = await send(app, "PUT", PUT + raw, [b"here"])
    assert (stored.status, json.loads(stored.body)["key"]) == (200, key)

    assert await keys(client) == [key]
    assert (await send(app, "GET", GET + raw)).body == b"here"
    assert (await send(app, "DELETE", DELETE + raw)).status == 204
    assert tree(store) == []


async def test_keys_that_a_router_would_merge_stay_apart(app: Litestar) -> None:
    raws = [b"a/b", b"a//b", b"a/b/", b"a/./b", b"./a/b", b"a", b"a/"]
    for raw in raws:
        assert (await send(app, "PUT", PUT + raw, [raw])).status == 200

    for raw in raws:
        assert (await send(app, "GET", GET + raw)).body == raw


async def test_a_path_that_only_decodes_to_ours_is_not_ours(app: Litestar) -> None:
    for raw in (b"/v1%2Fstorage/put/a", b"//v1/storage/put/a", b"/v1//storage/put/a"):
        assert (await send(app, "PUT", raw, [b"x"])).status == 404
    assert (await send(app, "PUT", b"/v1/storage/%70ut/a", [b"x"])).status == 200


async def test_the_routes_reach_objects_and_nothing_else(
    app: Litestar, client: Client, store: LocalStore, tmp_path: Path
) -> None:
    store.write("tables/main/people/data/0.parquet", b"rows")
    store.write("_catalog/catalog.db", b"pointers")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret_o").mkdir()
    (outside / "secret_o" / "0000000000000001-00000000").write_bytes(b"secret")
    (store.root / "objects").mkdir()
    (store.root / "objects" / "way").symlink_to(outside)

    assert await keys(client) == []
    for raw in (b"tables/main/people/data/0.parquet", b"_catalog/catalog.db", b"lock"):
        assert (await send(app, "GET", GET + raw)).status == 404
    for method, route in (("GET", GET), ("PUT", PUT), ("DELETE", DELETE)):
        answer = await send(app, method, route + b"way/secret", [b"x"])
        assert answer.status == 400
        assert "symbolic link" in problem(answer)["detail"]
    assert [path.name for path in outside.iterdir()] == ["secret_o"]


@pytest.mark.parametrize(
    ("key", "limit"),
    [(b"big", CONFIG.put_max_bytes), (b"_vectors/big", CONFIG.vectors_put_max_bytes)],
)
async def test_a_body_over_the_limit_is_413_whether_it_says_so_or_not(
    app: Litestar, store: LocalStore, key: bytes, limit: int
) -> None:
    pieces = [b"x" * 500_000] * (limit // 500_000)
    assert (await send(app, "PUT", PUT + key, pieces)).status == 200
    before = tree(store)

    for headers in ({}, {"content-length": str(limit + 1)}, {"content-length": str(limit)}):
        answer = await send(app, "PUT", PUT + key, [*pieces, b"!"], headers=headers)
        assert answer.status == 413
        assert str(limit) in problem(answer)["detail"]
    assert tree(store) == before


async def test_a_body_that_is_too_large_by_its_own_word_is_not_read(app: Litestar) -> None:
    never = anyio.Event()
    with anyio.fail_after(2):
        answer = await send(
            app, "PUT", PUT + b"a", [b"x"], headers={"content-length": "50000000"}, wait=never
        )

    assert answer.status == 413


@pytest.mark.parametrize(
    ("headers", "breaks_off"),
    [
        ({"content-length": "10"}, True),
        ({"content-length": "10"}, False),
        ({"content-length": "2"}, False),
        ({}, True),
    ],
)
async def test_a_body_of_another_length_than_announced_leaves_nothing(
    app: Litestar, store: LocalStore, headers: dict[str, str], breaks_off: bool
) -> None:
    answer = await send(app, "PUT", PUT + b"a/b", [b"abc"], headers=headers, breaks_off=breaks_off)

    assert answer.status == 400
    assert problem(answer)["type"] == "/problems/body-length"
    assert "3 bytes" in problem(answer)["detail"]
    assert tree(store) == []
    assert not list((store.root / "_tmp").iterdir())


async def test_the_fifth_put_at_once_is_503_and_says_when_to_come_back(app: Litestar) -> None:
    go = anyio.Event()
    statuses: list[int] = []

    async def slow(number: int) -> None:
        body = [b"first", b"second"]
        answer = await send(app, "PUT", PUT + str(number).encode(), body, wait=go)
        statuses.append(answer.status)

    async with anyio.create_task_group() as tasks:
        for number in range(CONFIG.put_concurrency_max):
            tasks.start_soon(slow, number)
        await anyio.sleep(0.1)

        fifth = await send(app, "PUT", PUT + b"fifth", [b"x"])
        assert fifth.status == 503
        assert fifth.headers["retry-after"] == "5"
        assert problem(fifth)["retryable"] is True
        go.set()

    assert statuses == [200] * CONFIG.put_concurrency_max
    assert (await send(app, "PUT", PUT + b"fifth", [b"x"])).status == 200


async def test_failed_puts_give_their_slots_back(app: Litestar) -> None:
    for _ in range(3 * CONFIG.put_concurrency_max):
        await send(app, "PUT", PUT + b"a", [b"x"], breaks_off=True)
        await send(app, "PUT", PUT + b"a" * 2000, [b"x"])

    assert (await send(app, "PUT", PUT + b"a", [b"x"])).status == 200


async def test_an_object_that_a_dataset_reads_stays_as_it_is(
    app: Litestar, client: Client, state: State
) -> None:
    await put(client, "raw/a.parquet", b"PAR1")
    state.write(
        lambda tx: tx.execute(
            "INSERT INTO registered_object VALUES ('raw/a.parquet', 'uuid', 'main.people')"
        )
    )

    for method, route in (("PUT", PUT), ("DELETE", DELETE)):
        answer = await send(app, method, route + b"raw/a.parquet", [b"other"])
        assert answer.status == 409
        assert "main.people" in problem(answer)["detail"]
        assert problem(answer)["context"]["dataset"] == "main.people"
    assert (await client.get("/v1/storage/get/raw/a.parquet")).content == b"PAR1"

    state.write(lambda tx: tx.execute("DELETE FROM registered_object"))
    await put(client, "raw/a.parquet", b"other")


async def test_a_content_length_that_is_no_number_is_400(app: Litestar) -> None:
    for text in ("-1", "1e3", "9" * 30, "x"):
        answer = await send(app, "PUT", PUT + b"a", [b"x"], headers={"content-length": text})
        assert answer.status == 400


async def test_the_openapi_page_names_the_key(app: Litestar) -> None:
    paths = app.openapi_schema.to_schema()["paths"]

    for name in ("put", "get", "delete"):
        (operation,) = [
            value for key, value in paths[f"/v1/storage/{name}/{{key}}"].items() if key != "head"
        ]
        assert [each["name"] for each in operation["parameters"]] == ["key"]
