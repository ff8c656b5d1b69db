"""What PyIceberg works out of a schema before it writes an Avro file, worked out once.

For a table of two columns that took 12 of the 20 ms of CPU of a small append.
"""

import json
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

import orjson
from pyiceberg.avro.file import META_SCHEMA, AvroFileHeader, AvroOutputFile
from pyiceberg.avro.resolver import construct_writer, resolve_writer
from pyiceberg.avro.writer import Writer
from pyiceberg.io import OutputFile
from pyiceberg.manifest import (
    DEFAULT_READ_VERSION,
    MANIFEST_LIST_FILE_SCHEMAS,
    ManifestEntry,
    ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import VoidTransform
from pyiceberg.typedef import StructProtocol
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

from lakehouse.catalog.byte_files import BytesOutput
from lakehouse.catalog.metadata import FORMAT_VERSION, Json
from lakehouse.catalog.types import Field

D = TypeVar("D", bound=StructProtocol)
MAGIC = b"Obj\x01"
SYNC_BYTES = 16
COMPRESSION: Any = "gzip"
CODECS = {"gzip": "deflate", "null": "null"}
FORMS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Form:
    """How records of one schema are written."""

    avro_schema: str
    writer: Writer


def form_of(file_schema: Schema, record_schema: Schema, name: str) -> Form:
    converted = AvroSchemaConversion().iceberg_to_avro(file_schema, schema_name=name)
    writer = resolve_writer(record_schema=record_schema, file_schema=file_schema)
    return Form(json.dumps(converted), writer)


class FormedFile(AvroOutputFile[D]):
    """An Avro file whose schema is known already."""

    def __init__(self, output: OutputFile, form: Form, metadata: dict[str, str]) -> None:
        self.output_file = output
        self.sync_bytes = os.urandom(SYNC_BYTES)
        self.writer = form.writer
        codec = CODECS[metadata["avro.codec"]]
        self.metadata = {**metadata, "avro.schema": form.avro_schema, "avro.codec": codec}

    def _write_header(self) -> None:
        header_writer().write(self.encoder, AvroFileHeader(MAGIC, self.metadata, self.sync_bytes))


@cache
def header_writer() -> Writer:
    return construct_writer(META_SCHEMA)


@cache
def list_form() -> Form:
    """Return the form of manifest lists."""
    schemas = MANIFEST_LIST_FILE_SCHEMAS
    return form_of(schemas[FORMAT_VERSION], schemas[DEFAULT_READ_VERSION], "manifest_file")


@dataclass(frozen=True, slots=True)
class ManifestForm:
    """How the manifests of one schema and one partition spec are written."""

    schema: Schema
    spec: PartitionSpec
    form: Form
    metadata: dict[str, str]


def manifest_form(schema: Json, spec: Json) -> ManifestForm:
    """Return the form of a table's manifests, from its metadata."""
    return known_manifest_form(orjson.dumps(schema), orjson.dumps(spec))


@lru_cache(FORMS_KEPT)
def known_manifest_form(schema_json: bytes, spec_json: bytes) -> ManifestForm:
    # What identifies rows is left out: it says nothing of files, and an engine may have named
    # columns that cannot, of which PyIceberg makes no schema.
    columns = {**orjson.loads(schema_json), "identifier-field-ids": []}
    spec = PartitionSpec.model_validate_json(spec_json)
    void = {each.source_id for each in spec.fields if isinstance(each.transform, VoidTransform)}
    if void:  # such a field has no value, though its column always has one
        columns["fields"] = optional(columns["fields"], void)
    schema = Schema.model_validate(columns)
    plain = ManifestWriterV2(spec, schema, BytesOutput(""), 0, COMPRESSION)
    file_schema = plain._with_partition(FORMAT_VERSION)
    record_schema = plain._with_partition(DEFAULT_READ_VERSION)
    form = form_of(file_schema, record_schema, "manifest_entry")
    return ManifestForm(schema, spec, form, plain._meta)


def optional(fields: Sequence[Field], ids: Container[int]) -> list[Field]:
    """Return fields, those of some ids optional, also inside of structs."""
    return [
        {
            **each,
            "required": each.get("required", False) and each["id"] not in ids,
            "type": {**type_, "fields": optional(type_["fields"], ids)}
            if isinstance(type_ := each["type"], dict) and type_["type"] == "struct"
            else type_,
        }
        for each in fields
    ]


class FormedManifest(ManifestWriterV2):
    """PyIceberg's writer of manifests, over a known form."""

    def __init__(self, form: ManifestForm, output: OutputFile, snapshot_id: int) -> None:
        super().__init__(form.spec, form.schema, output, snapshot_id, COMPRESSION)
        self._form = form

    def new_writer(self) -> AvroOutputFile[ManifestEntry]:
        return FormedFile(self._output_file, self._form.form, self._form.metadata)
