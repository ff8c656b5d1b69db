"""One table read in every way that we promise, and its schema changed in few words."""

from collections.abc import Sequence
from typing import Any

import pytest

from lakehouse.catalog import relations
from lakehouse.catalog.schema_models import AnyChange, SchemaEvolve, TableSchema
from lakehouse.catalog.table import chosen_snapshot, read_schema
from tests.catalog.lake import Lake, main

Row = dict[str, Any]


def evolve(lake: Lake, table: str, *changes: AnyChange, expected: int | None = None) -> TableSchema:
    return lake.catalog.schemas.evolve(main(table), SchemaEvolve(list(changes), expected))


def read(lake: Lake, table: str, as_of: int | None = None) -> list[Row]:
    """Return the rows, sorted; DuckDB by two ways and PyIceberg must agree on them."""
    found = in_order(lake.arrow(table, as_of).to_pylist())
    assert in_order(scanned(lake, table, as_of)) == found
    with lake.pyiceberg(table) as theirs:
        arrow = theirs.scan(snapshot_id=as_of).to_arrow()
        assert in_order(arrow.to_pylist()) == found
        if found:
            assert arrow.column_names == list(found[0])
    return found


def scanned(lake: Lake, table: str, as_of: int | None = None) -> list[Row]:
    """Return the rows as `iceberg_scan` reads them."""
    loaded = lake.catalog.load(main(table))
    snapshot = chosen_snapshot(loaded, as_of)
    schema = read_schema(loaded, snapshot, as_of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relations, "FILES_LIMIT", -1)
        sql, _ = relations.relation_sql(lake.catalog._manifests, loaded, snapshot, schema)
    assert "read_parquet" not in sql
    rows: list[Row] = lake.cursor.execute(sql).to_arrow_table().to_pylist()
    return rows


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=repr)
