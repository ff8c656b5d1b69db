"""What is acknowledged is on the disk: the fsyncs of a write, as strace sees them."""

import re
from pathlib import Path

from tests.storage.test_durability import steps, strace

__all__ = ["strace"]

SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from lakehouse.app import open_lakehouse
from lakehouse.config import Config
from lakehouse.names import parse_table_name
from lakehouse.state import DataDirectory
from lakehouse.vectors.models import CollectionCreate, ItemIn, ItemsDelete

async def main():
    name = parse_table_name("c")
    with DataDirectory.open(Path(sys.argv[1]) / "data") as directory:
        async with open_lakehouse(Config(), directory) as lake:
            await lake.vectors.create(CollectionCreate(name="c", dimension=2))
            rows = [ItemIn(id=each, vector=[1, 0]) for each in "axy"]
            await lake.vectors.add(name, rows)
            os.path.exists("/begin")
            for change in CHANGES:
                await change(lake, name)
                os.path.exists("/done")
            os.path.exists("/answer")

async def add(lake, name):
    await lake.vectors.add(name, [ItemIn(id="b", vector=[1, 0])])

async def replace(lake, name):
    await lake.vectors.add(name, [ItemIn(id="a", vector=[0, 1])])

async def delete(lake, name):
    await lake.vectors.delete(name, ItemsDelete(ids=["x"]))

CHANGES = [add, replace, delete]
asyncio.run(main())
"""
WRITTEN = {  # by each change, in this order: what is named is there before what names it
    "add": ["data", "_transactions", "_versions"],
    "replace": ["data", "_deletions", "_transactions", "_versions"],
    "delete": ["_deletions", "_transactions", "_versions"],
}


def test_each_change_of_a_collection_is_synced_before_it_is_answered(
    strace: str, tmp_path: Path
) -> None:
    groups: list[list[str]] = [[]]
    for step in steps(strace, SCRIPT, tmp_path):
        if step == "/done":
            groups.append([])
        elif found := re.search(r"sync .*\.lance/(\w+)(/.*)?$", step):
            groups[-1].append(found[1] + (" file" if found[2] else ""))
    for (change, wanted), seen in zip(WRITTEN.items(), groups, strict=False):
        for folder in wanted:  # the file itself, and then the folder that names it
            assert f"{folder} file" in seen, (change, folder, seen)
            assert seen.index(f"{folder} file") < seen.index(folder), (change, folder, seen)
        order = [seen.index(folder) for folder in (*wanted, "_synced")]
        assert order == sorted(order), (change, seen)
