"""Documents: split, embedded, replaced whole, an outcome for each; and searches by words."""

from itertools import count
from typing import Any

import httpx
import numpy as np
import pytest

from lakehouse.app import Lakehouse
from lakehouse.embedding import EmbedderFailedError

NAMES = count()
GUIDE = """# Guide

Read this first.

## Install

Run pip install and then the server starts on port 3110.

## Back up

A copy of the catalog lies in the warehouse, every five minutes.
"""


@pytest.fixture
async def place(client: httpx.AsyncClient) -> str:
    name = f"docs{next(NAMES)}"
    asked = {"name": name, "columns": {"lang": "string"}}
    assert (await client.post("/v1/vectors/index", json=asked)).status_code == 201
    return f"/v1/vectors/index/{name}"


async def put(client: httpx.AsyncClient, place: str, *documents: Any, **said: Any) -> Any:
    answer = await client.post(f"{place}/documents", json={"documents": documents, **said})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(client: httpx.AsyncClient, place: str) -> list[str]:
    page = (await client.get(f"{place}/items", params={"limit": 1000})).json()
    return [each["id"] for each in page["items"]]


async def search(client: httpx.AsyncClient, place: str, **said: Any) -> list[dict[str, Any]]:
    answer = await client.post(f"{place}/search", json=said)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


async def test_a_document_becomes_chunks_that_say_where_they_are_from(
    client: httpx.AsyncClient, place: str
) -> None:
    told = await put(
        client, place, {"id": "guide", "text": GUIDE, "metadata": {"lang": "en"}}, by="heading"
    )
    assert told == {"added": [{"id": "guide", "chunks": 3}], "failed": [], "length": 3}
    (hit,) = await search(client, place, text="how is it installed", k=1)
    assert hit["id"] == "guide#1"
    assert hit["metadata"] == {
        "lang": "en",
        "document": "guide",
        "chunk": 1,
        "headings": ["Guide", "Install"],
    }


async def test_a_document_is_replaced_whole_and_leaves_others_alone(
    client: httpx.AsyncClient, place: str
) -> None:
    long = " ".join(f"Sentence number {n} speaks of lakes." for n in range(60))
    await put(client, place, {"id": "a", "text": long}, {"id": "a#b", "text": "Another one."})
    assert len(await ids(client, place)) > 2
    told = await put(client, place, {"id": "a", "text": "Only this is left of it."})
    assert told["length"] == 2
    assert await ids(client, place) == ["a#0", "a#b#0"]
    found = await search(client, place, text="lakes", k=100)
    assert sorted(each["id"] for each in found) == ["a#0", "a#b#0"]


async def test_what_is_wrong_with_one_document_leaves_the_others(
    client: httpx.AsyncClient, place: str
) -> None:
    told = await put(
        client,
        place,
        {"id": "good", "text": "A lake in winter."},
        {"id": "empty", "text": "  \n"},
        {"id": "", "text": "No name."},
        {"id": "mine", "text": "Reserved.", "metadata": {"document": "other"}},
        {"id": "typed", "text": "Wrong.", "metadata": {"lang": 5}},
        {"id": "better", "text": "A lake in summer."},
    )
    assert [each["id"] for each in told["added"]] == ["good", "better"]
    assert [(each["index"], each["id"]) for each in told["failed"]] == [
        (1, "empty"),
        (2, ""),
        (3, "mine"),
        (4, "typed"),
    ]
    assert all(not each["retryable"] for each in told["failed"])
    assert [each["detail"].partition(":")[0] for each in told["failed"]] == [
        f"document {number}" for number in (1, 2, 3, 4)
    ]
    assert await ids(client, place) == ["better#0", "good#0"]


@pytest.mark.parametrize(
    "said", [{"size": 10}, {"overlap": 900}, {"by": "page"}, {"documents": []}, {"texts": []}]
)
async def test_what_cannot_be_split_so_is_refused(
    client: httpx.AsyncClient, place: str, said: dict[str, Any]
) -> None:
    asked = {"documents": [{"id": "a", "text": "A lake."}], **said}
    answer = await client.post(f"{place}/documents", json=asked)
    if answer.status_code == 200:  # of each document: the request as such is one
        assert answer.json()["failed"][0]["detail"] and not answer.json()["added"]
    else:
        assert answer.status_code == 400 and answer.json()["detail"]
    assert await ids(client, place) == []


async def test_a_model_that_goes_away_half_way_fails_the_rest_which_can_be_sent_again(
    client: httpx.AsyncClient, place: str, lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = next(iter(lake.embedding._providers.values()))
    embed, calls = provider.embed, []

    async def goes_away(texts: Any) -> Any:
        calls.append(texts)
        if len(calls) > 2:
            raise EmbedderFailedError("static", "it is away")
        return await embed(texts)

    documents = [{"id": f"d{n}", "text": f"Lake {place} number {n} freezes."} for n in range(5)]
    monkeypatch.setattr(provider, "embed", goes_away)
    told = await put(client, place, *documents)
    assert [each["id"] for each in told["added"]] == ["d0", "d1"]
    assert [(each["id"], each["retryable"]) for each in told["failed"]] == [
        ("d2", True),
        ("d3", True),
        ("d4", True),
    ]
    assert len(calls) == 3  # who is away is not asked for each of the others
    again = await client.post(f"{place}/documents", json={"documents": documents[2:]})
    assert again.status_code == 502
    monkeypatch.setattr(provider, "embed", embed)
    told = await put(client, place, *documents)
    assert told["failed"] == [] and told["length"] == 5


async def test_words_are_found_whatever_they_mean(client: httpx.AsyncClient, place: str) -> None:
    items = [
        {"id": "code", "text": "Error E4711 while the pump starts.", "metadata": {"lang": "en"}},
        {"id": "near", "text": "The pump makes a strange noise.", "metadata": {"lang": "en"}},
        {"id": "see", "text": "Zürich liegt am See.", "metadata": {"lang": "de", "n": 7}},
        {"id": "bare", "vector": np.eye(256)[0].tolist()},
    ]
    await client.post(f"{place}/add", json={"items": items})
    found = await search(client, place, text="e4711", mode="text")
    assert [each["id"] for each in found] == ["code"]
    assert found[0]["score"] > 0 and "distance" not in found[0]
    assert [h["id"] for h in await search(client, place, text="zurich", mode="text")] == ["see"]
    both = await search(client, place, text="pump e4711", mode="text", k=2)
    assert [each["id"] for each in both] == ["code", "near"]
    for said in ({"lang": "de"}, {"n": 7}):
        assert await search(client, place, text="pump", mode="text", filter=said) == []
        found = await search(client, place, text="am see pump", mode="text", filter=said)
        assert [each["id"] for each in found] == ["see"]
    # What is written after the index of words is found, and what is gone is not.
    await client.post(f"{place}/add", json={"items": [{"id": "new", "text": "E4711 again"}]})
    await client.post(f"{place}/delete", json={"ids": ["code"]})
    assert [h["id"] for h in await search(client, place, text="e4711", mode="text")] == ["new"]


async def test_a_filter_of_undeclared_keys_is_asked_of_all_that_match(
    client: httpx.AsyncClient, place: str
) -> None:
    items = [
        {"id": f"i{n:03}", "text": "pump " * (200 - n), "metadata": {"n": n}} for n in range(150)
    ]
    await client.post(f"{place}/add", json={"items": items})
    for number in (3, 77, 149):
        said = {"n": number}
        found = await search(client, place, text="pump", mode="text", k=1, filter=said)
        assert [each["metadata"] for each in found] == [said]


async def test_hybrid_has_what_either_way_finds_and_first_what_both_do(
    client: httpx.AsyncClient, place: str
) -> None:
    texts = {
        "both": "The invoice 8812 was paid in March.",
        "word": "8812 is the number of a bus line.",
        "meaning": "The bill has been settled in spring.",
        "neither": "Penguins swim under the ice.",
    }
    items = [{"id": name, "text": text} for name, text in texts.items()]
    await client.post(f"{place}/add", json={"items": items})
    found = await search(client, place, text="was invoice 8812 paid", mode="hybrid", k=4)
    assert found[0]["id"] == "both" and found[0]["score"] > found[1]["score"]
    assert {each["id"] for each in found} == set(texts)
    assert all("distance" in each for each in found)
    told = await client.post(
        f"{place}/search", json={"text": "8812", "mode": "hybrid", "explain": True}
    )
    assert told.json()["explain"]["way"] == "memory and words"


async def test_words_need_a_text(client: httpx.AsyncClient, place: str) -> None:
    asked = {"vector": [1.0] * 256, "mode": "hybrid"}
    answer = await client.post(f"{place}/search", json=asked)
    assert answer.status_code == 400 and "send a `text`" in answer.json()["detail"]
