"""A folder `k=v` above the tables is only a folder."""

from pathlib import Path

from lakehouse.catalog import Catalog, Column, Rows, TableRef, parse_table_name
from lakehouse.database import Database, DatabaseSettings
from lakehouse.state import SqliteState
from lakehouse.storage import LocalStore


def test_a_folder_named_like_a_column_does_not_replace_its_values(tmp_path: Path) -> None:
    root = tmp_path / "region=eu"
    (root / "warehouse").mkdir(parents=True)
    settings = DatabaseSettings(
        directories=(root,),
        temp_dir=root / "spill",
        memory_max_bytes=1 << 30,
        temp_max_bytes=1 << 30,
    )
    rows = Rows(
        "SELECT 'us' AS region, 1 AS id", (Column("region", "string"), Column("id", "long"))
    )

    with (
        Database.open(settings) as database,
        SqliteState.open(root / "catalog.db") as state,
        database.cursor() as cursor,
    ):
        catalog = Catalog(state, LocalStore(root / "warehouse"))
        for name, layout in (("plain", ()), ("parted", ("region",))):
            table = parse_table_name(name)
            catalog.loading.write(cursor, table, rows, mode="create", partition_by=layout)
            (pinned,) = catalog.pin(cursor, [TableRef(None, name)])
            found = cursor.execute(
                f"SELECT region FROM {pinned.relation} WHERE region = 'us'"
            ).fetchall()

            assert found == [("us",)], name
