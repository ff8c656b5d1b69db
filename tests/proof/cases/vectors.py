"""Collections of vectors: what goes in is found, exactly, and again after a restart."""

import tempfile
from pathlib import Path
from typing import Any

import httpx

from tests import services
from tests.proof.evidence import Exchange, Proof, case

PLACE = "/v1/vectors/index"
DOCUMENTS = {
    "d1": "The lake froze over in January, and the ferry could not leave.",
    "d2": "Interest rates were raised by the central bank again.",
    "d3": "The welder repaired the bridge with new steel beams.",
    "d4": "A recipe for bread with rye flour and caraway seeds.",
}
RANKED = {
    "ice in winter": "d1",
    "what did the central bank decide": "d2",
    "who repaired the steel bridge": "d3",
    "how to bake bread with rye": "d4",
}
UNITS = {f"v{n}": [float(n == place) for place in range(1, 5)] for n in range(1, 5)}


def made(proof: Proof, label: str, **said: Any) -> str:
    """Make a collection and return the path of its routes."""
    name = proof.name(label)
    seen = proof.send("POST", PLACE, json={"name": name, **said})
    proof.check("a collection is made", 201, seen.status, seen)
    return f"{PLACE}/{name}"


def add(proof: Proof, place: str, items: list[dict[str, Any]]) -> Exchange:
    seen = proof.send("POST", f"{place}/add", json={"items": items})
    proof.check("items are added", 200, seen.status, seen)
    return seen


def refused(proof: Proof, what: str, path: str, body: Any) -> None:
    seen = proof.send("POST", path, json=body)
    proof.check(f"{what}: status", 400, seen.status, seen)
    proof.check(f"{what}: a reason", "some text", seen.problem_detail, seen, holds=bool)


@case("GOLAKE-051")
def a_question_finds_the_document_that_answers_it(proof: Proof) -> None:
    place = made(proof, "documents")
    add(proof, place, [{"id": name, "text": text} for name, text in DOCUMENTS.items()])
    for question, best in RANKED.items():
        seen = proof.send("POST", f"{place}/search", json={"text": question, "k": 1})
        answer: Any = seen.json()
        proof.check(question, [best], [each["id"] for each in answer["results"]], seen)


@case("GOLAKE-060")
def a_collection_says_how_many_items_it_has(proof: Proof) -> None:
    place = made(proof, "counted", dimension=4)
    three = [{"id": name, "vector": UNITS[name]} for name in ("v1", "v2", "v3")]
    add(proof, place, three)
    seen = proof.send("GET", place)
    told: Any = seen.json()
    proof.check("length", 3, told["length"], seen)
    proof.check("dimension", 4, told["dimension"], seen)


@case("GOLAKE-061")
def the_nearest_is_the_one_that_was_asked_for(proof: Proof) -> None:
    place = made(proof, "near", dimension=4)
    add(proof, place, [{"id": name, "vector": vector} for name, vector in UNITS.items()])
    seen = proof.send("POST", f"{place}/search", json={"vector": [1, 0.001, 0, 0], "k": 1})
    answer: Any = seen.json()
    (hit,) = answer["results"]
    proof.check("the nearest", "v1", hit["id"], seen)
    proof.check("its distance", "under 0.001", hit["distance"], seen, holds=lambda d: d < 0.001)


@case("GOLAKE-070")
def a_restart_changes_no_bit(proof: Proof) -> None:
    asked = [
        {"vector": [1, 0.2, 0.03, 0.004], "k": 4},
        {"vector": [0.3, 0.1, 0.7, 0.9], "k": 4},
    ]
    seen: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="lakehouse-proof-") as folder:
        for number in range(2):
            with (
                services.lakehouse_server(Path(folder) / "data") as server,
                httpx.Client(base_url=server.url, timeout=30) as client,
            ):
                if number == 0:
                    body = {"name": "kept", "dimension": 4}
                    client.post(PLACE, json=body).raise_for_status()
                    items = [{"id": name, "vector": vector} for name, vector in UNITS.items()]
                    added = client.post(f"{PLACE}/kept/add", json={"items": items})
                    added.raise_for_status()
                answers = [client.post(f"{PLACE}/kept/search", json=each) for each in asked]
                seen.append(b"".join(each.raise_for_status().content for each in answers))
    proof.check("ids and distances, byte by byte", seen[0].decode(), seen[1].decode())


@case("GOLAKE-081")
def what_is_required_is_asked_for(proof: Proof) -> None:
    place = made(proof, "required", dimension=4)
    for what, path, body in (
        ("a dataset without a name", "/v1/catalog/register", {}),
        ("texts that are missing", "/v1/embed", {}),
        ("a collection without a name", PLACE, {"dimension": 4}),
        ("items that are missing", f"{place}/add", {}),
        ("an item without an id", f"{place}/add", {"items": [{"vector": [1, 0, 0, 0]}]}),
        ("a search for nothing", f"{place}/search", {"k": 1}),
    ):
        refused(proof, what, path, body)


@case("GOLAKE-083")
def another_dimension_is_refused(proof: Proof) -> None:
    place = made(proof, "dimension", dimension=4)
    items = [{"id": "v1", "vector": UNITS["v1"]}, {"id": "bad", "vector": [1, 0, 0]}]
    refused(proof, "an item", f"{place}/add", {"items": items})
    refused(proof, "a search", f"{place}/search", {"vector": [1, 0, 0], "k": 1})
    seen = proof.send("GET", place)
    told: Any = seen.json()
    proof.check("nothing of that request was added", 0, told["length"], seen)


@case("GOLAKE-085")
def the_last_of_an_id_holds(proof: Proof) -> None:
    place = made(proof, "twice", dimension=4)
    add(proof, place, [{"id": "a", "vector": UNITS["v1"]}])
    add(proof, place, [{"id": "a", "vector": UNITS["v2"]}])
    seen = proof.send("POST", f"{place}/search", json={"vector": UNITS["v2"], "k": 10})
    answer: Any = seen.json()
    proof.check("it is there once", ["a"], [each["id"] for each in answer["results"]], seen)
    proof.check("as it came last", 0.0, answer["results"][0]["distance"], seen)
