"""Parquet that is broken where it counts: the rest of the file still makes sense.

A change of bytes mostly breaks the footer, and everybody refuses that. Here one number, one page
or one list says something else, and the file is put together again around it.
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import copy
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tests.fuzz.mutations import BYTES, INTEGERS, several
from tests.fuzz.thrift import (
    BINARY,
    DOUBLE,
    FALSE,
    I8,
    LIST,
    SET,
    STRUCT,
    TRUE,
    Field,
    Items,
    Reader,
    Record,
    written,
)
from tests.fuzz.thrift import (
    INTEGERS as INTEGER_TYPES,
)

MAGIC = b"PAR1"
# FileMetaData
SCHEMA, ROW_GROUPS = 2, 4
# RowGroup, ColumnChunk, ColumnMetaData
COLUMNS, GROUP_OFFSET = 1, 5
CHUNK_OFFSET, META = 2, 3
CODEC, CHUNK_SIZE, DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE = 4, 7, 9, 10, 11
# PageHeader, DataPageHeaderV2
TYPE, UNCOMPRESSED, COMPRESSED, V2 = 1, 2, 3, 8
DEFINITION_BYTES, REPETITION_BYTES = 5, 6
IS_COMPRESSED = 7
NONSENSE = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(OSError, TypeError, ValueError),
)
"""What is raised when a file is so broken that no page is found in it."""
BODY_MAX_BYTES = 2**24
CODECS: dict[int, Any] = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}


@dataclass(slots=True)
class Page:
    at: int
    header: Record
    body_at: int
    end: int
    codec: int


def footer_of(data: bytes) -> tuple[Record, int]:
    """Return the footer and where it begins."""
    size = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - size
    return Reader(data, start).record(), start


def with_footer(body: bytes, footer: Record) -> bytes:
    text = written(STRUCT, footer)
    return body + text + len(text).to_bytes(4, "little") + MAGIC


def chunks_of(footer: Record) -> list[Record]:
    return [
        chunk.get(META)
        for group in footer.get(ROW_GROUPS).values
        for chunk in group.get(COLUMNS).values
    ]


def first_page(chunk: Record) -> int:
    offsets = [each for each in (chunk.get(DICTIONARY_PAGE), chunk.get(DATA_PAGE)) if each]
    return int(min(offsets, default=0))


def pages_of(data: bytes, footer: Record) -> list[Page]:
    pages = []
    for chunk in chunks_of(footer):
        if not chunk.get(CHUNK_SIZE):
            continue
        at = first_page(chunk)
        end = at + chunk.get(CHUNK_SIZE)
        while at < end:
            reader = Reader(data, at)
            header = reader.record()
            page = Page(at, header, reader.at, reader.at + header.get(COMPRESSED), chunk.get(CODEC))
            if page.end <= at:
                raise ValueError("the page ends before it begins")
            pages.append(page)
            at = page.end
    return pages


def leaves(record: Record) -> list[tuple[Record, Field]]:
    """Every field of a tree, with the record that it is in."""
    found = []
    for each in record.fields:
        found.append((record, each))
        inner = each.value.values if isinstance(each.value, Items) else [each.value]
        for value in inner:
            if isinstance(value, Record):
                found += leaves(value)
    return found


def change_tree(chance: random.Random, tree: Record) -> None:
    """Say something else in one field."""
    record, field = chance.choice(leaves(tree))
    how = chance.random()
    if how < 0.08:
        record.fields.remove(field)
    elif how < 0.12:
        record.fields.insert(chance.randrange(len(record.fields) + 1), copy.deepcopy(field))
    elif how < 0.15:
        field.id = chance.choice((field.id + 1, 0, -1, 99, 32767))
    elif field.type in INTEGER_TYPES:
        field.value = other_integer(chance, field.value)
    elif field.type in (TRUE, FALSE):
        field.value = not field.value
    elif field.type == I8:
        field.value = chance.randrange(256)
    elif field.type == BINARY:
        broken = several(chance, field.value, BYTES)
        field.value = chance.choice((b"", b"\0", b"\xff" * 9, field.value * 50, broken))
    elif field.type == DOUBLE:
        field.value = float("nan")
    elif field.type in (LIST, SET):
        change_items(chance, field.value)


def other_integer(chance: random.Random, value: int) -> int:
    near = (value + 1, value - 1, value * 2, -value, value + 8, value ^ 1 << chance.randrange(24))
    return chance.choice((chance.choice(near), chance.choice(INTEGERS), chance.randrange(16)))


def change_items(chance: random.Random, items: Items) -> None:
    values = items.values
    if not values:
        return
    spot = chance.randrange(len(values))
    how = chance.randrange(5)
    if how == 0:
        del values[spot]
    elif how == 1:
        values[spot:spot] = [copy.deepcopy(values[spot]) for _ in range(chance.choice((1, 1, 40)))]
    elif how == 2:
        chance.shuffle(values)
    elif how == 3:
        values.clear()
    elif isinstance(values[spot], int):
        values[spot] = other_integer(chance, values[spot])


def change_footer(chance: random.Random, data: bytes) -> bytes:
    footer, start = footer_of(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        change_tree(chance, footer)
    return with_footer(data[:start], footer)


def change_footer_length(chance: random.Random, data: bytes) -> bytes:
    size = other_integer(chance, int.from_bytes(data[-8:-4], "little")) % 2**32
    return data[:-8] + size.to_bytes(4, "little") + data[-4:]


def change_page_header(chance: random.Random, data: bytes) -> bytes:
    footer, start = footer_of(data)
    page = chance.choice(pages_of(data, footer) or [None])
    if page is None:
        return change_footer(chance, data)
    for _ in range(chance.choice((1, 1, 2))):
        change_tree(chance, page.header)
    return replaced(data, footer, start, page, data[page.body_at : page.end])


def change_page_body(chance: random.Random, data: bytes) -> bytes:
    """Change levels, indexes or values, under whatever compression they have."""
    footer, start = footer_of(data)
    pages = [page for page in pages_of(data, footer) if page.codec in (0, *CODECS)]
    if not pages:
        return change_footer(chance, data)
    page = chance.choice(pages)
    body, levels, size = data[page.body_at : page.end], b"", page.header.get(UNCOMPRESSED)
    if (v2 := page.header.get(V2)) is not None:
        split = v2.get(DEFINITION_BYTES) + v2.get(REPETITION_BYTES)
        levels, body, size = body[:split], body[split:], size - split
        if v2.get(IS_COMPRESSED) is False:
            page.codec = 0
    if size > BODY_MAX_BYTES:
        raise ValueError("the page is said to be larger than any seed")
    codec = pa.Codec(CODECS[page.codec]) if page.codec and body and size else None
    if codec:
        body = bytes(codec.decompress(body, size))
    if levels and chance.random() < 0.4:
        levels = same_size(several(chance, levels, BYTES), len(levels), chance)
    else:
        body = same_size(several(chance, body, BYTES), len(body), chance)
    page.header.put(UNCOMPRESSED, len(levels) + len(body))
    packed = levels + (bytes(codec.compress(body)) if codec else body)
    page.header.put(COMPRESSED, len(packed))
    if chance.random() < 0.15:
        change_tree(chance, page.header)
    return replaced(data, footer, start, page, packed)


def same_size(data: bytes, size: int, chance: random.Random) -> bytes:
    """Mostly as long as before: then what comes after it is still found."""
    return data if chance.random() < 0.3 else data[:size].ljust(size, b"\0")


def replaced(data: bytes, footer: Record, start: int, page: Page, body: bytes) -> bytes:
    """Put another page in the place of one, and move what comes after it."""
    new = written(STRUCT, page.header) + body
    more = len(new) - (page.end - page.at)

    def shift(record: Record, number: int) -> None:
        offset = record.get(number)
        if offset is not None and offset > page.at:
            record.put(number, offset + more)

    for group in footer.get(ROW_GROUPS).values:
        shift(group, GROUP_OFFSET)
        for chunk in group.get(COLUMNS).values:
            shift(chunk, CHUNK_OFFSET)
            meta: Any = chunk.get(META)
            first = first_page(meta)
            if first <= page.at < first + meta.get(CHUNK_SIZE):
                meta.put(CHUNK_SIZE, meta.get(CHUNK_SIZE) + more)
            for number in (DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE):
                shift(meta, number)
    return with_footer(data[: page.at] + new + data[page.end : start], footer)


def changed(chance: random.Random, data: bytes) -> bytes:
    """Return a Parquet file that is broken in one way or in two."""
    changes = (change_footer, change_page_header, change_page_body, change_page_body)
    data = chance.choice(changes)(chance, data)
    if chance.random() < 0.3:
        with suppress(*NONSENSE):
            data = chance.choice(changes)(chance, data)
    return data
