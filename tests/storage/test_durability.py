"""What was acknowledged is on the disk: read from the system calls, not from our own word."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PUT = """
import asyncio, os, pathlib, sys
from lakehouse.config import StorageConfig
from lakehouse.state import SqliteState
from lakehouse.storage import LocalObjects, LocalStore, Objects

async def body():
    yield b"bytes"

root = pathlib.Path(sys.argv[1])
with SqliteState.open(root / "catalog.db") as state:
    objects = Objects(LocalObjects(LocalStore(root / "warehouse")), state, StorageConfig())
    os.path.exists("/begin")
    asyncio.run(objects.put("raw/a", body()))
    os.path.exists("/answer")
"""

WRITE = """
import os, pathlib, sys
from lakehouse.state import SqliteState
from lakehouse.storage import LocalStore

root = pathlib.Path(sys.argv[1])
store = LocalStore(root / "warehouse")
store.prepare("tables/t/data")
folder = store.root / "tables/t/data/p=1"
folder.mkdir()
(folder / "0.parquet").write_bytes(b"rows")
with SqliteState.open(root / "catalog.db") as state:
    state.write(lambda tx: tx.execute("INSERT INTO registered_object VALUES ('a', 'b', 'c')"))
    os.path.exists("/begin")
    store.sync(["tables/t/data/p=1/0.parquet"])
    store.write("tables/t/metadata/0.json", b"{}")
    os.path.exists("/pointer")
    state.write(lambda tx: tx.execute("INSERT INTO registered_object VALUES ('x', 'b', 'c')"))
    os.path.exists("/answer")
"""


@pytest.fixture
def strace() -> str:
    """The strace of this machine, if it may trace."""
    path = shutil.which("strace")
    if path is None or subprocess.run([path, "-qq", "true"], capture_output=True).returncode:
        pytest.skip("NOT SHOWN: fsync is not traced here (apt install strace; ptrace allowed?)")
    return path


def steps(strace: str, script: str, root: Path) -> list[str]:
    """Run `script`, and return what it did to files and folders between /begin and /answer."""
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,stat,newfstatat,statx"
    trace = root / "trace"
    subprocess.run(
        [strace, "-fy", "-s4096", "-e", calls, "-o", trace, sys.executable, "-c", script, root],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    lines = trace.read_text().replace(str(root.resolve()), "ROOT").splitlines()
    first = next(n for n, line in enumerate(lines) if '"/begin"' in line)
    found = []
    for line in lines[first + 1 :]:
        call, _, arguments = re.sub(r"^\d+ +", "", line).partition("(")
        if '"/' in arguments and "stat" in call:
            found.append(arguments.split('"')[1])
            if found[-1] == "/answer":
                break
        elif call in {"fsync", "fdatasync"}:
            found.append("sync " + re.findall(r"<([^>]*)>", arguments)[0])
        elif call.startswith("rename"):
            found.append("rename " + re.findall(r'"([^"]*)"', arguments)[1])
        elif call.startswith("mkdir"):
            found.append("mkdir " + re.findall(r'"([^"]*)"', arguments)[0])
    return [re.sub(r"[0-9a-f]{16}-[0-9a-f]{8}", "VERSION", step) for step in found]


def test_a_put_syncs_file_and_folders_before_it_answers(strace: str, tmp_path: Path) -> None:
    seen = [re.sub(r"_tmp/\w+", "_tmp/FILE", step) for step in steps(strace, PUT, tmp_path)]
    objects = "ROOT/warehouse/objects"

    wanted = [
        "sync ROOT/warehouse/_tmp/FILE",
        f"mkdir {objects}",
        f"mkdir {objects}/raw",
        f"mkdir {objects}/raw/a_o",
        f"sync {objects}/raw",
        f"sync {objects}",
        "sync ROOT/warehouse",
        f"rename {objects}/raw/a_o/VERSION",
        f"sync {objects}/raw/a_o",
        "/answer",
    ]
    assert [step for step in seen if step in wanted] == wanted


def test_every_sync_of_a_commit_comes_before_the_pointer_moves(strace: str, tmp_path: Path) -> None:
    seen = steps(strace, WRITE, tmp_path)
    table = "ROOT/warehouse/tables/t"
    pointer = seen.index("/pointer")

    before, after = seen[:pointer], seen[pointer + 1 :]
    for synced in (f"{table}/data/p=1/0.parquet", f"{table}/data/p=1", f"{table}/data"):
        assert f"sync {synced}" in before
    file = next(n for n, step in enumerate(before) if step.startswith("sync ROOT/warehouse/_tmp"))
    renamed = before.index(f"rename {table}/metadata/0.json")
    assert file < before.index(f"sync {table}") < renamed
    assert before[renamed + 1] == f"sync {table}/metadata"
    assert after == ["sync ROOT/catalog.db-wal", "/answer"]  # a write is one fsync
