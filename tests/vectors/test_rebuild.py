"""A catalog that is lost is made anew with its collections, from what their files say."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from lakehouse.app import Lakehouse, open_lakehouse
from lakehouse.config import Config
from lakehouse.names import parse_table_name
from lakehouse.recovery import Rebuilt, rebuild
from lakehouse.state import DataDirectory
from lakehouse.storage import copy_catalog
from lakehouse.vectors.about import about_of
from lakehouse.vectors.models import CollectionCreate, ItemIn

ONE, OTHER = parse_table_name("one"), parse_table_name("sales.other")


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Lakehouse]:
    with DataDirectory.open(folder / "data") as directory:
        async with open_lakehouse(Config(), directory) as lake:
            yield lake


async def filled(folder: Path) -> None:
    async with opened(folder) as lake:
        lake.catalog.namespaces.create("sales")
        await lake.vectors.create(
            CollectionCreate(name="one", dimension=256, columns={"year": "integer"})
        )
        await lake.vectors.add(ONE, [ItemIn(id="a", text="The lake froze over.")])
        asked = CollectionCreate(name="sales.other", dimension=2, distance="euclidean")
        await lake.vectors.create(asked)
        await lake.vectors.add(OTHER, [ItemIn(id="b", vector=[0, 0])])


def forget(folder: Path, *, and_copy: bool = True) -> None:
    for path in (folder / "data").glob("catalog.db*"):
        path.unlink()
    if and_copy:
        shutil.rmtree(folder / "data" / "warehouse" / "_catalog", ignore_errors=True)


async def rebuilt(folder: Path, *, apply: bool = True) -> Rebuilt:
    return await anyio.to_thread.run_sync(lambda: rebuild(folder / "data", apply=apply))


def actions(done: Rebuilt) -> dict[str, str]:
    return {each.collection: each.action for each in done.collections}


async def test_collections_come_back_from_their_files_alone(tmp_path: Path) -> None:
    await filled(tmp_path)
    forget(tmp_path)
    only_told = await rebuilt(tmp_path, apply=False)
    done = await rebuilt(tmp_path)
    assert actions(only_told) == actions(done) == {"main.one": "add", "sales.other": "add"}
    async with opened(tmp_path) as lake:
        assert [str(each) for each in lake.vectors.shelf.names()] == ["main.one", "sales.other"]
        info = await lake.vectors.info(ONE)
        assert (info.length, info.columns) == (1, {"year": "integer"})
        assert info.model == "static-minilm-256", "the first text brought it"
        assert (await lake.vectors.info(OTHER)).distance == "euclidean"
        await lake.vectors.add(ONE, [ItemIn(id="c", text="Rates were raised.")])


async def test_a_copy_of_the_catalog_is_moved_forward(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with opened(tmp_path) as lake:
        directory = tmp_path / "data"
        copy_catalog(lake.catalog._state, lake.catalog._store, directory / "spool")
        await lake.vectors.create(CollectionCreate(name="later", dimension=2))
        await lake.vectors.drop(OTHER)
        (copy,) = (directory / "warehouse" / "_catalog").iterdir()
        kept = copy.read_bytes()
    copy.write_bytes(kept)
    forget(tmp_path, and_copy=False)
    done = await rebuilt(tmp_path)
    expected = {"main.one": "keep", "sales.other": "gone", "main.later": "add"}
    assert actions(done) == expected
    async with opened(tmp_path) as lake:
        assert [str(each) for each in lake.vectors.shelf.names()] == ["main.later", "main.one"]


async def test_of_two_folders_of_one_collection_the_later_one_holds(tmp_path: Path) -> None:
    await filled(tmp_path)
    folders = tmp_path / "data" / "warehouse" / "vectors"
    async with opened(tmp_path) as lake:
        collection = await lake.vectors.shelf.get(OTHER)
        copied = folders / "0123456789abcdef0123456789abcdef.lance"
        shutil.copytree(folders / f"{collection.known.folder}.lance", copied)
        await lake.vectors.add(OTHER, [ItemIn(id="c", vector=[1, 1])])
        await collection.items.tell(about_of(collection.known))
    forget(tmp_path)
    assert actions(await rebuilt(tmp_path)) == {"main.one": "add", "sales.other": "add"}
    async with opened(tmp_path) as lake:
        assert (await lake.vectors.info(OTHER)).length == 2


async def test_a_folder_that_says_nothing_is_told_and_left(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with opened(tmp_path) as lake:
        folder = (await lake.vectors.shelf.get(OTHER)).known.folder
    path = tmp_path / "data" / "warehouse" / "vectors" / f"{folder}.lance"
    shutil.rmtree(path / "_versions")
    (path / "_versions").mkdir()
    forget(tmp_path)
    done = await rebuilt(tmp_path)
    assert actions(done) == {"main.one": "add"}
    assert list(done.silent) == [folder]
