"""Texts in a collection whose model a real Ollama serves."""

from pathlib import Path

import httpx
import pytest

from tests import ollama
from tests.ollama import DIMENSION, MODEL
from tests.services import lakehouse_server

pytestmark = pytest.mark.slow

TEXTS = {
    "dog": "The dog barks at the postman.",
    "bank": "The central bank raised interest rates.",
    "lake": "A quiet lake lies between the mountains.",
}


def test_texts_are_found_by_meaning_until_another_model_has_the_name(tmp_path: Path) -> None:
    ollama.needed()
    place = "/v1/vectors/index/said"
    with (
        ollama.running() as model_server,
        lakehouse_server(
            tmp_path / "data",
            LAKEHOUSE_EMBEDDING__OLLAMA_URL=model_server.url,
            LAKEHOUSE_EMBEDDING__OLLAMA_MODEL=MODEL,
        ) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        made = client.post("/v1/vectors/index", json={"name": "said", "model": MODEL})
        assert (made.status_code, made.json()["dimension"]) == (201, DIMENSION), made.text
        items = [{"id": name, "text": text} for name, text in TEXTS.items()]
        added = client.post(f"{place}/add", json={"items": items})
        assert added.json() == {"added": 3, "length": 3}
        for name, question in (("dog", "a hound at the door"), ("bank", "monetary policy")):
            found = client.post(f"{place}/search", json={"text": question, "k": 3}).json()
            assert found["results"][0]["id"] == name
            assert {each["id"] for each in found["results"]} == TEXTS.keys()

        files = ollama.model_files()
        model_server.create(MODEL, {**files, "model.safetensors": ollama.turned_round()})
        more = {"items": [{"id": "cat", "text": "The cat sleeps."}]}
        for path, body in (("add", more), ("search", {"text": "what swims", "k": 3})):
            refused = client.post(f"{place}/{path}", json=body)
            assert refused.status_code == 409, refused.text
            assert "bring the old model back" in refused.json()["detail"]
        assert client.get(place).json()["length"] == len(TEXTS)

        model_server.create(MODEL, files)
        back = client.post(f"{place}/search", json={"text": "where to swim", "k": 1})
        assert back.status_code == 200, back.text
        assert back.json()["results"][0]["id"] == "lake"
