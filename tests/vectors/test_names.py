"""Names of collections and ids of items that would like to be something else."""

from urllib.parse import quote

import httpx
import pytest

HOSTILE = [
    "it's",
    'a "quoted" one',
    "semi;colon -- comment",
    "with.dots.in.it",
    "🐘 collections",
    "percent %2e%2e",
    "back\\slash",
    "x" * 255,
]
REFUSED = ["", " ", "a/b", "../up", "nul\0", "x" * 256, "trailing ", "tab\t", ".", ".."]
IDS = [*HOSTILE, "../../etc/passwd", "a/b", "' OR id <> '", "') OR true --", "new\nline", " "]


def place(name: str) -> str:
    return f"/v1/vectors/index/{quote('main.' + name, safe='')}"


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_a_collection_like_any_other(
    client: httpx.AsyncClient, name: str
) -> None:
    asked = {"name": f"main.{name}", "dimension": 2}
    made = await client.post("/v1/vectors/index", json=asked)
    assert made.status_code == 201, made.text
    items = {"items": [{"id": "a", "vector": [1, 0], "metadata": {"of": name}}]}
    assert (await client.post(f"{place(name)}/add", json=items)).status_code == 200
    found = await client.post(f"{place(name)}/search", json={"vector": [1, 0]})
    assert found.json()["results"][0]["metadata"] == {"of": name}
    listed = f"main.{name}" if "." in name else name  # what comes before a dot is a namespace
    assert listed in (await client.get("/v1/vectors/index")).json()["names"]
    assert (await client.delete(place(name))).status_code == 204


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_a_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    asked = {"name": name, "dimension": 2}
    refused = await client.post("/v1/vectors/index", json=asked)
    assert refused.status_code == 400 and refused.json()["detail"]


async def test_a_hostile_id_is_an_id_like_any_other(client: httpx.AsyncClient) -> None:
    name = "ids"
    await client.post("/v1/vectors/index", json={"name": name, "dimension": 2})
    items = [{"id": each, "vector": [1, n]} for n, each in enumerate(IDS)]
    told = await client.post(f"{place(name)}/add", json={"items": items})
    assert told.json() == {"added": len(IDS), "length": len(IDS)}
    page = (await client.get(f"{place(name)}/items", params={"limit": 1000})).json()
    assert [each["id"] for each in page["items"]] == sorted(IDS, key=str.encode)
    for each in IDS:
        got = await client.post(f"{place(name)}/get", json={"ids": [each]})
        assert [item["id"] for item in got.json()["items"]] == [each]
        asked = {"vector": [1, 0], "filter": {"id": each}}
        found = await client.post(f"{place(name)}/search", json=asked)
        assert [hit["id"] for hit in found.json()["results"]] == [each]
    for number, each in enumerate(IDS, start=1):
        gone = await client.post(f"{place(name)}/delete", json={"ids": [each]})
        assert gone.json() == {"deleted": 1, "length": len(IDS) - number}
