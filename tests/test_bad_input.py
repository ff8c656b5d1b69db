"""Every row of bad_input.toml: a clear answer, nothing written, and the server still serves."""

import gzip
import io
import random
import shutil
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.config import Config, IngestConfig
from tests.ingest.served import Served, serving

CASES: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("bad_input.toml").read_text())[
    "case"
]
INGEST_MAX_BYTES = 512 * 1024**2
BOUNDARY = "cut-here"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
KNOWN = {
    "id": "long",
    "name": "string",
    "price": "decimal(9,2)",
    "tags": "list<string>",
    "place": "struct<lat: double, lon: double>",
    "at": "timestamptz",
}
GOOD_ROWS = "id,name\n" + "".join(f"{number},Ada\n" for number in range(1200))


class Sent(NamedTuple):
    """What a maker gives: a body, headers, and a disk if it is another."""

    body: bytes | AsyncIterator[bytes]
    headers: dict[str, str] | None = None
    free_bytes: list[int] | None = None


MAKERS: dict[str, Callable[[], Sent]] = {}


def maker(work: Callable[[], bytes | Sent]) -> Callable[[], bytes | Sent]:
    def make() -> Sent:
        made = work()
        return made if isinstance(made, Sent) else Sent(made)

    MAKERS[work.__name__] = make
    return work


async def streamed(*pieces: tuple[bytes, int]) -> AsyncIterator[bytes]:
    """Yield each piece as often as it says."""
    for piece, count in pieces:
        for _ in range(count):
            yield piece


@maker
def latin_1() -> bytes:
    return "id,name\n1,Ada\n2,José\n".encode("latin-1")


@maker
def latin_1_header() -> bytes:
    return "id,prénom\n1,Ada\n".encode("latin-1")


@maker
def mixed_encodings() -> bytes:
    return (GOOD_ROWS + "1,é\n").encode()[:-3] + b"\xe9\n"


@maker
def cut_character() -> bytes:
    return "id,name\n1,é".encode()[:-1]


@maker
def utf_16_unmarked() -> bytes:
    return "id,name\n1,Ada\n".encode("utf-16-le")


@maker
def utf_16_cut() -> bytes:
    return "id,name\n1,Ada".encode("utf-16")[:-1]


@maker
def ndjson_latin_1() -> bytes:
    return '{"a": "x"}\n{"a": "é"}\n'.encode("latin-1")


@maker
def long_column_name() -> bytes:
    return b"id," + b"n" * 10_000 + b"\n1,2\n"


@maker
def columns_5000() -> bytes:
    header = ",".join(f"c{number}" for number in range(5000))
    return f"{header}\n{','.join('1' * 5000)}\n".encode()


@maker
def partitions_1200() -> bytes:
    return GOOD_ROWS.encode()


@maker
def partitions_late() -> bytes:
    late = "".join(f"{number}\n" for number in range(1101))
    return ("id\n" + "0\n" * 250_000 + late).encode()


@maker
def line_100_mb() -> Sent:
    return Sent(streamed((b"id,name\n1,", 1), (b"x" * 2**20, 100), (b"\n", 1)))


@maker
def header_100_mb() -> Sent:
    return Sent(streamed((b"x" * 2**20, 100), (b"\n1\n", 1)))


@maker
def late_long_line() -> bytes:
    return GOOD_ROWS.encode() + b"1," + b"x" * 3 * 2**20 + b"\n2,Bo\n"


@maker
def number_of_a_million_digits() -> bytes:
    return b"n\n1\n" + b"9" * 10**6 + b"\n"


@maker
def binary() -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(100)


@maker
def deep_json() -> bytes:
    return b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"


@maker
def json_100_mb() -> Sent:
    return Sent(streamed((b'{"a": "', 1), (b"x" * 2**20, 100), (b'"}\n', 1)))


def parquet_of(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@maker
def parquet() -> bytes:
    return parquet_of(id=[1, 2], name=["Ada", "Bo"])


@maker
def parquet_cut() -> bytes:
    return parquet_of(id=[1, 2], name=["Ada", "Bo"])[:-20]


@maker
def parquet_noise() -> bytes:
    data = bytearray(parquet_of(id=[1, 2]))
    data[-60:-8] = random.Random(7).randbytes(52)
    return bytes(data)


@maker
def parquet_wide_decimal() -> bytes:
    return parquet_of(wide=pa.array([Decimal(1)], pa.decimal256(50, 2)))


@maker
def parquet_nanoseconds() -> bytes:
    return parquet_of(at=pa.array([1], pa.timestamp("ns")))


@maker
def parquet_zoned_nanoseconds() -> bytes:
    return parquet_of(at=pa.array([1], pa.timestamp("ns", "UTC")))


@maker
def parquet_case() -> bytes:
    return parquet_of(a=[1], A=[2])


@maker
def parquet_empty() -> bytes:
    return parquet_of(a=pa.array([], pa.int64()))


@maker
def gzip_cut() -> bytes:
    return gzip.compress(GOOD_ROWS.encode())[:-30]


@maker
def zstd_noise() -> bytes:
    buffer = io.BytesIO()
    with pa.CompressedOutputStream(buffer, "zstd") as file:
        file.write(random.Random(1).randbytes(20_000).hex().encode())
        file.flush()
        data = bytearray(buffer.getvalue())
    data[1000:1100] = bytes(100)
    return bytes(data)


@maker
def gzip_bomb() -> bytes:
    return gzip.compress(b"a\n" + b"0" * 150 * 2**20, compresslevel=1)


@maker
def gzip_twice() -> bytes:
    return gzip.compress(gzip.compress(GOOD_ROWS.encode()))


@maker
def gzip_empty() -> bytes:
    return gzip.compress(b"")


def parts(*given: tuple[str, str | None, str]) -> bytes:
    """Return a multipart body of (name, file name, content)."""
    body = ""
    for name, filename, content in given:
        file = f'; filename="{filename}"' if filename else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += f"{content}\r\n"
    return f"{body}--{BOUNDARY}--\r\n".encode()


@maker
def multipart_without_file() -> Sent:
    return Sent(parts(), MULTIPART)


@maker
def multipart_two_files() -> Sent:
    return Sent(parts(("a", "a.csv", "a\n1\n"), ("b", "b.csv", "b\n2\n")), MULTIPART)


@maker
def multipart_field() -> Sent:
    return Sent(parts(("mode", None, "append"), ("file", "a.csv", "a\n1\n")), MULTIPART)


@maker
def multipart_cut() -> Sent:
    return Sent(parts(("file", "a.csv", "a\n1\n"))[:-10], MULTIPART)


@maker
def multipart_noise() -> Sent:
    return Sent(f"--{BOUNDARY}\r\nnoise\r\n\r\n".encode(), MULTIPART)


@maker
def multipart_long_header() -> Sent:
    return Sent(f"--{BOUNDARY}\r\nX-Long: {'x' * 9_000}\r\n\r\n".encode(), MULTIPART)


@maker
def multipart_many_headers() -> Sent:
    return Sent(f"--{BOUNDARY}\r\n".encode() + b"X-A: b\r\n" * 20, MULTIPART)


@maker
def multipart_long_preamble() -> Sent:
    return Sent(streamed((b"x" * 2**16, 3), (b"\r\n" + parts(("f", "a", "a\n1\n")), 1)), MULTIPART)


@maker
def multipart_long_epilogue() -> Sent:
    return Sent(streamed((parts(("f", "a", "a\n1\n")), 1), (b"x" * 2**16, 3)), MULTIPART)


@maker
def longer_than_said() -> Sent:
    return Sent(streamed((b"id,name\n1,Ada\n", 1)), {"Content-Length": "4"})


@maker
def shorter_than_said() -> Sent:
    return Sent(streamed((b"id,name\n1,Ada\n", 1)), {"Content-Length": "4000"})


@maker
def announced_too_large() -> Sent:
    return Sent(streamed((b"id\n1\n", 1)), {"Content-Length": str(2 * INGEST_MAX_BYTES)})


@maker
def streamed_too_large() -> Sent:
    return Sent(streamed((b"id\n", 1), (bytes(8 * 2**20), 70)))


@maker
def disk_full_before() -> Sent:
    return Sent(b"id\n1\n", free_bytes=[0])


@maker
def disk_full_within() -> Sent:
    return Sent(streamed((b"1\n" * 2**20, 8)), free_bytes=[2**30, 2**30, 0])


@maker
def rows_5_mb() -> bytes:
    return b'{"rows": [{"name": "' + b"x" * 5 * 2**20 + b'"}]}'


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = Config(ingest=IngestConfig(max_bytes=INGEST_MAX_BYTES))
    with serving(tmp_path_factory.mktemp("bad") / "data", config) as served:
        columns = [{"name": name, "type": type_} for name, type_ in KNOWN.items()]
        made = served.send("POST", "/v1/tables", json={"name": "known", "columns": columns})
        assert made.status_code == 201, made.text
        # The first copy of the catalog is made in the background; until then files come and go.
        deadline = time.monotonic() + 30
        copied = served.data_dir / "warehouse" / "_catalog" / "catalog.db"
        while not copied.exists() or any("spool/catalog-" in name for name in tree(served)):
            assert time.monotonic() < deadline, "the catalog was not copied"
            time.sleep(0.02)
        yield served


def tree(served: Served) -> set[str]:
    """Return every file and folder below the data directory but SQLite's own."""
    paths = served.data_dir.rglob("*")
    names = (str(path.relative_to(served.data_dir)) for path in paths)
    return {name for name in names if not name.startswith("catalog.db")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["input"].replace(" ", "-"))
def test_bad_input_gets_a_clear_answer_and_leaves_nothing(
    case: dict[str, Any], lake: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = MAKERS[case["make"]]() if "make" in case else Sent(case["body"].encode())
    if sent.free_bytes is not None:
        answers = iter(sent.free_bytes)
        usage = shutil.disk_usage(lake.data_dir)
        monkeypatch.setattr(
            shutil,
            "disk_usage",
            lambda path: usage._replace(free=next(answers, sent.free_bytes[-1]) + 2**31),
        )
    before = tree(lake)

    params = {"name": "new", **case.get("params", {})}
    if "make_name" in case:
        params["name"] = "n" * case["make_name"]
    answer = lake.send(
        "POST",
        case.get("to", "/v1/ingest"),
        params=params if "to" not in case else None,
        content=sent.body,
        headers={"Content-Type": case.get("type", "text/csv"), **(sent.headers or {})},
    )

    assert answer.status_code == case["status"], answer.text
    problem = answer.json()
    assert answer.headers["content-type"].startswith("application/problem+json")
    if case["problem"] != "*":
        assert problem["type"] == f"/problems/{case['problem']}", answer.text
    for word in case["words"]:
        assert word in problem["detail"], f"{word!r} is not in {problem['detail']!r}"
    assert str(lake.data_dir) not in answer.text, "no path of the host is told"
    monkeypatch.undo()
    assert tree(lake) == before
    assert lake.send("GET", "/health").status_code == 200
    assert lake.rows("known") == []


def test_every_maker_is_used_and_every_case_is_complete() -> None:
    assert {case["make"] for case in CASES if "make" in case} == set(MAKERS)
    inputs = [case["input"] for case in CASES]
    assert len(set(inputs)) == len(inputs)
    for case in CASES:
        assert ("make" in case) != ("body" in case), case["input"]
        assert 400 <= case["status"] < 600 and case["words"], case["input"]
