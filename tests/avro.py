"""Avro files for tests: an object container around records that are encoded already.

Source: https://avro.apache.org/docs/1.12.0/specification/
"""

import json
import zlib
from collections.abc import Sequence
from typing import Any

from tests.fuzz.thrift import zigzag

SYNC = bytes(range(16))


def container(
    fields: Sequence[dict[str, Any]], records: Sequence[bytes], codec: str = "null"
) -> bytes:
    """Return a file of one block."""
    schema = {"type": "record", "name": "row", "fields": fields}
    metadata = {"avro.schema": json.dumps(schema), "avro.codec": codec}
    pairs = b"".join(text(key) + text(value) for key, value in metadata.items())
    data = b"".join(records)
    if codec == "deflate":
        packer = zlib.compressobj(wbits=-15)
        data = packer.compress(data) + packer.flush()
    block = zigzag(len(records)) + zigzag(len(data)) + data + SYNC
    return b"Obj\x01" + zigzag(len(metadata)) + pairs + b"\0" + SYNC + block


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return zigzag(len(raw)) + raw


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}
