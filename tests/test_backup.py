"""A backup taken while the server runs is a data directory that a server starts on."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.services import lakehouse_server

SCRIPT = Path(__file__).parents[1] / "deploy" / "backup.py"
LOADS = 12

pytestmark = pytest.mark.slow


@contextmanager
def server(data_dir: Path) -> Iterator[httpx.Client]:
    with (
        lakehouse_server(data_dir) as served,
        httpx.Client(base_url=served.url, timeout=30) as client,
    ):
        yield client


def backup(data_dir: Path, backups: Path, *options: str) -> Path:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(data_dir), str(backups), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def load(client: httpx.Client, number: int) -> None:
    answer = client.post(
        "/v1/ingest",
        params={"name": "numbers"} if number == 0 else {"name": "numbers", "mode": "append"},
        files={"file": ("n.csv", f"n\n{number}\n", "text/csv")},
    )
    assert answer.status_code == 200, answer.text


def load_the_others(client: httpx.Client) -> None:
    for number in range(1, LOADS):
        load(client, number)


def numbers(client: httpx.Client) -> list[int]:
    answer = client.post("/v1/sql", json={"sql": "SELECT n FROM numbers ORDER BY n"})
    assert answer.status_code == 200, answer.text
    return [row[0] for row in answer.json()["rows"]]


def test_a_backup_under_load_restores_to_what_was_acknowledged(tmp_path: Path) -> None:
    data_dir, backups = tmp_path / "data", tmp_path / "backups"
    with server(data_dir) as client:
        load(client, 0)
        loads = threading.Thread(target=load_the_others, args=(client,))
        loads.start()
        first = backup(data_dir, backups)
        loads.join()
        second = backup(data_dir, backups)

    with server(restored(data_dir, first)) as client:
        found = numbers(client)
        assert found == list(range(len(found))), "a prefix of the loads, each whole"
        assert found, "what was acknowledged before the backup began"
    with server(restored(data_dir, second)) as client:
        assert numbers(client) == list(range(LOADS))


def restored(data_dir: Path, backup: Path) -> Path:
    """Put a backup where the data was: Iceberg metadata holds absolute paths."""
    shutil.rmtree(data_dir)
    shutil.copytree(backup, data_dir)
    return data_dir


def test_a_second_backup_links_what_the_first_holds_and_old_ones_go(tmp_path: Path) -> None:
    data_dir, backups = tmp_path / "data", tmp_path / "backups"
    with server(data_dir) as client:
        load(client, 0)
        first = backup(data_dir, backups)
        load(client, 1)
        second = backup(data_dir, backups)
        before, after = parquet_files(first), parquet_files(second)
        assert (len(before), len(after)) == (1, 2)
        assert before[0].stat().st_ino in {each.stat().st_ino for each in after}
        third = backup(data_dir, backups, "--keep", "2")

    assert sorted(backups.iterdir()) == [second, third]
    assert len(parquet_files(third)) == 2


def parquet_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))
