"""Properties that people set: known ones with values that fit, or their own; nothing else."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lakehouse.catalog import rules_of
from lakehouse.catalog.models import PropertiesChange
from lakehouse.config import MaintenanceConfig
from lakehouse.errors import InvalidInputError
from tests.catalog.lake import Lake, main
from tests.services import ServerProcess, lakehouse_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with lakehouse_server(tmp_path_factory.mktemp("properties") / "data") as server:
        yield server


def test_what_is_set_holds_for_maintenance_and_for_other_engines(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    new = {"history.expire.min-snapshots-to-keep": "7", "user.owner": "ada"}
    shown = lake.catalog.properties.change(main("t"), PropertiesChange(set=new))
    assert shown.properties == new
    assert rules_of(lake.metadata("t"), MaintenanceConfig()).snapshots_min == 7
    with lake.pyiceberg("t") as table:
        assert table.properties["user.owner"] == "ada"
    left = lake.catalog.properties.change(
        main("t"), PropertiesChange(set={"gc.enabled": "false"}, remove=["user.owner", "user.x"])
    )
    assert left.properties == {"gc.enabled": "false", "history.expire.min-snapshots-to-keep": "7"}
    assert lake.rows("t") == [(1, "a")]
    before = lake.metadata("t")
    lake.catalog.properties.change(main("t"), PropertiesChange(set={"gc.enabled": "false"}))
    assert lake.metadata("t") == before, "nothing changed, so nothing was written"


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ({"gc.enable": "false"}, "did you mean 'gc.enabled'"),
        ({"lakehouse.created-at-ms": "1"}, "not one to set"),
        ({"lakehouse.name": "other"}, "not one to set"),
        ({"schema.name-mapping.default": "[]"}, "not one to set"),
        ({"write.data.path": "s3://elsewhere"}, "not one to set"),
        ({"user.": "x"}, "not one to set"),
        ({"gc.enabled": "no"}, "true or false"),
        ({"history.expire.min-snapshots-to-keep": "0"}, "a whole number, at least 1"),
        ({"write.metadata.previous-versions-max": "many"}, "a whole number, at least 1"),
        ({"user.x": "y" * 5000}, "at most 4096 characters"),
        ({"user.x": "a\0b"}, "none NUL"),
        ({f"user.{number}": "x" for number in range(101)}, "at most 100 properties"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    lake: Lake, new: dict[str, str], words: str
) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    before, tree = lake.metadata("t"), lake.tree()
    with pytest.raises(InvalidInputError, match=words):
        lake.catalog.properties.change(main("t"), PropertiesChange(set={**new, "user.ok": "1"}))
    assert lake.metadata("t") == before
    assert lake.tree() == tree


def test_one_that_keeps_the_table_cannot_be_removed(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    with pytest.raises(InvalidInputError, match="not one to set"):
        lake.catalog.properties.change(main("t"), PropertiesChange(remove=["lakehouse.name"]))


def test_properties_over_http(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        columns = [{"name": "a", "type": "long"}]
        assert http.post("/v1/tables", json={"name": "t", "columns": columns}).status_code == 201
        url = "/v1/tables/t/properties"
        assert http.get(url).json() == {"name": "t", "namespace": "main", "properties": {}}
        body: dict[str, Any] = {"set": {"user.owner": "ada"}}
        headers = {"Idempotency-Key": "own"}
        first = http.post(url, json=body, headers=headers)
        http.post(url, json={"remove": ["user.owner"]})
        assert http.post(url, json=body, headers=headers).content == first.content
        assert http.get(url).json()["properties"] == {}
        assert http.post(url, json={"set": {"gc.enabled": "x"}}).status_code == 400
        assert http.get("/v1/tables/nope/properties").status_code == 404
