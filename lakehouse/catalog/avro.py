"""Manifests and manifest lists written again with some values changed, and all else as it was.

They are read and written with the schema of the file itself, so that fields of other writers, and
what the header says, stay.
"""

from collections.abc import Callable

from pyiceberg.avro.file import AvroFile, AvroOutputFile
from pyiceberg.typedef import Record

from lakehouse.catalog.byte_files import BytesInput, BytesOutput

Fields = dict[int, int]
"""Where a field stands in a record, by its id."""

OWN = {"avro.schema", "avro.codec"}
MANIFEST_PATH = 500
"""A field of the records of a list, and of no manifest."""


def rewritten(data: bytes, change: Callable[[Record, Callable[..., Fields]], None]) -> bytes:
    """Return an Avro file with `change` called on each of its records.

    Args:
        change: gets a record, which it changes in place, and a function that says where fields
            stand: in the record itself, or with a field's id, in the record in that field.
    """
    with AvroFile[Record](BytesInput("", data)) as source:
        schema = source.schema
        inside = {field.field_id: field.field_type for field in schema.fields}

        def fields(of: int | None = None) -> Fields:
            found = schema.fields if of is None else inside[of].fields  # type: ignore[attr-defined]
            return {field.field_id: number for number, field in enumerate(found)}

        records = list(source)
        for record in records:
            change(record, fields)
        name = "manifest_file" if MANIFEST_PATH in inside else "manifest_entry"
        kept = {key: value for key, value in source.header.meta.items() if key not in OWN}
        codec = source.header.meta.get("avro.codec", "null")
    output = BytesOutput("")
    with AvroOutputFile[Record](
        output, schema, name, metadata={**kept, "avro.codec": codec}
    ) as file:
        file.write_block(records)
    return output.data
