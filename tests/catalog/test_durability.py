"""What is answered is on disk: the order of fsyncs, read from strace, and a disk that is full."""

import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.catalog import Column
from lakehouse.database import Database, EngineError
from lakehouse.errors import InsufficientStorageError
from tests.catalog.lake import Lake, main, open_lake, rows_of, settings_for
from tests.postgres import OF_SQLITE

pytestmark = OF_SQLITE

CALLS = "fsync,fdatasync,openat,rename,renameat,renameat2,mkdir,mkdirat,write,pwrite64,unlink,rmdir"
SCRIPT = """
import os, sys
from pathlib import Path
from lakehouse.catalog.models import RefPut
from lakehouse.catalog.rules import rules_of
from lakehouse.catalog.schema_models import Add
from lakehouse.config import MaintenanceConfig
from lakehouse.database import Database
from tests.catalog.evolved import evolve
from tests.catalog.lake import main, open_lake, rows_of, settings_for

root = Path(sys.argv[1])
rows = rows_of("SELECT 1 AS id, 'a' AS name")
with Database.open(settings_for(root)) as database, open_lake(root, database) as lake:
    for name, step in {
        "create": lambda: lake.write("t", rows.sql),
        "append": lambda: lake.write("t", f"{rows.sql} UNION ALL SELECT 2, 'b'", mode="append"),
        "partitioned": lambda: lake.write("p", rows.sql, partition_by=["name", "id"]),
        "overwrite": lambda: lake.write("p", rows.sql, mode="overwrite"),
        "two tables": lambda: lake.catalog.loading.commit([
            lake.catalog.loading.stage(lake.cursor, main(each), rows, mode="append")
            for each in "tp"
        ]),
        "empty": lambda: lake.catalog.create_table(main("e"), rows.columns),
        "drop": lambda: lake.catalog.drop(main("e")),
        "undrop": lambda: lake.catalog.undrop(main("e")),
        "rename": lambda: lake.catalog.rename(main("e"), main("f")),
        "update": lambda: lake.catalog.rows.update(
            lake.cursor, main("p"), {"name": "'b'"}, "id = 1"
        ),
        "upsert": lambda: lake.catalog.loading.upsert(
            lake.cursor, main("p"), rows_of("SELECT 1 AS id, 'c' AS name"), ["id"]
        ),
        "delete": lambda: lake.catalog.rows.delete(lake.cursor, main("t"), "id = 2"),
        "compact": lambda: lake.catalog.layout.compact(
            lake.cursor, main("t"), rules_of(lake.metadata("t"), MaintenanceConfig()), 2
        ),
        "tag": lambda: lake.catalog.refs.put(main("t"), "first", RefPut("tag")),
        "columns": lambda: evolve(lake, "t", Add("note", "string")),
        "erase": lambda: lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 2"),
    }.items():
        os.write(1, f"begin {name}\\n".encode())
        step()
        os.write(1, b"answered\\n")
"""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the system calls of a process that makes and changes tables, one a line."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: nothing shows the order of fsyncs")
    root = tmp_path_factory.mktemp("traced")
    log = root / "strace.log"
    command = [strace, "-f", "-y", "-s", "32", "-e", f"trace={CALLS}", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-c", SCRIPT, str(root)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "."},
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    return list(whole_lines(log.read_text().splitlines()))


def whole_lines(lines: list[str]) -> Iterator[str]:
    """Yield calls in the order of their ends, those that another thread interrupted joined."""
    begun: dict[str, str] = {}
    for line in lines:
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
        elif call.startswith("<..."):
            yield begun.pop(pid) + call.partition(" resumed>")[2]
        else:
            yield call


def steps(trace: list[str]) -> dict[str, list[str]]:
    """Return the calls between `begin` and `answered` of each step."""
    result: dict[str, list[str]] = {}
    name = None
    for call in trace:
        if begun := re.match(r'write\(1<.*>, "begin (.*)\\n"', call):
            name = begun[1]
            result[name] = []
        elif call.startswith("write(1<") and "answered" in call:
            name = None
        elif name and not call.endswith(")") and " = -1 " not in call:
            result[name].append(call)
    return result


def not_on_disk(calls: list[str]) -> set[str]:
    """Return what `calls` wrote, made or renamed below `tables/` and did not sync afterwards.

    Both a file's bytes and its name, which is its folder's content, need an fsync.
    """
    dirty: defaultdict[str, set[str]] = defaultdict(set)  # what lacks an fsync, and for what
    for call in calls:
        name, _, rest = call.partition("(")
        paths = re.findall(r'"([^"]*)"', rest)
        if name in ("mkdir", "mkdirat"):
            dirty[str(Path(paths[0]).parent)].add(paths[0])
        elif name in ("rename", "renameat", "renameat2"):
            assert not dirty[paths[0]], "renamed before its bytes were on disk"
            dirty[str(Path(paths[1]).parent)].add(paths[1])
        elif name == "openat" and "O_CREAT" in call:
            dirty[paths[0]].add(paths[0])
            dirty[str(Path(paths[0]).parent)].add(paths[0])
        elif name in ("write", "pwrite64"):
            path = re.findall(r"^\d+<([^>]*)>", rest)[0]
            dirty[path].add(path)
        elif name in ("fsync", "fdatasync"):
            dirty.pop(re.findall(r"^\d+<([^>]*)>", rest)[0], None)
        elif name in ("unlink", "rmdir"):  # nobody misses it
            for reasons in dirty.values():
                reasons.discard(paths[0])
    return {
        path
        for path, reasons in dirty.items()
        if reasons and ("/warehouse/tables" in path or "/_tmp/" in path)
    }


ROWS = {"json", "avro", "parquet"}
MADE = {
    "create": ROWS,
    "append": ROWS,
    "partitioned": ROWS,
    "overwrite": ROWS,
    "two tables": ROWS,
    "update": ROWS,
    "upsert": ROWS,
    "compact": ROWS,
    "delete": ROWS,
    "empty": {"json"},
    "tag": {"json"},
    "columns": {"json"},
    "drop": set(),
    "undrop": set(),
    "rename": set(),
    "erase": set(),
}
"""The kinds of files that each step makes before its pointer moves."""


@pytest.mark.parametrize("step", MADE)
def test_everything_is_synced_before_the_pointer_moves_and_the_pointer_before_the_answer(
    trace: list[str], step: str
) -> None:
    calls = steps(trace)[step]
    pointer = [n for n, call in enumerate(calls) if re.match(r"pwrite64\(.*catalog\.db-wal>", call)]
    assert pointer, "no pointer was written"
    before, after = calls[: pointer[0]], calls[pointer[-1] :]
    assert not_on_disk(before) == set()
    assert any(re.match(r"f(data)?sync\(.*catalog\.db-wal>", call) for call in after)
    assert not_on_disk(after) == set()
    made = {re.sub(r"[^.]*$", "", path) and path.rpartition(".")[2] for path in named(before)}
    assert made >= MADE[step], "the test saw each kind of file"


def named(calls: list[str]) -> set[str]:
    """Return the files that got their names in `calls`."""
    found = set()
    for call in calls:
        paths = re.findall(r'"([^"]*)"', call)
        if call.startswith("rename"):
            found.add(paths[1])
        elif call.startswith("openat") and "O_CREAT" in call:
            found.add(paths[0])
    return found


def test_the_checker_sees_what_is_missing(trace: list[str]) -> None:
    calls = steps(trace)["create"]
    end = next(n for n, call in enumerate(calls) if re.match(r"pwrite64\(.*-wal>", call))
    syncs = [n for n, call in enumerate(calls[:end]) if call.startswith(("fsync", "fdatasync"))]
    files = [n for n in syncs if "." in calls[n].rpartition("/")[2]]
    for missing in files:
        assert not_on_disk(calls[:missing] + calls[missing + 1 : end])


def append_on_a_full_disk(root: str) -> None:
    """Fill the disk at the data file, the manifest, the metadata file; then make room."""
    with (
        Database.open(settings_for(Path(root))) as database,
        open_lake(Path(root), database) as lake,
    ):
        columns = [Column("id", "long"), Column("name", "string")]
        lake.catalog.create_table(main("t"), columns, properties={"large": "x" * 300_000})
        lake.write("t", "SELECT 1 AS id, 'a' AS name", mode="append")
        before, state = lake.tree(), lake.catalog.get(main("t"))
        for limit_bytes in (100, 2_000, 200_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
            check_refused(lake)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            assert lake.tree() == before, (limit_bytes, lake.tree() ^ before)
            assert lake.catalog.get(main("t")) == state
        assert lake.rows("t") == [(1, "a")]
        lake.write("t", "SELECT 3 AS id, 'c' AS name", mode="append")
        assert lake.rows("t") == [(1, "a"), (3, "c")]


def check_refused(lake: Lake) -> None:
    rows = rows_of("SELECT 2 AS id, 'b' AS name")
    try:
        lake.catalog.loading.write(lake.cursor, main("t"), rows, mode="append")
    except (OSError, EngineError, InsufficientStorageError):
        return
    raise AssertionError("it was written on a full disk")


def test_a_full_disk_leaves_nothing_behind_wherever_it_is_met(tmp_path: Path) -> None:
    """`RLIMIT_FSIZE` stops the first file that grows beyond it."""
    process = multiprocessing.get_context("spawn").Process(
        target=append_on_a_full_disk, args=(str(tmp_path),)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0
