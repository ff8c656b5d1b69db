"""`/v1/vectors`: the contract of collections, over HTTP."""

import base64
import struct
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import httpx
import numpy as np
import pytest

NAMES = count()
Made = Callable[..., Awaitable[str]]


@pytest.fixture
def made(client: httpx.AsyncClient) -> Made:
    """Makes a collection and returns the path of its routes."""

    async def make(**said: Any) -> str:
        name = f"c{next(NAMES)}"
        asked = {"name": name, "dimension": 3, **said}
        answer = await client.post("/v1/vectors/index", json=asked)
        assert answer.status_code == 201, answer.text
        return f"/v1/vectors/index/{name}"

    return make


def item(name: str, *vector: float, **metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": name, "vector": vector}
    return {**found, "metadata": metadata} if metadata else found


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


async def add(client: httpx.AsyncClient, place: str, *items: dict[str, Any]) -> Any:
    answer = await client.post(f"{place}/add", json={"items": items})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def search(client: httpx.AsyncClient, place: str, **said: Any) -> list[dict[str, Any]]:
    answer = await client.post(f"{place}/search", json=said)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


async def test_a_collection_is_made_described_listed_and_dropped(client: httpx.AsyncClient) -> None:
    asked = {"name": "people", "dimension": 3, "distance": "euclidean", "m": 16, "ef_search": 50}
    answer = await client.post("/v1/vectors/index", json=asked)
    assert answer.status_code == 201
    assert {key: answer.json()[key] for key in asked} == asked
    assert answer.json()["length"] == 0
    listed = (await client.get("/v1/vectors/index")).json()
    assert "people" in listed["names"] and listed["count"] == len(listed["names"])
    again = await client.post("/v1/vectors/index", json={"name": "People", "dimension": 4})
    assert again.status_code == 409
    assert (await client.delete("/v1/vectors/index/people")).status_code == 204
    gone = await client.get("/v1/vectors/index/people")
    assert gone.status_code == 404 and gone.json()["type"] == "/problems/collection-not-found"
    assert (await client.delete("/v1/vectors/index/people")).status_code == 404
    assert (await client.post("/v1/vectors/index", json=asked)).status_code == 201


async def test_what_was_added_is_found_by_the_next_search(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made()
    told = await add(client, place, item("x", 1, 0, 0, of="axis"), item("y", 0, 2, 0))
    assert told == {"added": 2, "length": 2}
    found = await search(client, place, vector=[1, 0.1, 0], k=5)
    assert [each["id"] for each in found] == ["x", "y"]
    assert found[0]["metadata"] == {"of": "axis"} and found[1]["metadata"] == {}
    true = 1 - 1 / np.sqrt(1.0 + np.float64(np.float32(0.1)) ** 2)
    assert found[0]["distance"] == pytest.approx(true, abs=1e-12)
    assert (await search(client, place, vector=[0, 5, 0], k=1))[0]["distance"] == pytest.approx(0)


async def test_an_euclidean_distance_is_the_length_of_the_difference(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made(distance="euclidean")
    await add(client, place, item("a", 0, 0, 0), item("b", 3, 4, 0))
    found = await search(client, place, vector=[0, 0, 0])
    assert [(each["id"], each["distance"]) for each in found] == [("a", 0.0), ("b", 5.0)]


async def test_an_id_that_is_there_is_replaced_and_keeps_the_metadata_it_was_not_sent(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made()
    await add(client, place, item("x", 1, 0, 0, of="axis"))
    assert await add(client, place, item("x", 0, 1, 0)) == {"added": 1, "length": 1}
    (found,) = await search(client, place, vector=[0, 1, 0])
    assert found["metadata"] == {"of": "axis"} and found["distance"] == pytest.approx(0)
    await add(client, place, {"id": "x", "vector": [0, 1, 0], "metadata": None})
    assert (await search(client, place, vector=[0, 1, 0]))[0]["metadata"] == {"of": "axis"}
    await add(client, place, {"id": "x", "vector": [0, 1, 0], "metadata": {}})
    assert (await search(client, place, vector=[0, 1, 0]))[0]["metadata"] == {}


async def test_of_an_id_that_is_twice_in_a_request_the_last_holds(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made()
    told = await add(client, place, item("x", 1, 0, 0, n=1), item("y", 0, 0, 1), item("x", 0, 1, 0))
    assert told == {"added": 2, "length": 2}
    found = await search(client, place, vector=[0, 1, 0], k=1)
    assert found == [{"id": "x", "distance": pytest.approx(0), "metadata": {"n": 1}}]


async def test_a_vector_may_be_the_base64_of_its_numbers(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made()
    await add(client, place, item("list", 0.1, 0.2, 0.3), {"id": "text", "vector": packed(1, 0, 0)})

    found = await search(client, place, vector=packed(0.1, 0.2, 0.3))

    assert found == await search(client, place, vector=[0.1, 0.2, 0.3])
    assert [each["id"] for each in found] == ["list", "text"]
    assert found[0]["distance"] == pytest.approx(0)
    answer = await client.post(f"{place}/search", json={"vector": "nothing of it"})
    assert answer.status_code == 400 and "base64" in answer.json()["detail"], answer.text


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([item("a", 1, 2)], "has 2 numbers"),
        ([item("a", 0, 0, 0)], "zero"),
        ([item("a", 1e39, 0, 0)], "beyond float32"),
        ([{"id": "a", "vector": packed(1, 2)}], "has 2 numbers"),
        ([{"id": "a", "vector": packed(0, 0, 0)}], "zero"),
        ([{"id": "a", "vector": packed(float("nan"), 0, 0)}], "a number that is none"),
        ([{"id": "a", "vector": packed(1, 2, 3)[:-2]}], "no base64"),
        ([{"id": "a", "vector": "AACAPwAAgD8AAIA_"}], "no base64"),
        ([{"id": "a", "vector": "AACAPwAA"}], "no base64 of whole float32s"),
        ([{"id": "a", "vector": ""}], "numbers"),
        ([item("", 1, 0, 0)], "id is empty"),
        ([item("n\0l", 1, 0, 0)], "NUL"),
        ([item("x" * 513, 1, 0, 0)], "over 512 bytes"),
        ([{"id": "a"}], "neither a vector nor a text"),
        ([{"id": "a", "vector": [1, 0, 0], "text": "b"}], "has both"),
        ([{"id": "a", "vector": [1, 0, 0], "metadata": [1]}], "no object"),
        ([{"id": "a", "vector": [1, 0, 0], "score": 1}], "score"),
    ],
)
async def test_one_bad_item_refuses_the_request_and_nothing_of_it_is_added(
    client: httpx.AsyncClient, made: Made, items: list[dict[str, Any]], says: str
) -> None:
    place = await made()
    answer = await client.post(f"{place}/add", json={"items": [item("ok", 1, 1, 1), *items]})
    assert answer.status_code == 400 and says in answer.json()["detail"], answer.text
    assert (await client.get(place)).json()["length"] == 0


@pytest.mark.parametrize("body", ['{"items": [{"id": "a", "vector": [NaN, 0, 0]}]}', "{", "[]"])
async def test_a_body_that_is_no_json_of_items_is_refused(
    client: httpx.AsyncClient, made: Made, body: str
) -> None:
    answer = await client.post(f"{await made()}/add", content=body)
    assert answer.status_code == 400 and answer.json()["detail"]


async def test_the_field_is_called_items(client: httpx.AsyncClient, made: Made) -> None:
    answer = await client.post(f"{await made()}/add", json={"vectors": [item("a", 1, 0, 0)]})
    assert answer.status_code == 400 and "items" in answer.json()["detail"]


async def test_ten_thousand_items_are_the_most(client: httpx.AsyncClient, made: Made) -> None:
    place = await made()
    many = [item(str(number), 1, 0, 0) for number in range(10_001)]
    answer = await client.post(f"{place}/add", json={"items": many})
    assert answer.status_code == 413 and answer.json()["context"]["count_max"] == 10_000


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"vector": [1, 0]}, 400),
        ({"vector": [0, 0, 0]}, 400),
        ({}, 400),
        ({"vector": [1, 0, 0], "text": "a"}, 400),
        ({"vector": [1, 0, 0], "k": 0}, 400),
        ({"vector": [1, 0, 0], "k": -1}, 400),
        ({"vector": [1, 0, 0], "k": 10**9}, 400),
        ({"vector": [1, 0, 0], "filter": {"$near": 1}}, 400),
        ({"text": "a word"}, 400),
        ({"vector": [1, 0, 0], "k": 10_000}, 200),
    ],
)
async def test_a_search_that_cannot_be_is_refused(
    client: httpx.AsyncClient, made: Made, said: dict[str, Any], status: int
) -> None:
    answer = await client.post(f"{await made()}/search", json=said)
    assert answer.status_code == status and (status == 200 or answer.json()["detail"])


@pytest.mark.parametrize("dimension", [0, -1, 4097, 1.5, "three"])
async def test_a_dimension_is_1_to_4096(client: httpx.AsyncClient, dimension: Any) -> None:
    answer = await client.post("/v1/vectors/index", json={"name": "d", "dimension": dimension})
    assert answer.status_code == 400 and "dimension" in answer.json()["detail"]


async def test_texts_are_embedded_with_the_collections_model(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made(dimension=None, model="static-minilm-256")
    assert (await client.get(place)).json()["dimension"] == 256
    texts = {"cat": "a cat sleeps on the sofa", "bank": "interest rates of central banks"}
    await add(client, place, *[{"id": name, "text": text} for name, text in texts.items()])
    found = await search(client, place, text="a kitten on a couch", k=2)
    assert [each["id"] for each in found] == ["cat", "bank"]
    got = await client.post(f"{place}/get", json={"ids": ["cat"]})
    assert got.json()["items"][0]["text"] == texts["cat"]


async def test_a_collection_of_another_dimension_takes_no_texts(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made()
    answer = await client.post(f"{place}/add", json={"items": [{"id": "a", "text": "a cat"}]})
    assert answer.status_code == 400 and "gives 256" in answer.json()["detail"]


async def test_a_filter_is_applied_before_the_search(client: httpx.AsyncClient, made: Made) -> None:
    place = await made(columns={"year": "integer"})
    many = [item(f"i{n}", 1, n / 100, 0, year=2000 + n, odd=n % 2 == 1) for n in range(100)]
    await add(client, place, *many)
    found = await search(client, place, vector=[1, 0, 0], k=3, filter={"year": {"$gte": 2090}})
    assert [each["id"] for each in found] == ["i90", "i91", "i92"]
    found = await search(client, place, vector=[1, 0, 0], k=2, filter={"odd": True})
    assert [each["id"] for each in found] == ["i1", "i3"]
    assert await search(client, place, vector=[1, 0, 0], filter={"nothing": 1}) == []
    wrong = await client.post(
        f"{place}/search", json={"vector": [1, 0, 0], "filter": {"year": "late"}}
    )
    assert wrong.status_code == 400 and "year" in wrong.json()["detail"]


async def test_a_declared_column_holds_what_it_is_declared_as(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made(columns={"year": "integer", "at": "timestamp"})
    for metadata in ({"year": "2020"}, {"year": 1.5}, {"year": True}, {"at": "yesterday"}):
        answer = await client.post(f"{place}/add", json={"items": [item("a", 1, 0, 0, **metadata)]})
        assert answer.status_code == 400 and "declares" in answer.json()["detail"]
    await add(client, place, item("a", 1, 0, 0, year=2020.0, at="2026-01-31T12:00:00+01:00"))
    early = {"at": {"$lt": "2026-01-31T11:30:00Z"}}
    assert len(await search(client, place, vector=[1, 0, 0], filter=early)) == 1


async def test_a_number_beyond_the_doubles_is_refused_where_columns_are_read(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made(columns={"year": "integer"})
    text = '{"items": [{"id": "a", "vector": [1, 0, 0], "metadata": {"year": 1e999}}]}'
    answer = await client.post(f"{place}/add", content=text)
    assert answer.status_code == 400 and "Number out of range" in answer.json()["detail"]


async def test_a_moment_outside_of_the_calendar_is_refused(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made(columns={"at": "timestamp"})
    early = item("a", 1, 0, 0, at="0001-01-01T00:00:00+01:00")
    answer = await client.post(f"{place}/add", json={"items": [early]})
    assert answer.status_code == 400 and "is no timestamp" in answer.json()["detail"]


@pytest.mark.parametrize(
    "names",
    [["a.b"], ["a`b"], ["_rowid"], ["_distance"], ["__row"], ["$gt"], ["Score"], ["a", "A"], [""]],
)
async def test_a_column_that_no_filter_could_ask_for_is_refused(
    client: httpx.AsyncClient, names: list[str]
) -> None:
    asked = {"name": "odd", "dimension": 3, "columns": dict.fromkeys(names, "integer")}
    answer = await client.post("/v1/vectors/index", json=asked)
    assert answer.status_code == 400 and "column" in answer.json()["detail"]
    assert (await client.get("/v1/vectors/index/odd")).status_code == 404


async def test_items_are_read_deleted_and_paged(client: httpx.AsyncClient, made: Made) -> None:
    place = await made()
    await add(client, place, *[item(f"i{n:02}", 1, n, 0, n=n) for n in range(25)])
    first = (await client.get(f"{place}/items", params={"limit": 20})).json()
    assert [each["id"] for each in first["items"]] == [f"i{n:02}" for n in range(20)]
    rest = await client.get(f"{place}/items", params={"limit": 20, "cursor": first["next_cursor"]})
    assert [each["id"] for each in rest.json()["items"]] == [f"i{n:02}" for n in range(20, 25)]
    assert rest.json()["next_cursor"] is None
    asked = {"ids": ["i03", "nobody", "i01"], "with_vectors": True}
    got = (await client.post(f"{place}/get", json=asked)).json()["items"]
    assert [(each["id"], each["vector"]) for each in got] == [
        ("i01", [1, 1, 0]),
        ("i03", [1, 3, 0]),
    ]
    gone = await client.post(f"{place}/delete", json={"ids": ["i01", "nobody"]})
    assert gone.json() == {"deleted": 1, "length": 24}
    gone = await client.post(f"{place}/delete", json={"filter": {"n": {"$gte": 5}}})
    assert gone.json() == {"deleted": 20, "length": 4}
    assert [each["id"] for each in await search(client, place, vector=[1, 0, 0])] == [
        "i00",
        "i02",
        "i03",
        "i04",
    ]
    for wrong in ({}, {"ids": ["a"], "filter": {}}):
        assert (await client.post(f"{place}/delete", json=wrong)).status_code == 400


async def test_a_merge_moves_what_the_destination_has_not(
    client: httpx.AsyncClient, made: Made
) -> None:
    source, dest = await made(), await made()
    await add(client, source, item("a", 1, 0, 0, of="source"), item("b", 0, 1, 0, of="source"))
    await add(client, dest, item("b", 0, 0, 1, of="dest"))
    name = dest.rsplit("/", 1)[1]
    answer = await client.post(f"{source}/merge", json={"dest": name, "clear_source": True})
    assert answer.json() == {"merged": 1, "skipped": 1, "length": 2}
    assert (await client.get(source)).json()["length"] == 0
    found = await search(client, dest, vector=[0, 0, 1])
    assert [(each["id"], each["metadata"]["of"]) for each in found] == [
        ("b", "dest"),
        ("a", "source"),
    ]


async def test_a_merge_that_cannot_be_is_refused(client: httpx.AsyncClient, made: Made) -> None:
    source, other = await made(), await made(dimension=4)
    for dest, status in ((source, 400), (other, 400), ("/nobody", 404)):
        asked = {"dest": dest.rsplit("/", 1)[1]}
        assert (await client.post(f"{source}/merge", json=asked)).status_code == status


async def test_a_search_says_how_it_was_done(client: httpx.AsyncClient, made: Made) -> None:
    place = await made()
    await add(client, place, item("a", 1, 0, 0, n=1), item("b", 0, 1, 0))
    asked = {"vector": [1, 0, 0], "explain": True, "filter": {"n": 1}}
    told = (await client.post(f"{place}/search", json=asked)).json()
    assert told["explain"] == {"way": "memory", "items": 2, "passed": 1, "approximate": False}
    assert "approximate" not in told


async def test_a_check_of_an_exact_collection_finds_all(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made()
    rng = np.random.default_rng(7)
    await add(client, place, *[item(str(n), *rng.standard_normal(3)) for n in range(50)])
    told = (await client.post(f"{place}/check", json={"queries": 20, "k": 5})).json()
    assert told == {"queries": 20, "k": 5, "recall": 1.0, "items": 50, "approximate": False}
    index = (await client.get(place)).json()["index"]
    assert index["recall"] == 1.0 and index["recall_k"] == 5 and index["state"] == "none"


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("add", '{"items": [{"id": "a", "id": "b", "vector": [1, 0, 0]}]}', "items[0].id"),
        (
            "add",
            '{"items": [{"id": "t", "text": "%s"}, {"id": "a", "vector": [1, 0, 0],'
            ' "metadata": {"k": {"x": 1, "y": [{"z": 1, "z" : 2}]}}}]}' % ("x" * 3000),
            "items[1].metadata.k.y[0].z",
        ),
        (
            "add",
            '{"items": [{"id": "a", "text": "' + "x" * 3000 + '"}], "items": []}',
            "items",
        ),
        (
            "add",
            '{"items": [{"id": "a", "vector": [1, 0, 0], "vector": %s}]}' % ([0.5] * 3000),
            "items[0].vector",
        ),
        (
            "add",
            '{"items": [{"id": "a", "vector": "%s", "vector": [1, 0, 0]}]}' % ("QUFB" * 900),
            "items[0].vector",
        ),
        (
            "add",
            '{"items": [{"id": "a", "text": "b", "metadata": {NAME: 1, NAME: 2}}]}'.replace(
                "NAME", f'"{"QUFB" * 300}"'
            ),
            ("items[0].metadata." + "QUFB" * 300)[:200],
        ),
        (
            "add",
            '{"items": [{"id": "a", "text": "b", "metadata": {"Q-": 1, "\\u0051-" : 2}}]}'.replace(
                "-", "Q" * 1999
            ),
            ("items[0].metadata." + "Q" * 2000)[:200],
        ),
        (
            "documents",
            '{"documents": [{"id": "a", "text": "b", "text": "c"}]}',
            "documents[0].text",
        ),
    ],
)
async def test_a_field_that_is_twice_is_refused_in_long_bodies_too(
    client: httpx.AsyncClient, made: Made, route: str, body: str, field: str
) -> None:
    place = await made()
    refused = await client.post(f"{place}/{route}", content=body)
    assert refused.status_code == 400
    assert f"the field {field!r} is twice" in refused.json()["detail"]
    assert (await client.get(place)).json()["length"] == 0


async def test_what_looks_like_a_field_inside_of_a_text_is_none(
    client: httpx.AsyncClient, made: Made
) -> None:
    place = await made(dimension=256)
    code = '{"a": 1, "a": 2} ' * 200
    ones, twos = (f"k{[number] * 40}" for number in (1, 2))  # names that differ by a list alone
    said = {"of": code[:900], 'q": "q': 1, ones: 1, twos: 2}
    said |= {"QUFB" * 200: 1, "QUFC" * 200: 2, "of escapes": '"' + "QUFB" * 200 + '\\"'}
    items = [{"id": "code", "text": code, "metadata": said}]
    assert (await client.post(f"{place}/add", json={"items": items})).status_code == 200
