"""Files that are small and ask for much: by ratio, by nesting, by columns, by lying footers."""

import gzip
import io
import zipfile
from collections.abc import Callable
from datetime import time
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq

from tests.fuzz.cases import Case
from tests.fuzz.parquet import (
    CHUNK_SIZE,
    DATA_PAGE,
    ROW_GROUPS,
    SCHEMA,
    UNCOMPRESSED,
    chunks_of,
    footer_of,
    pages_of,
    replaced,
    with_footer,
)
from tests.fuzz.thrift import Record
from tests.workbooks import CORNERS, workbook

MIB = 1024 * 1024
FILE_ROWS = 3
# SchemaElement; DataPageHeader, DictionaryPageHeader in their PageHeader
CHILDREN = 5
V1, DICTIONARY = 5, 7
NUM_VALUES = 1
CHUNK_VALUES, CHUNK_UNCOMPRESSED = 5, 6
GROUP_BYTES, GROUP_ROWS = 2, 3
LIES = (-1, 0, 2**20, 2**31 - 1, 2**40, 2**62)


def bombs() -> list[Case]:
    """Return all of them; they are the same in every run."""
    return [*packed(), *texts(), *deep_parquet(), *wide_parquet(), *lying(), *long_runs()]


def packed() -> list[Case]:
    """Files of a few hundred KB that become half a gigabyte, and frames that are strange."""
    head = gzip.compress(b"a,b\n", mtime=0)
    zeros = head + gzip.compress(b"0" * MIB, mtime=0) * 512
    lines = head + gzip.compress(b"1,2\n" * (MIB // 4), mtime=0) * 512
    zstd = bytes(pa.Codec("zstd").compress(b"0" * MIB)) * 1024
    full = io.BytesIO()
    with zipfile.ZipFile(full, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(8):
            archive.writestr(
                zipfile.ZipInfo(f"{number}.csv"), b"0" * (64 * MIB), zipfile.ZIP_DEFLATED
            )
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(20_000):
            archive.writestr(zipfile.ZipInfo(f"{number}.csv"), b"")
    return [
        Case("bomb-zip-lines", "bomb", "file.zip", full.getvalue(), {}),
        Case("bomb-xlsx-corners", "bomb", "file.xlsx", workbook({"S": CORNERS}), {}),
        Case("bomb-xlsx-zeros", "bomb", "file.xlsx", workbook({"S": b"0" * (256 * MIB)}), {}),
        Case("bomb-zip-files", "bomb", "file.zip", many.getvalue(), {}),
        Case("bomb-gzip-line", "bomb", "file.csv.gz", zeros, {}),
        Case("bomb-gzip-rows", "bomb", "file.csv.gz", lines, {}),
        Case("bomb-gzip-frames", "bomb", "file.csv.gz", gzip.compress(b"", mtime=0) * 20_000, {}),
        Case("bomb-gzip-twice", "bomb", "file.csv.gz", gzip.compress(zeros, 9, mtime=0), {}),
        Case("bomb-zstd-line", "bomb", "file.csv.zst", zstd, {}),
        Case("bomb-zstd-ndjson", "bomb", "file.ndjson.zst", zstd, {}),
        # A window of 2 TiB, which a decoder would have to remember.
        Case("bomb-zstd-window", "bomb", "file.csv.zst", b"\x28\xb5\x2f\xfd\0\xf8\x01\0\0", {}),
    ]


def texts() -> list[Case]:
    depth = 500_000
    keys = ",".join(f'"k{n}":{n}' for n in range(50_000))
    named = {
        "lists.ndjson": b'{"a":' + b"[" * depth + b"]" * depth + b"}\n",
        "some-lists.ndjson": b'{"a":' + b"[" * 40 + b"]" * 40 + b"}\n",
        "some-objects.ndjson": b'{"a":' * 40 + b"1" + b"}" * 40 + b"\n",
        "objects.ndjson": b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n",
        "open.ndjson": b'{"a":' * 100_000,
        "lists.json": b"[" * depth,
        "elements.json": b"[" + b"{}," * MIB + b"{}]",
        "blanks.json": b"[" + b" " * (8 * MIB) + b'{"a":1}]',
        "element.json": b'[{"a":"' + b"x" * (8 * MIB) + b'"}]',
        "deep.json": b"[" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]",
        "many-keys.json": b"[{" + keys.encode() + b"}]",
        "mixed.ndjson": b'[{"a":' * 200_000,
        "keys.ndjson": b"{" + keys.encode() + b"}\n",
        "late-keys.ndjson": b'{"a":1}\n' * 1500 + b"".join(b'{"z%d":1}\n' % n for n in range(9999)),
        "number.ndjson": b'{"a":' + b"9" * MIB + b"}\n",
        "exponent.ndjson": b'{"a":1e999999999}\n{"a":-1e-999999999}\n',
        "key.ndjson": b'{"' + b"k" * MIB + b'":1}\n',
        "columns.csv": b",".join(b"c%d" % n for n in range(100_000)) + b"\n",
        "delimiters.csv": b"a,b\n" + b"," * MIB + b"\n",
        "quotes.csv": b"a,b\n" + b'"' * (MIB + 1) + b"\n",
        "never-closed.csv": b'a,b\n1,"' + b"x\n" * MIB,
        "header.csv": b'"' + b"\n" * MIB,
        "line.csv": b"a\n" + b"x" * (8 * MIB),
        "json.csv": b"a\n" + b'"' + b"[" * 200_000 + b'"\n',
        "nul.tsv": b"a\tb\n" + b"\0" * MIB,
        "returns.csv": b"a,b\r\n" + b"\r" * MIB,
    }
    ways: list[dict[str, str]] = [{}, {"on_error": "reject"}]
    return [
        Case(
            f"bomb-{name.partition('.')[0]}-{number}",
            "bomb",
            f"file.{name.partition('.')[2]}",
            body,
            way,
        )
        for name, body in named.items()
        for number, way in enumerate(ways)
    ] + [
        Case(
            "bomb-json-types", "bomb", "file.csv", named["json.csv"], {"types": "a:list<list<int>>"}
        )
    ]


def seed(**columns: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, compression="none", store_schema=False)
    return target.getvalue()


def changed(data: bytes, change: Callable[[Record], None]) -> bytes:
    footer, start = footer_of(data)
    change(footer)
    return with_footer(data[:start], footer)


def parquet_case(name: str, body: bytes, **params: str) -> Case:
    return Case(f"bomb-{name}", "bomb", "file.parquet", body, params)


def deep_parquet() -> list[Case]:
    """Schemas that are deeper than any stack."""

    def nested(footer: Record, depth: int) -> None:
        schema = footer.get(SCHEMA).values
        schema[1:1] = [schema[0]] * depth

    data = seed(a=[1])
    cases = [
        parquet_case(f"depth-{depth}", changed(data, partial(nested, depth=depth)))
        for depth in (50, 1000, 20_000, 200_000)
    ]
    leaves: dict[str, Any] = {"integer": pa.array([1]), "time": pa.array([time(1)])}
    for name, value in leaves.items():
        for _ in range(40):
            value = pa.ListArray.from_arrays([0, 1], value)
        cases.append(parquet_case(f"{name}-in-lists", seed(a=value)))
    return cases


def wide_parquet() -> list[Case]:
    def wide(footer: Record, count: int) -> None:
        schema = footer.get(SCHEMA).values
        schema[0].put(CHILDREN, count)
        schema[2:2] = [schema[1]] * (count - 1)

    def grouped(footer: Record, count: int) -> None:
        groups = footer.get(ROW_GROUPS)
        groups.values = groups.values * count
        footer.put(FILE_ROWS, count)

    data = seed(a=[1])
    columns = {f"c{n}": [n] for n in range(1999)}
    return [
        parquet_case("columns", changed(data, partial(wide, count=100_000))),
        parquet_case(
            "columns-said", changed(data, lambda f: f.get(SCHEMA).values[0].put(5, 2**31 - 1))
        ),
        parquet_case("columns-real", seed(**columns)),
        parquet_case("row-groups", changed(data, partial(grouped, count=20_000))),
    ]


def lying() -> list[Case]:
    """Footers and pages that say another number than is true."""
    data = seed(n=list(range(1000)), w=["word"] * 1000, l=[[1, 2]] * 1000)
    cases = []

    def add(name: str, number: int, body: bytes) -> None:
        cases.append(parquet_case(f"{name}-{number}", body))

    def in_chunks(footer: Record, field: int, value: int) -> None:
        for chunk in chunks_of(footer):
            chunk.put(field, value)

    def in_groups(footer: Record, field: int, value: int) -> None:
        for group in footer.get(ROW_GROUPS).values:
            group.put(field, value)

    for number, lie in enumerate(LIES):
        add("rows", number, changed(data, partial(Record.put, number=FILE_ROWS, value=lie)))
        for field in (CHUNK_VALUES, CHUNK_UNCOMPRESSED, CHUNK_SIZE, DATA_PAGE):
            body = changed(data, partial(in_chunks, field=field, value=lie))
            add(f"chunk-{field}", number, body)
        for field in (GROUP_BYTES, GROUP_ROWS):
            add(f"group-{field}", number, changed(data, partial(in_groups, field=field, value=lie)))
        footer, start = footer_of(data)
        for which, page in enumerate(pages_of(data, footer)):
            for name, field in (("size", UNCOMPRESSED), ("values", NUM_VALUES)):
                header = page.header
                if name == "values":
                    header = header.get(V1) or header.get(DICTIONARY)
                before = header.get(field)
                header.put(field, min(lie, 2**31 - 1))
                body = replaced(
                    data, footer_of(data)[0], start, page, data[page.body_at : page.end]
                )
                header.put(field, before)
                add(f"page-{which}-{name}", number, body)
    return cases


def long_runs() -> list[Case]:
    """Files that tell the truth, and of which a few bytes are many rows or a long text."""
    target = io.BytesIO()
    rows = 20_000_000
    nothing = pa.table({"a": pa.nulls(rows, pa.int64())})
    pq.write_table(nothing, target, compression="zstd", row_group_size=rows)
    large = pa.table(
        {"a": pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), ["x" * MIB])}
    )
    other = io.BytesIO()
    pq.write_table(large, other, compression="zstd", store_schema=False)
    shared = io.BytesIO()
    with pa.ipc.new_stream(shared, large.schema) as stream:  # 50 GB, a little at a time
        stream.write_table(large, max_chunksize=8)
    rows_of_orc = io.BytesIO()
    pyarrow.orc.write_table(nothing, rows_of_orc, compression="ZSTD")
    return [
        Case("bomb-arrow-dictionary", "bomb", "file.arrows", shared.getvalue(), {}),
        Case("bomb-orc-nulls", "bomb", "file.orc", rows_of_orc.getvalue(), {}),
        parquet_case("nulls", target.getvalue()),
        parquet_case("dictionary", other.getvalue()),
    ]
