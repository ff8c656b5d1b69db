"""One input after the other: a seed makes them, and makes them again."""

import gzip
import io
import random
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pyarrow as pa

from tests.fuzz import parquet
from tests.fuzz.mutations import BYTES, CSV, JSON, NDJSON, several, splice
from tests.fuzz.seeds import (
    arrow_seeds,
    avro_seeds,
    csv_seeds,
    json_seeds,
    ndjson_seeds,
    orc_seeds,
    parquet_seeds,
    sheet_seeds,
    xlsx_seeds,
)
from tests.workbooks import workbook

ZIPPED = ("csv", "tsv", "ndjson", "json", "parquet", "arrow")
CORPUS = Path(__file__).parent / "corpus"
FORMATS = (
    "csv",
    "tsv",
    "ndjson",
    "json",
    "parquet",
    "arrow",
    "orc",
    "avro",
    "xlsx",
    "gzip",
    "zstd",
    "zip",
)
BINARY = {"arrow": arrow_seeds, "orc": orc_seeds, "avro": avro_seeds, "xlsx": xlsx_seeds}
ENDINGS = {".gz": "gzip", ".zst": "zstd"}
INTO = "into"
"""Not sent: which of `tables()` the file goes into, instead of a new one."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request: what is sent, and how it is to be read."""

    name: str
    format: str
    filename: str
    body: bytes = field(repr=False)
    params: Mapping[str, str]

    def save(self, folder: Path) -> Path:
        """Write it as a file of the corpus: the parameters are in its name."""
        ending = self.filename.partition(".")[2]
        asked = f"@{urlencode(self.params)}".replace(".", "%2E") if self.params else ""
        path = folder / f"{self.name}{asked}.{ending}"
        path.write_bytes(self.body)
        return path


def corpus(folder: Path = CORPUS) -> Iterator[Case]:
    """Yield what was found once, and is mended."""
    for path in sorted(folder.iterdir()):
        stem, _, ending = path.name.partition(".")
        name, _, asked = stem.partition("@")
        format_ = ENDINGS.get(path.suffix, path.suffix[1:])
        yield Case(name, format_, f"file.{ending}", path.read_bytes(), dict(parse_qsl(asked)))


def tables() -> dict[str, tuple[str, bytes]]:
    """Return what lies in tables before: a file's name and its bytes."""
    return {
        "csv": ("t.csv", csv_seeds(",")[0]),
        "ndjson": ("t.ndjson", ndjson_seeds()[1]),
        "parquet": ("t.parquet", parquet_seeds()[0]),
        "nested": ("t.parquet", parquet_seeds()[6]),
    }


def of_number(format_: str, seed: int, number: int) -> Case:
    """Return the `number`-th input of a format."""
    chance = random.Random(f"{seed}-{format_}-{number}")
    name = f"{format_}-{seed}-{number}"
    if format_ in ("gzip", "zstd"):
        inner = chance.choice(("csv", "tsv", "ndjson", "json", "parquet"))
        body = chance.choice(seeds_of(inner))
        if chance.random() < 0.5:
            body = broken(chance, inner, body)
        ending = "gz" if format_ == "gzip" else "zst"
        packed = repacked(chance, format_, body)
        return Case(name, format_, f"file.{inner}.{ending}", packed, asked_of(chance, inner))
    if format_ == "zip":
        return Case(name, format_, "file.zip", zipped(chance), asked_of(chance, "csv"))
    body = broken(chance, format_, chance.choice(seeds_of(format_)))
    return Case(name, format_, f"file.{format_}", body, asked_of(chance, format_))


def seeds_of(format_: str) -> tuple[bytes, ...]:
    if format_ == "parquet":
        return parquet_seeds()
    if format_ == "json":
        return json_seeds()
    if format_ in BINARY:
        return BINARY[format_]()
    return ndjson_seeds() if format_ == "ndjson" else csv_seeds("," if format_ == "csv" else "\t")


def broken(chance: random.Random, format_: str, body: bytes) -> bytes:
    if chance.random() < 0.05:
        return splice(chance, body, chance.choice(seeds_of(format_)))
    if format_ == "xlsx" and chance.random() < 0.8:  # else what breaks is the zip around it
        ways = JSON if chance.random() < 0.3 else BYTES
        return workbook({"S": several(chance, chance.choice(sheet_seeds()), ways)})
    if format_ in BINARY:
        return several(chance, body, BYTES)
    if format_ != "parquet":
        return several(chance, body, {"ndjson": NDJSON, "json": JSON}.get(format_, CSV))
    if chance.random() < 0.06:
        return parquet.change_footer_length(chance, body)
    return several(chance, body, BYTES) if chance.random() < 0.1 else parquet.changed(chance, body)


def asked_of(chance: random.Random, format_: str) -> dict[str, str]:
    """Return parameters: the ways that a file is read are many."""
    into: tuple[str, ...]
    if format_ == "parquet" or format_ in BINARY:
        into, types = ("parquet", "nested"), "word:string,id:long"
    elif format_ in ("ndjson", "json"):
        into, types = ("ndjson",), "id:decimal(9,2),at:timestamptz,place:string"
    else:
        into, types = ("csv",), "id:decimal(9,2),at:timestamp,note:string"
    named = {INTO: chance.choice(into)}
    ways: list[dict[str, str]] = [
        *([{}] * 5),
        *([{"on_error": "reject"}] * 3),
        *([{"on_error": "string"}] * 2),
        {"dry_run": "true"},
        {"types": types},
        {"date_format": "%d.%m.%Y"},
        {"delimiter": chance.choice(("||", "\\t", "§", ", ", '"', "|||||"))},
        {"widths": chance.choice(("3,8,6,10", "id:3,city:8,rest:40", "1", "a:99999"))},
        {"encoding": chance.choice(("latin-1", "utf-16", "utf-7", "cp1252"))},
        named,
        {**named, "on_error": "reject"},
        {**named, "mode": "append", "evolve": "true", "on_error": "reject"},
        {**named, "mode": "upsert", "key": "id"},
        {**named, "mode": "delete", "key": "id"},
    ]
    return chance.choice(ways)


def repacked(chance: random.Random, format_: str, body: bytes) -> bytes:
    """Compress, in one frame or several, and break what came of it."""
    cut = chance.randrange(max(len(body), 1)) if chance.random() < 0.3 else 0
    frames = [pack(format_, piece) for piece in (body[:cut], body[cut:]) if piece]
    frames = frames or [pack(format_, b"")]
    if chance.random() < 0.1:
        frames.insert(chance.randrange(len(frames) + 1), pack(format_, b""))
    if chance.random() < 0.1:
        frames.append(chance.choice((b"\0" * 512, b"\x50\x2a\x4d\x18\x04\0\0\0abcd", b"PAR1")))
    packed = b"".join(frames)
    how = chance.random()
    if how < 0.4:
        return packed
    if how < 0.6:
        return several(chance, packed[:24], BYTES) + packed[24:]
    return several(chance, packed, BYTES)


def zipped(chance: random.Random) -> bytes:
    """Zip one to three files of one format or several, some of them broken, and break the zip."""
    target = io.BytesIO()
    format_ = chance.choice(ZIPPED)
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(chance.choice((1, 1, 2, 3))):
            if chance.random() < 0.2:
                format_ = chance.choice(ZIPPED)
            body = chance.choice(seeds_of(format_))
            if chance.random() < 0.3:
                body = broken(chance, format_, body)
            entry = zipfile.ZipInfo(f"folder/{number}.{format_}")
            entry.compress_type = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            archive.writestr(entry, body)
    packed = target.getvalue()
    how = chance.random()
    if how < 0.4:
        return packed
    end = packed.rindex(b"PK\x01\x02") if how < 0.7 else 0  # the list of its files, or anywhere
    return packed[:end] + several(chance, packed[end:], BYTES)


def pack(format_: str, body: bytes) -> bytes:
    if format_ == "gzip":
        return gzip.compress(body, mtime=0)
    return bytes(pa.Codec("zstd").compress(body))
