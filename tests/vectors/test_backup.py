"""A backup that is made while items are written holds collections that can be searched."""

import asyncio
from pathlib import Path

import pytest

from lakehouse.app import open_lakehouse
from lakehouse.config import BackupConfig, Config, VectorsConfig
from lakehouse.names import parse_table_name
from lakehouse.recovery import restore
from lakehouse.state import DataDirectory
from lakehouse.vectors.models import CollectionCreate, ItemIn, SearchRequest

NAME = parse_table_name("kept")
BEFORE = 30
"""Versions before the backup begins."""


@pytest.mark.parametrize("exact_max_rows", [50_000, 100])
async def test_a_backup_under_writes_is_restored_whole(tmp_path: Path, exact_max_rows: int) -> None:
    target = tmp_path / "backups"
    vectors = VectorsConfig(exact_max_rows=exact_max_rows)
    config = Config(backup=BackupConfig(directories=(str(target),)), vectors=vectors)
    written: list[int] = []
    begun = asyncio.Event()
    with DataDirectory.open(tmp_path / "data") as directory:
        async with open_lakehouse(config, directory) as lake:
            await lake.vectors.create(CollectionCreate(name="kept", dimension=4))

            async def write() -> None:
                for number in range(10_000):
                    rows = [
                        ItemIn(id=f"{number}-{n}", vector=[1.0, n, number, 1.0]) for n in range(20)
                    ]
                    await lake.vectors.add(NAME, rows)
                    written.append(number)
                    if number == BEFORE:
                        begun.set()

            writing = asyncio.create_task(write())
            await begun.wait()
            before = len(written)
            report = await asyncio.to_thread(lake.backups.run, target, verify=True)
            assert len(written) > before and not report.damaged
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
    assert not list(target.rglob("_synced")), "what was synced was on another disk"
    restore(target, tmp_path / "restored")
    with DataDirectory.open(tmp_path / "restored") as directory:
        async with open_lakehouse(config, directory) as lake:
            info = await lake.vectors.info(NAME)
            assert before * 20 <= info.length <= len(written) * 20 + 20
            asked = SearchRequest(vector=[1.0, 3.0, 7.0, 1.0], k=10_000)
            found = await lake.vectors.search(NAME, asked)
            assert found.rows["id"][0].as_py() == "7-3"
            rows = await (await lake.vectors.shelf.get(NAME)).items.read(["id"])
            groups = [str(each).partition("-")[0] for each in rows["id"].to_pylist()]
            assert len(groups) == info.length
            assert {groups.count(each) for each in set(groups)} == {20}
            await lake.vectors.add(NAME, [ItemIn(id="more", vector=[1.0, 0.0, 0.0, 0.0])])
