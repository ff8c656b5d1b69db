"""The disk is full in the middle of a write: nothing of it counts, and room mends it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from lakehouse.app import create_app, open_lakehouse
from lakehouse.config import Config
from lakehouse.state import DataDirectory
from tests.services import client_of

PLACE = "/v1/vectors/index/full"
SIZE_BYTES = 12 * 1024 * 1024


@contextmanager
def small_disk(kind: str, image: Path, place: Path) -> Iterator[None]:
    """Mount a small disk for the collections alone; the catalog is on another."""
    place.mkdir(parents=True)
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(place)]
    else:
        with image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"no {kind} can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, left_bytes: int) -> Path:
    """Write a file that leaves so little room."""
    filler = place / "filler"
    found = os.statvfs(place)
    room = found.f_bavail * found.f_frsize - left_bytes
    with suppress(OSError):  # its own blocks take some of it
        filler.write_bytes(b"x" * room)
    return filler


async def add(client: httpx.AsyncClient, name: str, count: int) -> httpx.Response:
    items = [{"id": f"{name}{n}", "vector": [1.0, *[float(n)] * 255]} for n in range(count)]
    return await client.post(f"{PLACE}/add", json={"items": items})


async def ids(client: httpx.AsyncClient) -> set[str]:
    found = await client.post(f"{PLACE}/search", json={"vector": [1.0] * 256, "k": 10_000})
    assert found.status_code == 200, found.text
    return {each["id"] for each in found.json()["results"]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("left_bytes", [0, 20_000, 400_000])
async def test_a_full_disk_is_told_and_nothing_of_the_write_counts(
    tmp_path: Path, kind: str, left_bytes: int
) -> None:
    place = tmp_path / "data" / "warehouse" / "vectors"
    with small_disk(kind, tmp_path / "image", place):
        with DataDirectory.open(tmp_path / "data") as directory:
            async with (
                open_lakehouse(Config(), directory) as lake,
                client_of(create_app(lake)) as client,
            ):
                asked = {"name": "full", "dimension": 256}
                assert (await client.post("/v1/vectors/index", json=asked)).status_code == 201
                assert (await add(client, "a", 20)).status_code == 200
                before = await ids(client)
                filler = fill(place, left_bytes)
                for _ in range(3):
                    failed = await add(client, "b", 2_000)
                    assert failed.status_code == 507, failed.text
                    assert failed.json()["type"] == "/problems/disk-full"
                assert await ids(client) == before
                refused = await client.post("/v1/vectors/index", json={**asked, "name": "more"})
                assert refused.status_code in (201, 507), refused.text
                filler.unlink()
                assert (await add(client, "c", 50)).status_code == 200
                after = await ids(client)
                assert after == before | {f"c{n}" for n in range(50)}
        with DataDirectory.open(tmp_path / "data") as directory:
            async with (
                open_lakehouse(Config(), directory) as lake,
                client_of(create_app(lake)) as client,
            ):
                assert await ids(client) == after
                assert (await add(client, "d", 5)).status_code == 200
