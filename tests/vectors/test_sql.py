"""Search results and collections inside SQL: through the same gate, by the same grants."""

from typing import Any

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app
from lakehouse.auth import Grant, TokenCreate
from tests.services import client_of

PEOPLE = [
    {"id": "1", "name": "Ada", "city": "London"},
    {"id": "2", "name": "Bo", "city": "Bern"},
    {"id": "3", "name": "Cy", "city": "Bern"},
]
SKILLS = {"1": "mathematics and engines", "2": "baking bread and cakes", "3": "welding of pipes"}


@pytest.fixture(scope="module", autouse=True)
async def people(lake: Lakehouse) -> None:
    async with client_of(create_app(lake).from_operator) as client:
        columns = [{"name": name, "type": "string"} for name in ("id", "name", "city")]
        for ns in ("main", "hidden"):
            if ns != "main":
                await client.post("/v1/namespaces", json={"name": ns})
            asked = {"name": f"{ns}.skills", "columns": {"level": "integer"}}
            assert (await client.post("/v1/vectors/index", json=asked)).status_code == 201
            items = [
                {"id": n, "text": text, "metadata": {"level": int(n), "of": ns}}
                for n, text in SKILLS.items()
            ]
            await client.post(f"/v1/vectors/index/{ns}.skills/add", json={"items": items})
        await client.post("/v1/tables", json={"name": "people", "columns": columns})
        await client.post("/v1/tables/people/rows", json={"rows": PEOPLE})


async def sql(client: httpx.AsyncClient, text: str, **said: Any) -> httpx.Response:
    return await client.post("/v1/sql", json={"sql": text, **said})


async def test_what_a_search_finds_joins_with_a_table(client: httpx.AsyncClient) -> None:
    answer = await sql(
        client,
        "SELECT name, rank, distance < 1 AS near FROM hits JOIN people USING (id) ORDER BY rank",
        search={"hits": {"collection": "skills", "text": "who can bake", "k": 2}},
    )
    assert answer.status_code == 200, answer.text
    rows = answer.json()["rows"]
    assert rows[0] == ["Bo", 1, True] and [row[1] for row in rows] == [1, 2]


async def test_its_columns_are_typed_and_its_filter_holds(client: httpx.AsyncClient) -> None:
    search = {
        "collection": "skills",
        "text": "pipes",
        "k": 10,
        "mode": "hybrid",
        "filter": {"level": {"$gte": 2}},
    }
    text = "SELECT id, level + 1, metadata->>'of', score > 0, rank FROM found ORDER BY rank LIMIT 1"
    answer = await sql(client, text, search={"found": search})
    assert answer.json()["rows"] == [["3", 4, "main", True, 1]]
    told = await sql(client, "SELECT count(*) FROM Found", search={"FOUND": search})
    assert told.json()["rows"] == [[2]]


async def test_it_comes_before_a_table_of_its_name_and_for_this_statement_alone(
    client: httpx.AsyncClient,
) -> None:
    text = "SELECT count(*) FROM people"
    search = {"people": {"collection": "skills", "text": "bread", "k": 1}}
    assert (await sql(client, text)).json()["rows"] == [[3]]
    assert (await sql(client, text, search=search)).json()["rows"] == [[1]]
    assert (await sql(client, text)).json()["rows"] == [[3]]
    assert (await sql(client, "SELECT * FROM hits")).status_code == 400


async def test_all_items_of_a_collection_are_a_table(client: httpx.AsyncClient) -> None:
    text = "SELECT id, text, level, metadata->>'of' FROM vectors.skills ORDER BY id"
    answer = await sql(client, text)
    assert answer.json()["rows"] == [
        [n, said, int(n), "main"] for n, said in sorted(SKILLS.items())
    ]
    answer = await sql(client, 'SELECT count(*) FROM vectors."hidden.skills" WHERE level > 1')
    assert answer.json()["rows"] == [[2]]
    assert (await sql(client, "SELECT * FROM vectors.nothing")).status_code == 400


async def test_what_was_added_a_moment_ago_is_there(client: httpx.AsyncClient) -> None:
    await client.post("/v1/vectors/index", json={"name": "fresh", "dimension": 2})
    for number in range(5):
        items = [{"id": str(number), "vector": [1, number]}]
        await client.post("/v1/vectors/index/fresh/add", json={"items": items})
        answer = await sql(client, "SELECT count(*) FROM vectors.fresh")
        assert answer.json()["rows"] == [[number + 1]]


@pytest.mark.parametrize(
    ("search", "status"),
    [
        ({"hits": {"collection": "nobody", "text": "a"}}, 404),
        ({"hits": {"collection": "skills"}}, 400),
        ({"hits": {"collection": "skills", "text": "a", "k": 0}}, 400),
        ({"hits": {"collection": "skills", "text": "a", "filter": {"$no": 1}}}, 400),
        ({"not a name": {"collection": "skills", "text": "a"}}, 400),
        ({f"h{n}": {"collection": "skills", "text": "a"} for n in range(9)}, 400),
        ({"hits": {"collection": "skills", "text": "a", "of": 1}}, 400),
    ],
)
async def test_a_search_that_cannot_be_is_refused(
    client: httpx.AsyncClient, search: Any, status: int
) -> None:
    answer = await sql(client, "SELECT 1", search=search)
    assert answer.status_code == status and answer.json()["detail"]


async def test_what_a_caller_may_not_read_is_not_there(lake: Lakehouse) -> None:
    lake.tokens.create(TokenCreate("keeper", [Grant("admin")]))
    secret = lake.tokens.create(TokenCreate("reader", [Grant("reader", "main")])).token
    async with client_of(create_app(lake)) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        for text in ('vectors."hidden.skills"', 'vectors."nowhere.skills"'):
            refused = await sql(client, f"SELECT * FROM {text}")
            assert refused.status_code == 400 and "of hidden" not in refused.text
        search = {"hits": {"collection": "hidden.skills", "text": "bread"}}
        assert (await sql(client, "SELECT * FROM hits", search=search)).status_code == 404
        assert (await sql(client, "SELECT id FROM vectors.skills")).status_code == 200
