"""A collection as a table of Lance: its columns, and items as rows of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from lakehouse.names import check_new_column_names, folded
from lakehouse.vectors.errors import InvalidCollectionError
from lakehouse.vectors.ledger import Definition, encoded
from lakehouse.vectors.models import ColumnType

ID_MAX_BYTES = 512
METADATA_MAX_BYTES = 64 * 1024
TEXT_MAX_BYTES = 256 * 1024
RESERVED = frozenset(["id", "vector", "text", "metadata", "document", "distance", "score", "rank"])
"""Names that no declared column has: of parts of an item, and of a hit."""
KIND = b"lakehouse"
ARROW: Mapping[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def check_columns(names: Iterable[str]) -> None:
    """Refuse columns that Lance cannot have or name, or that a filter cannot ask for."""
    check_new_column_names(names)
    for name in names:
        if folded(name) in RESERVED:
            raise InvalidCollectionError(
                f"no column can be called {name!r}: an item has a part of that name"
            )
        if name[0] in "_$" or "." in name or "`" in name:
            raise InvalidCollectionError(
                f"no column can be called {name!r}: it begins with `_` or `$`, or has a dot or a"
                " backtick; without a column filters can ask for it too, unless `$` begins it"
            )


def schema_of(definition: Definition, about: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the columns of a collection; those that are made have what it says of itself."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata=dict(about or {})),
            pa.field("vector", pa.list_(pa.float32(), definition.dimension), nullable=False),
            pa.field("text", pa.string()),
            pa.field("metadata", pa.string()),
            pa.field("document", pa.string()),
            *(pa.field(name, ARROW[kind]) for name, kind in definition.columns.items()),
        ],
        metadata={KIND: encoded(definition).encode()},
    )


@dataclass(slots=True)
class Batch:
    """Items on their way in, a list for each of their parts."""

    ids: list[str]
    vectors: Any
    """Shape (items, dimension), float32."""
    texts: list[str | None]
    metadata: list[str | None]
    """JSON text of an object; None for none, and for what `keeps` says of."""
    keeps: list[bool] = field(default_factory=list)
    """Whether an item that is there already keeps its metadata."""
    documents: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def table(self, definition: Definition) -> pa.Table:
        """Return the items as rows."""
        schema = schema_of(definition)
        flat = pa.array(np.ascontiguousarray(self.vectors).reshape(-1))
        columns: list[Any] = [
            pa.array(self.ids, pa.string()),
            pa.FixedSizeListArray.from_arrays(flat, definition.dimension),
            pa.array(self.texts, pa.string()),
            pa.array(self.metadata, pa.string()),
            pa.array(self.documents or [None] * len(self), pa.string()),
        ]
        if definition.columns:
            objects = [msgspec.json.decode(text) if text else {} for text in self.metadata]
            for name, kind in definition.columns.items():
                values = [column_value(kind, each.get(name)) for each in objects]
                columns.append(pa.array(values, ARROW[kind]))
        return pa.Table.from_arrays(columns, schema=schema)


def together(batches: Sequence[Batch]) -> Batch:
    """Return batches as one, each id once: of one that is there twice the last one holds.

    One that keeps its metadata keeps what an earlier one of the same id brought.
    """
    if len(batches) == 1 and len(set(batches[0].ids)) == len(batches[0]):
        return batches[0]
    place: dict[str, int] = {}
    parts: list[tuple[Batch, int]] = []
    metadata: list[tuple[str | None, bool]] = []
    for batch in batches:
        keeps = batch.keeps or [False] * len(batch)
        for number, name in enumerate(batch.ids):
            said = (batch.metadata[number], keeps[number])
            at = place.setdefault(name, len(parts))
            if at == len(parts):
                parts.append((batch, number))
                metadata.append(said)
            else:
                parts[at] = (batch, number)
                metadata[at] = metadata[at] if keeps[number] else said
    offsets = dict(zip(map(id, batches), np.cumsum([0, *map(len, batches[:-1])]), strict=True))
    rows = np.array([offsets[id(batch)] + number for batch, number in parts])
    return Batch(
        ids=list(place),
        vectors=np.concatenate([batch.vectors for batch in batches])[rows],
        texts=[batch.texts[number] for batch, number in parts],
        metadata=[text for text, _ in metadata],
        keeps=[kept for _, kept in metadata],
        documents=[batch.documents[n] if batch.documents else None for batch, n in parts],
    )


def values(rows: pa.Table, column: str) -> list[Any]:
    """Return a column of rows as a list."""
    return rows[column].to_pylist()


def as_written(text: str | None) -> Any:
    """Return metadata as it was written, byte by byte, to be put into an answer; `{}` for none."""
    return msgspec.Raw(text.encode() if text else b"{}")


def column_value(kind: ColumnType, value: Any) -> Any:
    """Return a value of the metadata as its declared column has it.

    Raises:
        ValueError: it is of another kind; the words say which it should be.
    """
    if value is None:
        return None
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "timestamp" and isinstance(value, str):
        return moment(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "float" and is_number:
        return float(value)
    if kind == "integer" and is_number and value == int(value) and -(2**63) <= value < 2**63:
        return int(value)
    raise ValueError(f"is no {kind}")


def check_declared(metadata: Mapping[str, Any], definition: Definition) -> None:
    """Raise `ValueError`, which names the key, unless declared columns can hold what is said."""
    for name, kind in definition.columns.items():
        try:
            column_value(kind, metadata.get(name))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"its {name!r} {error}, as the collection declares it") from error


def moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # the last is a year 0 or 10,000 in UTC
        raise ValueError("is no timestamp: 2026-01-31T12:00:00Z") from None
