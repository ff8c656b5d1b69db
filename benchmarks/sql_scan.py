"""sql-scan: TPC-H as JSON over REST, against DuckDB over the same rows as plain Parquet."""

import json
import math
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.files import CONTENT_TYPES, read_through
from benchmarks.rivals import NotHereError, environment, roapi, version_of
from benchmarks.row import Figure, Row
from benchmarks.serving import KeptAlive, lakehouse_server
from benchmarks.store import beside, connection, current, reference_file
from benchmarks.tpch import tpch

FULL_SCALE, QUICK_SCALE = 1.0, 0.01
AT_MOST = 1.15
SHOWN = {"Q1": [1], "Q6": [6], "all 22": list(range(1, 23))}

Timings = dict[int, list[float]]
"""Seconds of each run, by number of the query."""


def run(*, quick: bool, runs: int) -> list[Row]:
    scale = QUICK_SCALE if quick else FULL_SCALE
    tables, texts = tpch(scale)
    for path in tables.values():
        read_through(path)
    queries = dict(enumerate(texts, start=1))
    ours, reference = measure(queries, tables, runs)
    others: dict[str, Timings] = {}
    missing: list[str] = []
    rivals = (("roapi", time_roapi), ("chdb", time_chdb)) if current() == "disk" else ()
    for name, time_other in rivals:
        try:
            others[version_of(name)] = time_other(queries, tables, runs)
        except NotHereError as error:
            missing.append(str(error))
    return [row(what, ours, reference, others, missing, scale) for what in SHOWN]


def row(
    what: str,
    ours: Timings,
    reference: Timings,
    others: dict[str, Timings],
    missing: list[str],
    scale: float,
) -> Row:
    numbers = SHOWN[what]
    mine = Figure("lakehouse", total_ms(ours, numbers))
    duck = Figure(f"DuckDB over Parquet, in process{beside()}", total_ms(reference, numbers))
    able = [
        Figure(name, total_ms(timings, numbers))
        for name, timings in others.items()
        if all(number in timings for number in numbers)
    ]
    notes = [
        f"{name} does not answer {', '.join(f'Q{n}' for n in numbers if n not in timings)}"
        for name, timings in others.items()
        if not all(number in timings for number in numbers)
    ]
    ratio = mine.median / duck.median
    return Row(
        name="sql-scan",
        work=f"TPC-H SF{scale:g} {what}",
        unit="ms",
        ours=mine,
        reference=duck,
        ratio=round(ratio, 3),
        target=f"<= {AT_MOST}x DuckDB" + ("; ahead of ROAPI and chDB" * (current() == "disk")),
        met=ratio <= AT_MOST and all(mine.median < other.median for other in able),
        sizes={"scale": scale},
        others=able,
        note="; ".join([*missing, *notes]) or None,
    )


def total_ms(timings: Timings, numbers: list[int]) -> list[float]:
    """Return the sum over the queries for each run."""
    return [sum(run) * 1000 for run in zip(*(timings[n] for n in numbers), strict=True)]


def measure(queries: dict[int, str], tables: dict[str, Path], runs: int) -> tuple[Timings, Timings]:
    """Time ours and DuckDB by turns, query by query; a first turn warms both up."""
    with lakehouse_server() as server, connection() as engine:
        for name, path in tables.items():
            server.ingest(name, path, CONTENT_TYPES["parquet"])
            engine.execute(f"CREATE VIEW {name} AS FROM read_parquet('{reference_file(path)}')")
        mine: Timings = {}
        theirs: Timings = {}
        for number, text in queries.items():
            body = msgspec.json.encode({"sql": text})
            client = KeptAlive(server.port, "POST", "/v1/sql", body, "application/json")

            def in_process(text: str = text) -> bytes:
                return msgspec.json.encode(engine.execute(text).fetchall())

            check_same_rows(number, client.send(), in_process())
            turns = [(timed_s(in_process), timed_s(client.send)) for _ in range(runs + 1)][1:]
            mine[number] = [ours for _, ours in turns]
            theirs[number] = [reference for reference, _ in turns]
            client.close()
        return mine, theirs


def check_same_rows(number: int, ours: bytes, reference: bytes) -> None:
    """A fast wrong answer is worth nothing: as many rows, with the same first column."""
    mine = [row[0] for row in msgspec.json.decode(ours)["rows"]]
    theirs = [row[0] for row in msgspec.json.decode(reference)]
    same = len(mine) == len(theirs) and all(map(alike, mine, theirs))
    assert same, f"Q{number}: {mine[:5]} is not {theirs[:5]}"


def alike(one: object, other: object) -> bool:
    try:
        return math.isclose(float(str(one)), float(str(other)), rel_tol=1e-9)
    except ValueError:
        return one == other


def time_roapi(queries: dict[int, str], tables: dict[str, Path], runs: int) -> Timings:
    found: Timings = {}
    with roapi(tables) as port:
        for number, text in queries.items():
            client = KeptAlive(port, "POST", "/api/sql", text.encode(), "text/plain")
            try:
                found[number] = [timed_s(client.send) for _ in range(runs + 1)][1:]
            except RuntimeError:  # it refuses the query; the row says so
                continue
            finally:
                client.close()
    return found


def time_chdb(queries: dict[int, str], tables: dict[str, Path], runs: int) -> Timings:
    script = Path(__file__).with_name("chdb_scan.py")
    folder = next(iter(tables.values())).parent
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(list(queries.values()), file)
        file.flush()
        command = [str(environment() / "python"), str(script), file.name, str(runs), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHereError(f"chDB failed: {done.stderr.strip()[-500:]}")
    timings = json.loads(done.stdout)
    return {number: each for number, each in zip(queries, timings, strict=True) if each}


def timed_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
