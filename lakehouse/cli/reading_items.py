"""Items for a collection out of a file, row by row: JSON lines, CSV or Parquet."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from lakehouse.errors import InvalidInputError

BATCH_ITEMS = 1_000
Advance: TypeAlias = Callable[[int], None]
Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Naming:
    """Which columns are what; all others are metadata."""

    id: str = "id"
    text: str = "text"
    vector: str = "vector"
    types: Mapping[str, str] = field(default_factory=dict)
    """Of declared columns: a CSV cell of a `string` stays as it is written."""


def items_of(path: Path, naming: Naming, advance: Advance) -> Iterator[dict[str, Any]]:
    """Yield the items of a file; `advance` is called with the bytes read so far.

    Raises:
        InvalidInputError: a row is no item; the message has its number, from 1.
    """
    rows = rows_of(path, naming, advance)
    for number in count(1):
        try:
            row = next(rows, None)
            if row is None:
                return
            item = item_of(row, naming)
        except (ValueError, csv.Error, msgspec.DecodeError) as error:
            raise InvalidInputError(f"{path}, row {number:,}: {error}", row=number) from error
        yield item


def rows_of(path: Path, naming: Naming, advance: Advance) -> Iterator[Row]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from parquet_rows(path, advance)
    elif kind == ".csv":
        with path.open("rb") as file:
            for row in csv.DictReader(lines(file, advance)):
                yield from_csv(row, naming)
    elif kind in {".jsonl", ".ndjson", ".json"}:
        with path.open("rb") as file:
            for line in lines(file, advance):
                if line.strip():
                    yield msgspec.json.decode(line, type=dict[str, Any])
    else:
        raise InvalidInputError(f"{path}: the name ends in none of .jsonl, .ndjson, .csv, .parquet")


def lines(file: Any, advance: Advance) -> Iterator[str]:
    done = 0
    for line in file:
        done += len(line)
        advance(done)
        yield line.decode("utf-8-sig" if done == len(line) else "utf-8")


def parquet_rows(path: Path, advance: Advance) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size, done = path.stat().st_size, 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ITEMS):
                done += batch.num_rows
                advance(size * done // file.metadata.num_rows)
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise InvalidInputError(f"{path} is not readable as Parquet: {error}") from error


def from_csv(row: Mapping[Any, Any], naming: Naming) -> Row:
    if None in row or None in row.values():
        raise ValueError("it has more or fewer cells than the header")
    plain = {naming.id, naming.text, *(n for n, t in naming.types.items() if t == "string")}
    return {
        name: text if name in plain else value_of(text) for name, text in row.items() if text != ""
    }


def value_of(text: str) -> Any:
    """Return what a cell looks like: a number, true, false, or a list of numbers; else a text."""
    try:
        return msgspec.json.decode(text, type=int | float | bool | list[float])
    except msgspec.DecodeError:
        return text


def item_of(row: Row, naming: Naming) -> dict[str, Any]:
    name = row.get(naming.id)
    if name is None or isinstance(name, bool) or not isinstance(name, str | int):
        raise ValueError(f"the column {naming.id!r} has no id in it; --id names another column")
    item: dict[str, Any] = {"id": str(name)}
    for key, column in (("vector", naming.vector), ("text", naming.text)):
        if row.get(column) is not None:
            item[key] = row[column]
    if len(item) == 1:
        raise ValueError(
            f"neither {naming.vector!r} nor {naming.text!r} is there; --vector or --text names it"
        )
    named = (naming.id, naming.text, naming.vector)
    item["metadata"] = {key: value for key, value in row.items() if key not in named}
    return item
