"""Thrift's compact protocol without a schema: a tree that can be changed and written again.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import struct
from dataclasses import dataclass, field
from typing import Any

TRUE, FALSE, I8, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
INTEGERS = (I16, I32, I64)


@dataclass(slots=True)
class Field:
    id: int
    type: int
    value: Any


@dataclass(slots=True)
class Items:
    """A list or a set."""

    type: int
    values: list[Any]


@dataclass(slots=True)
class Record:
    fields: list[Field] = field(default_factory=list)

    def find(self, number: int) -> Field | None:
        return next((each for each in self.fields if each.id == number), None)

    def get(self, number: int) -> Any:
        found = self.find(number)
        return found.value if found else None

    def put(self, number: int, value: Any) -> None:
        """Give a field that is there another value."""
        found = self.find(number)
        if found is not None:
            found.value = value


class Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def double(self) -> float:
        data = self.take(8)
        if len(data) < 8:
            raise ValueError("a number is cut short")
        return float(struct.unpack("<d", data)[0])

    def value(self, kind: int) -> Any:
        if kind in (TRUE, FALSE):
            return self.byte() == TRUE
        if kind == I8:
            return self.byte()
        if kind in INTEGERS:
            return self.zigzag()
        if kind == DOUBLE:
            return self.double()
        if kind == BINARY:
            return self.take(self.varint())
        if kind in (LIST, SET):
            head = self.byte()
            size = head >> 4 if head >> 4 < 15 else self.varint()
            return Items(head & 15, [self.value(head & 15) for _ in range(size)])
        assert kind == STRUCT, f"Parquet has no thrift type {kind}"
        return self.record()

    def record(self) -> Record:
        found, last = Record(), 0
        while head := self.byte():
            kind, step = head & 15, head >> 4
            last = last + step if step else self.zigzag()
            value = kind == TRUE if kind in (TRUE, FALSE) else self.value(kind)
            found.fields.append(Field(last, kind, value))
        return found


def varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**70 - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def written(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE):
        return bytes([TRUE if value else FALSE])
    if kind == I8:
        return bytes([value & 255])
    if kind in INTEGERS:
        return zigzag(value)
    if kind == DOUBLE:
        return struct.pack("<d", value)
    if kind == BINARY:
        return varint(len(value)) + bytes(value)
    if kind in (LIST, SET):
        size = len(value.values)
        head = bytes([size << 4 | value.type]) if size < 15 else bytes([0xF0 | value.type])
        long = b"" if size < 15 else varint(size)
        return head + long + b"".join(written(value.type, each) for each in value.values)
    out, last = bytearray(), 0
    for each in value.fields:
        type_ = (TRUE if each.value else FALSE) if each.type in (TRUE, FALSE) else each.type
        step = each.id - last
        out += bytes([step << 4 | type_]) if 0 < step < 16 else bytes([type_]) + zigzag(each.id)
        out += b"" if each.type in (TRUE, FALSE) else written(each.type, each.value)
        last = each.id
    return bytes([*out, 0])
