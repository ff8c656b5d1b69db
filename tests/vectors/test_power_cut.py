"""After a power cut: what was acknowledged is there, and what was not stops nobody."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.config import Config
from lakehouse.names import parse_table_name
from lakehouse.state import DataDirectory
from lakehouse.vectors import durable
from lakehouse.vectors.items import checked
from lakehouse.vectors.models import CollectionCreate, ItemIn
from tests.services import client_of

NAME = parse_table_name("c")
PLACE = "/v1/vectors/index/c"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Lakehouse, httpx.AsyncClient]]:
    with DataDirectory.open(folder / "data") as directory:
        async with (
            open_lakehouse(Config(), directory) as lake,
            client_of(create_app(lake)) as client,
        ):
            yield lake, client


async def two_acknowledged(folder: Path, *, and_one_more: bool = True) -> Path:
    """Make a collection of two items, and a third one that is written and not yet synced."""
    async with opened(folder) as (lake, _):
        await lake.vectors.create(CollectionCreate(name="c", dimension=2))
        await lake.vectors.add(NAME, [ItemIn(id="a", vector=[1, 0])])
        await lake.vectors.add(NAME, [ItemIn(id="b", vector=[0, 1])])
        if and_one_more:
            collection = await lake.vectors.shelf.get(NAME)
            definition = collection.known.definition
            batch = checked([ItemIn(id="c", vector=[1, 1])], definition)
            await collection.items._table.add(batch.table(definition))
    (found,) = (folder / "data" / "warehouse" / "vectors").glob("*.lance")
    return found


def newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


async def ids(client: httpx.AsyncClient) -> list[str]:
    found = await client.post(f"{PLACE}/search", json={"vector": [1, 0]})
    assert found.status_code == 200, found.text
    return sorted(each["id"] for each in found.json()["results"])


@pytest.mark.parametrize("pattern", ["_versions/*.manifest", "data/*", "_transactions/*"])
@pytest.mark.parametrize("damage", ["cut", "zeros", "whole"])
async def test_a_write_that_nobody_was_told_of_is_put_aside_however_torn(
    tmp_path: Path, pattern: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = await two_acknowledged(tmp_path)
    torn = newest(folder, pattern)
    if damage != "whole":
        torn.write_bytes(b"" if damage == "cut" else b"\0" * torn.stat().st_size)
    with caplog.at_level(logging.WARNING):
        async with opened(tmp_path) as (lake, client):
            assert await ids(client) == ["a", "b"]
            assert "had not ended, and is put aside" in caplog.text
            (warning,) = (await client.get("/ready")).json()["warnings"]
            assert warning.startswith("the last write to the collection c was cut off")
            await lake.vectors.add(NAME, [ItemIn(id="d", vector=[1, 1])])
    assert len(list((folder / durable.ASIDE).iterdir())) == 1
    async with opened(tmp_path) as (_, client):
        assert await ids(client) == ["a", "b", "d"]
        assert (await client.get("/ready")).json().get("warnings", []) == []


@pytest.mark.parametrize("damage", ["cut", "gone"])
async def test_a_write_that_somebody_was_told_of_is_never_left_out(
    tmp_path: Path, damage: str
) -> None:
    folder = await two_acknowledged(tmp_path, and_one_more=False)
    last = newest(folder, "_versions/*.manifest")
    if damage == "cut":
        last.write_bytes(b"")
    else:
        last.unlink()
    async with opened(tmp_path) as (_, client):
        answer = await client.post(f"{PLACE}/search", json={"vector": [1, 0]})
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems/collection-damaged"


async def test_a_collection_without_marks_is_opened_as_it_is_and_marked(tmp_path: Path) -> None:
    folder = await two_acknowledged(tmp_path)
    for mark in (folder / durable.MARKS).iterdir():
        mark.unlink()
    (folder / durable.MARKS).rmdir()
    async with opened(tmp_path) as (_, client):
        assert await ids(client) == ["a", "b", "c"]
    assert durable.marked(folder) == 4


def test_marks_only_grow_and_one_is_left(tmp_path: Path) -> None:
    for name in ("data", "_versions"):
        (tmp_path / name).mkdir()
    files = durable.Durable(tmp_path)
    for version in (1, 3, 2, 7):
        files.sync(version)
    assert [path.name for path in (tmp_path / durable.MARKS).iterdir()] == ["7"]
    again = durable.Durable(tmp_path)
    again.sync(5)
    assert durable.marked(tmp_path) == 7
