"""Collections over the client, against a real server."""

from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from lakehouse.client import Client
from lakehouse.errors import ConflictError, InvalidInputError, NotFoundError
from tests.services import ServerProcess


@pytest.fixture
def lake(served: ServerProcess) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def test_items_are_added_found_read_and_deleted(lake: Client) -> None:
    made = lake.vectors.create("points", dimension=2, columns={"year": "integer"})
    items = [
        {"id": f"p{n:03}", "vector": [1.0, float(n)], "metadata": {"year": 2000 + n}}
        for n in range(150)
    ]

    added = lake.vectors.add("points", items)
    found = lake.vectors.search("points", vector=[1.0, 0.0], k=2, filter={"year": {"$gte": 2003}})

    assert made.dimension == 2
    assert (added.added, added.length) == (150, 150)
    assert [(hit.id, hit.metadata["year"]) for hit in found.results] == [
        ("p003", 2003),
        ("p004", 2004),
    ]
    assert [item.id for item in lake.vectors.items("points")] == [item["id"] for item in items]
    assert lake.vectors.get("points", ["p001", "nobody"], with_vectors=True)[0].vector == [1.0, 1.0]
    assert lake.vectors.delete("points", ["p000"]).length == 149
    assert lake.vectors.delete("points", filter={"year": {"$gt": 2010}}).length == 10
    assert lake.vectors.check("points", queries=5, k=3).recall == 1.0


def test_texts_are_searched_by_what_they_mean(lake: Client) -> None:
    lake.vectors.create("notes")
    texts = {"ice": "The lake froze over in January.", "bank": "Interest rates were raised again."}
    lake.vectors.add("notes", [{"id": name, "text": text} for name, text in texts.items()])

    found = lake.vectors.search("notes", "frozen water in winter", k=1, explain=True)

    assert found.results[0].id == "ice"
    assert found.explain is not None
    assert found.explain["way"] == "memory"


def test_a_collection_is_merged_listed_and_dropped(lake: Client) -> None:
    for name in ("source", "dest"):
        lake.vectors.create(name, dimension=2)
        lake.vectors.add(name, [{"id": "both", "vector": [1, 0]}, {"id": name, "vector": [0, 1]}])

    merged = lake.vectors.merge("source", "dest", clear_source=True)
    lake.vectors.drop("source")

    assert (merged.merged, merged.skipped, merged.length) == (1, 1, 3)
    assert {name.rpartition(".")[2] for name in lake.vectors.list()} & {"source", "dest"} == {
        "dest"
    }
    assert lake.vectors.info("dest").length == 3
    with pytest.raises(NotFoundError):
        lake.vectors.info("source")


def test_what_is_wrong_has_its_kind(lake: Client) -> None:
    lake.vectors.create("strict", dimension=2)
    with pytest.raises(ConflictError):
        lake.vectors.create("strict", dimension=2)
    with pytest.raises(InvalidInputError):
        lake.vectors.add("strict", [{"id": "a", "vector": [1, 0]}, {"id": "b", "vector": [1]}])
    assert lake.vectors.info("strict").length == 0


@pytest.mark.parametrize(
    "vector", [["a", 0], [1e39, 0], [float("nan"), 0], [None, 0], [[1], 0], "base64"]
)
def test_a_vector_that_is_none_is_for_the_server_to_refuse(lake: Client, vector: Any) -> None:
    if "odd" not in lake.vectors.list():
        lake.vectors.create("odd", dimension=2)
    with pytest.raises(InvalidInputError):
        lake.vectors.add("odd", [{"id": "a", "vector": vector}])
    with pytest.raises(InvalidInputError):
        lake.vectors.search("odd", vector=vector)


def test_documents_are_split_and_their_words_are_found(lake: Client) -> None:
    lake.vectors.create("manuals")
    guide = {"id": "guide", "text": "# Pump\n\nError E4711 means no oil.\n\n# Valve\n\nTurn it."}

    done = lake.vectors.put_documents("manuals", [guide, {"id": "", "text": "a"}], by="heading")
    words = lake.vectors.search("manuals", "e4711", mode="text")
    both = lake.vectors.search("manuals", "e4711", mode="hybrid")

    assert [(each.id, each.chunks) for each in done.added] == [("guide", 2)]
    assert [(each.index, each.retryable) for each in done.failed] == [(1, False)]
    assert [hit.id for hit in words.results] == ["guide#0"]
    assert words.results[0].distance is None and (words.results[0].score or 0) > 0
    assert both.results[0].id == "guide#0" and both.results[0].distance is not None


def test_a_vector_may_be_any_sequence_of_numbers_or_base64(lake: Client) -> None:
    lake.vectors.create("forms", dimension=2)
    forms = [[1, 2], (1.0, 2.0), array("d", [1, 2]), bytes([1, 2]), "AACAPwAAAEA="]
    lake.vectors.add("forms", [{"id": f"{n}", "vector": form} for n, form in enumerate(forms)])
    found = lake.vectors.get("forms", [f"{n}" for n in range(5)], with_vectors=True)
    assert [each.vector for each in found] == [[1.0, 2.0]] * 5
    assert len(lake.vectors.search("forms", vector=bytes([1, 2])).results) == 5
