"""Which files of a snapshot can hold rows that meet a condition: the others are never opened.

A condition comes as the tree that DuckDB's parser made of it. What of it can be asked of the bounds
of a file, `bounds_conditions.py` says. A wrong drop loses rows silently.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import orjson
import pyarrow as pa

from lakehouse.catalog.bounds import Bounds, arrow_type
from lakehouse.catalog.bounds_conditions import Condition
from lakehouse.catalog.cache import Cache
from lakehouse.catalog.manifests import ManifestFile, Manifests, has_deletes, live
from lakehouse.catalog.metadata import NAME_MAPPING, Json, schema_of, snapshot_of
from lakehouse.catalog.relations import matching
from lakehouse.catalog.table import Where
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import Field
from lakehouse.database import Connection, EngineDataError, EngineProgrammingError, beside, quoted
from lakehouse.names import folded
from lakehouse.trees import Tree, nodes_of

FILES_MIN = 20
"""Below it nothing is looked at: opening as many files costs less."""
CHOSEN_FILES_MAX = 500
"""`read_parquet` of more is slower than `iceberg_scan`, which leaves files out by itself."""
CHOICES_KEPT = 200_000
RELATION = "lakehouse_bounds"

SELECT: Tree = {
    "type": "SELECT_NODE",
    "modifiers": [],
    "cte_map": {"map": []},
    "from_table": {"type": "EMPTY", "alias": "", "sample": None},
    "where_clause": None,
    "group_expressions": [],
    "group_sets": [],
    "aggregate_handling": "STANDARD_HANDLING",
    "having": None,
    "sample": None,
    "qualify": None,
}


class Pruning:
    """Chooses files, and remembers what it chose: an agent asks the same again."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self._bounds = Bounds(manifests)
        self._chosen: Cache[tuple[str, ...] | None] = Cache(CHOICES_KEPT, lambda c: len(c or ()))

    def choose(
        self,
        cursor: Connection,
        table: LoadedTable,
        snapshot: Json | None,
        schema: Json,
        where: Where | None,
    ) -> tuple[str, ...] | None:
        """Return the locations of the files to read, sorted; None for the whole snapshot.

        Raises:
            ObjectNotFoundError, UnreadableFileError: a manifest is gone, or is none.
        """
        if where is None or snapshot is None or not can_choose(table.metadata, schema["fields"]):
            return None
        key = f"{snapshot['manifest-list']}#{schema['schema-id']}#{where.digest()}"
        return self._chosen.get(
            key, lambda: self._choose(cursor, table.metadata, snapshot, schema, where)
        )

    def _choose(
        self, cursor: Connection, metadata: Json, snapshot: Json, schema: Json, where: Where
    ) -> tuple[str, ...] | None:
        listed = self._manifests.read_list(snapshot["manifest-list"])
        holding = list(live(listed))
        count = file_count(holding)
        if count < FILES_MIN or has_deletes(listed):
            return None
        condition = Condition.over(schema["fields"], where.values)
        tree = condition.all_of(orjson.loads(where.trees))
        if tree is None:
            return None
        bounds = self._bounds.read(metadata, holding, list(condition.used.values()))
        numbers = meeting(cursor, bounds, condition, tree)
        if numbers is None or not worth_choosing(len(numbers), count, len(holding)):
            return None
        return self._locations(holding, numbers)

    def holding(self, cursor: Connection, table: LoadedTable, where: str) -> tuple[str, ...] | None:
        """Return the locations of the files that can hold rows of which `where` is true, sorted.

        None for all of them. Only for tables without deletes of another engine.

        Args:
            where: a SQL expression over the table's columns.

        Raises:
            ObjectNotFoundError, UnreadableFileError: a manifest is gone, or is none.
        """
        found = self._to_choose_of(table)
        if found is None:
            return None
        holding, fields = found
        condition = Condition.over(fields, {})
        # Another cursor: an error would end the transaction of the change.
        with beside(cursor) as other:
            tree = condition.all_of(trees_of(other, table.name.name, where))
            if tree is None:
                return None
            bounds = self._bounds.read(table.metadata, holding, list(condition.used.values()))
            numbers = meeting(other, bounds, condition, tree)
        return None if numbers is None else self._locations(holding, numbers)

    def reached(
        self, cursor: Connection, table: LoadedTable, keys: str, key: Sequence[Field]
    ) -> tuple[str, ...] | None:
        """Return the locations of the files that can hold a row with one of the keys, sorted.

        None for all of them. Only for tables without deletes of another engine.

        Args:
            keys: a table of the cursor with the columns of `key`, as the table stores them, none
                of them null. It is sorted once for each column.

        Raises:
            ObjectNotFoundError, UnreadableFileError: a manifest is gone, or is none.
        """
        found = self._to_choose_of(table)
        bounded = [each for each in key if arrow_type(each["type"]) is not None]
        if found is None or not bounded:
            return None
        holding, _ = found
        bounds = self._bounds.read(table.metadata, holding, bounded)
        return self._locations(holding, reaching(cursor, bounds, keys, bounded))

    def _to_choose_of(self, table: LoadedTable) -> tuple[list[ManifestFile], list[Field]] | None:
        snapshot, fields = snapshot_of(table.metadata), schema_of(table.metadata)["fields"]
        if snapshot is None or not can_choose(table.metadata, fields):
            return None
        holding = list(live(self._manifests.read_list(snapshot["manifest-list"])))
        return (holding, fields) if file_count(holding) > 1 else None

    def _locations(
        self, holding: Sequence[ManifestFile], numbers: Iterable[int]
    ) -> tuple[str, ...]:
        files = self._manifests.live_files(holding)
        return tuple(sorted(files[number].location for number in numbers))


def file_count(manifests: Iterable[ManifestFile]) -> int:
    return sum((m.added_files_count or 0) + (m.existing_files_count or 0) for m in manifests)


def can_choose(metadata: Json, fields: Sequence[Field]) -> bool:
    """Whether any of a table's files can be read alone and be what they are among the others.

    Files that were registered may have other types than the table, which the first one decides.
    """
    return NAME_MAPPING not in metadata["properties"] and matching(metadata, fields) is not None


def worth_choosing(chosen: int, count: int, manifests: int) -> bool:
    """Whether reading the chosen files is faster than all: by the figures of `relations.py`."""
    return chosen < count and chosen <= min(40 + count // 3 + 8 * manifests, CHOSEN_FILES_MAX)


def meeting(
    cursor: Connection, table: pa.Table, condition: Condition, tree: Tree
) -> list[int] | None:
    """Return the numbers of the files whose bounds do not contradict `tree`.

    None when the engine cannot compare them; the statement itself will say why.
    """
    values = condition.take_values(tree)
    select = {"error": False, "statements": [{"node": {**SELECT, "select_list": [tree]}}]}
    try:
        row = cursor.execute(
            "SELECT json_deserialize_sql(?)", [orjson.dumps(select).decode()]
        ).fetchone()
        assert row is not None, "one value in, one row out"
        text = row[0].removeprefix("SELECT ")
        with compared(cursor, table, condition.used.values()) as bounds:
            found = cursor.execute(
                f"SELECT file FROM {bounds} WHERE ({text}) IS NOT FALSE ORDER BY file",
                values,
            ).fetchall()
    except (EngineDataError, EngineProgrammingError):
        return None
    return [number for (number,) in found]


def reaching(cursor: Connection, table: pa.Table, keys: str, fields: Sequence[Field]) -> list[int]:
    """Return the numbers of the files that can hold one of `keys`, judged by each column alone."""
    with compared(cursor, table, fields) as bounds:
        found = [reaching_sql(bounds, keys, each) for each in fields]
        rows = cursor.execute(" INTERSECT ".join(found)).fetchall()
    return [number for (number,) in rows]


def reaching_sql(bounds: str, keys: str, field: Field) -> str:
    """Return the SELECT of the files that have a key between their least and greatest value.

    Bounds and keys are sorted as one: for 1,000 files and 1,000,000 keys that takes 0.14 s, where
    an ASOF join takes 6.
    """
    low, high, values = (f"{each}_{field['id']}" for each in ("low", "high", "values"))
    return f"""
        SELECT file FROM (
            SELECT file, low, high, first_value(key IGNORE NULLS) OVER (
                ORDER BY coalesce(key, low), key NULLS FIRST
                ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
            ) AS nearest
            FROM (
                SELECT file, {low} AS low, {high} AS high, NULL AS key FROM {bounds}
                WHERE {values} IS NOT FALSE
                UNION ALL SELECT NULL, NULL, NULL, {quoted(field["name"])} FROM {keys}
            )
        )
        WHERE file IS NOT NULL AND (low IS NULL OR high IS NULL OR nearest <= high)
    """


@contextmanager
def compared(cursor: Connection, table: pa.Table, fields: Iterable[Field]) -> Iterator[str]:
    """Yield SQL that reads a table of bounds, with the number of each file as `file`."""
    uuids = [each["id"] for each in fields if each["type"] == "uuid"]
    casts = ", ".join(
        f"CAST({side}_{id_} AS UUID) AS {side}_{id_}" for id_ in uuids for side in ("low", "high")
    )
    columns = f"* REPLACE ({casts})" if casts else "*"
    numbered = table.append_column("file", pa.array(range(table.num_rows), pa.int64()))
    cursor.register(RELATION, numbered)
    try:
        yield f"(SELECT {columns} FROM {RELATION})"
    finally:
        cursor.unregister(RELATION)


def trees_of(cursor: Connection, table: str, where: str) -> list[Tree]:
    """Return the tree of an expression over a table's columns, which get their bare names.

    Nothing when it cannot be parsed: what runs it says why.
    """
    select = f"SELECT * FROM {quoted(table)} WHERE ({where})"
    row = cursor.execute("SELECT json_serialize_sql(?)", [select]).fetchone()
    assert row is not None, "one value in, one row out"
    parsed = orjson.loads(row[0])
    if parsed["error"]:
        return []
    tree: Tree = parsed["statements"][0]["node"]["where_clause"]
    for node in nodes_of(tree):
        names = node.get("column_names", ())
        if len(names) == 2 and folded(names[0]) == folded(table):
            node["column_names"] = names[1:]
    return [tree]
