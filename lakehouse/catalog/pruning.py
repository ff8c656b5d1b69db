"""Which files of a snapshot can hold rows that meet a condition: the others are never opened.

A condition comes as the tree that DuckDB's parser made of it. Its columns are replaced by the
bounds of each file, which have the same types, and DuckDB itself decides: `day = '2024-05-01'`
becomes `low <= '2024-05-01' AND high >= '2024-05-01'`, bound and cast as the statement will be.
A wrong drop loses rows silently, so what is not on the short lists here drops nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import pyarrow as pa

from lakehouse.catalog.bounds import Bounds, arrow_type
from lakehouse.catalog.cache import Cache
from lakehouse.catalog.manifests import ManifestFile, Manifests, has_deletes, live
from lakehouse.catalog.metadata import NAME_MAPPING, Json, schema_of, snapshot_of
from lakehouse.catalog.names import folded
from lakehouse.catalog.partitioning import BUCKETED
from lakehouse.catalog.relations import matching
from lakehouse.catalog.table import Where
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import Field, duckdb_type
from lakehouse.database import Connection, EngineDataError, EngineProgrammingError, beside, quoted
from lakehouse.trees import Tree, nodes_of

FILES_MIN = 20
"""Below it nothing is looked at: opening as many files costs less."""
CHOSEN_FILES_MAX = 500
"""`read_parquet` of more is slower than `iceberg_scan`, which leaves files out by itself."""
CHOICES_KEPT = 200_000
VALUES_MAX = 200
"""Of an IN: each is compared with the bounds of each file."""
RELATION = "lakehouse_bounds"

WRAPPED_MAX = 4
DEPTH_MAX = 16

EQUAL, UNEQUAL = "COMPARE_EQUAL", "COMPARE_NOTEQUAL"
LESS, GREATER = "COMPARE_LESSTHAN", "COMPARE_GREATERTHAN"
AT_MOST, AT_LEAST = "COMPARE_LESSTHANOREQUALTO", "COMPARE_GREATERTHANOREQUALTO"
MIRRORED = {EQUAL: EQUAL, UNEQUAL: UNEQUAL, LESS: GREATER, GREATER: LESS}
MIRRORED |= {AT_MOST: AT_LEAST, AT_LEAST: AT_MOST}

TEXT, NUMBER, SUM = "text", "number", "sum"
NUMBERS = frozenset(["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL"])
MOMENTS = {"date": "DATE", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE"}
PLAIN = frozenset(["BOOLEAN", "DOUBLE", "FLOAT", "TIME", "UUID", *MOMENTS.values()])
WRITTEN = frozenset(["CONSTANT", "PARAMETER"])
# What the engine makes of the values that JSON has; of a list or of null nothing is compared.
KINDS = {bool: "BOOLEAN", int: NUMBER, float: "DOUBLE", str: TEXT}
UNITS = frozenset(["year", "quarter", "month", "week", "day", "hour", "minute", "second"])
# What constants may be made of: cheap, and the same at any time.
ARITHMETIC = frozenset(["+", "-", "*", "trunc", *(f"to_{unit}s" for unit in UNITS)])
PREFIXED = frozenset(["starts_with", "prefix", "^@"])

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
CALL: Tree = {
    "class": "FUNCTION",
    "type": "FUNCTION",
    "alias": "",
    "schema": "",
    "filter": None,
    "order_bys": {"type": "ORDER_MODIFIER", "orders": []},
    "distinct": False,
    "is_operator": False,
    "export_state": False,
    "catalog": "",
}
CONJUNCTION: Tree = {"class": "CONJUNCTION", "alias": ""}


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
    cursor: Connection, table: pa.Table, condition: "Condition", tree: Tree
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


@dataclass(slots=True)
class Condition:
    """Turns conditions on values into conditions on bounds, for columns of one schema."""

    fields: Mapping[str, Field]
    """By folded name."""
    parameters: Mapping[str, Any]
    """Their values; the engine binds them as it will in the statement."""
    used: dict[int, Field] = field(default_factory=dict)
    """The columns whose bounds are compared, by id."""

    @classmethod
    def over(cls, fields: Iterable[Field], parameters: Mapping[str, Any]) -> "Condition":
        return cls({folded(each["name"]): each for each in fields}, parameters)

    def all_of(self, trees: Iterable[Tree], depth: int = 0) -> Tree | None:
        """Return what is false of a file when no row of it can meet all of `trees`."""
        found = [self.of(each, depth) for each in trees]
        return joined("AND", [each for each in found if each is not None])

    def of(self, tree: Tree, depth: int = 0) -> Tree | None:
        """Return what is false of a file when no row of it can meet `tree`; None: nothing is."""
        kind = tree["type"]
        if depth > DEPTH_MAX:
            return None
        if kind == "CONJUNCTION_AND":
            return self.all_of(tree["children"], depth + 1)
        if kind == "CONJUNCTION_OR":
            found = [self.of(each, depth + 1) for each in tree["children"]]
            known = [each for each in found if each is not None]
            return joined("OR", known) if len(known) == len(found) else None
        if kind in MIRRORED:
            return self.comparison(kind, tree["left"], tree["right"])
        if kind == "COMPARE_BETWEEN":
            return self.between(tree["input"], tree["lower"], tree["upper"])
        if kind == "COMPARE_IN":
            return self.one_of(*tree["children"])
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            (child,) = tree["children"]
            column = self.column(child)
            return column and flag("nulls" if kind == "OPERATOR_IS_NULL" else "values", column)
        if kind == "FUNCTION" and len(tree["children"]) == 2:
            return self.prefix(tree["function_name"].lower(), *tree["children"])
        return None

    def comparison(self, kind: str, left: Tree, right: Tree) -> Tree | None:
        if self.kind(left) is not None:
            kind, left, right = MIRRORED[kind], right, left
        column = self.operand(left)
        if column is None or not self.comparable(column, left, [right]):
            return None
        meets = equal if kind == EQUAL else partial(reached, kind)
        return joined("AND", [flag("values", column), meets(left, column, right)])

    def between(self, value: Tree, lower: Tree, upper: Tree) -> Tree | None:
        column = self.operand(value)
        if column is None or not self.comparable(column, value, [lower, upper]):
            return None
        sides = [reached(AT_LEAST, value, column, lower), reached(AT_MOST, value, column, upper)]
        return joined("AND", [flag("values", column), *sides])

    def one_of(self, value: Tree, *constants: Tree) -> Tree | None:
        column = self.operand(value)
        if column is None or not self.comparable(column, value, constants):
            return None
        found = joined("OR", [equal(value, column, each) for each in constants])
        if found is None or len(constants) > VALUES_MAX:
            return None
        return joined("AND", [flag("values", column), found])

    def prefix(self, name: str, value: Tree, pattern: Tree) -> Tree | None:
        """`LIKE 'a%'`: cut to a length, texts are in the order that they were in."""
        column, text = self.column(value), self.text(pattern)
        if column is None or column["type"] != "string" or text is None:
            return None
        if name == "~~":
            text = re.split(r"[%_\\]", text, maxsplit=1)[0]
        elif name not in PREFIXED:
            return None
        if not text:
            return None
        start, length = written(text), constant("INTEGER", len(text))
        low, high = (call("left", flag(side, column), length) for side in ("low", "high"))
        both = [compare(AT_MOST, low, start), compare(AT_LEAST, high, start)]
        return joined("AND", [flag("values", column), *both])

    def column(self, tree: Tree) -> Field | None:
        """Return the column that `tree` is, when it has bounds."""
        if tree.get("class") != "COLUMN_REF" or len(tree["column_names"]) != 1:
            return None
        found = self.fields.get(folded(tree["column_names"][0]))
        if found is None or arrow_type(found["type"]) is None:
            return None
        self.used[found["id"]] = found
        return found

    def operand(self, tree: Tree) -> Field | None:
        """Return the column of `tree`: itself, or under what keeps the order of its values."""
        bare = tree
        for _ in range(WRAPPED_MAX):
            bare = under(bare) or bare
        column = self.column(bare)
        if column is None or (bare is not tree and column["type"] not in MOMENTS):
            return None
        return column

    def comparable(self, column: Field, value: Tree, constants: Sequence[Tree]) -> bool:
        """Whether the engine compares the column with each of `constants` as it does with all.

        It compares numbers, and times, in the widest type of them. A text that is compared with
        something else is cast, and its order is another one then.
        """
        kinds = {self.kind(each) for each in constants}
        if None in kinds:
            return False
        if column["type"] == "string":
            return kinds == {TEXT} and value["class"] == "COLUMN_REF"
        if any(each["class"] not in WRITTEN for each in constants if self.kind(each) == TEXT):
            return False
        if len(constants) == 1 or kinds in ({TEXT}, {NUMBER}, {"DOUBLE"}):
            return True
        return kinds <= {*MOMENTS.values(), SUM}

    def kind(self, tree: Tree) -> str | None:
        """Return the type of a constant, roughly: NUMBER, TEXT, SUM or the engine's name of it.

        None when it is not one, or may be something else the next time.
        """
        if tree["class"] in WRITTEN:
            return self.kind_of_value(tree)
        stack = [tree]
        while stack:
            node = stack.pop()
            if node["class"] == "CAST" and rough(node["cast_type"]) is not None:
                stack.append(node["child"])
            elif node["class"] == "FUNCTION" and node["function_name"].lower() in ARITHMETIC:
                stack.extend(node["children"])
            elif node["class"] == "PARAMETER" and self.kind_of_value(node) is not None:
                continue
            elif node["class"] != "CONSTANT":
                return None
        return rough(tree["cast_type"]) if tree["class"] == "CAST" else SUM

    def kind_of_value(self, tree: Tree) -> str | None:
        if tree["class"] == "CONSTANT":
            return rough(tree["value"]["type"])
        value = self.parameters.get(tree["identifier"])
        return KINDS.get(type(value))

    def text(self, tree: Tree) -> str | None:
        """Return the text that a constant is."""
        if tree["class"] not in WRITTEN or self.kind(tree) != TEXT:
            return None
        if tree["class"] == "PARAMETER":
            return str(self.parameters[tree["identifier"]])
        return None if tree["value"]["is_null"] else str(tree["value"]["value"])

    def take_values(self, tree: Tree) -> dict[str, Any]:
        """Give the parameters in `tree` names of one kind and return their values by those.

        The engine binds `$1` or `$x`, never both, and the time of a statement is one with a name.
        """
        values: dict[str, Any] = {}
        renamed: set[int] = set()  # one node may stand in several places
        for node in nodes_of(tree):
            if node.get("class") == "PARAMETER" and id(node) not in renamed:
                renamed.add(id(node))
                value = self.parameters[node["identifier"]]
                node["identifier"] = f"v{node['identifier']}"
                values[node["identifier"]] = value
        return values


def under(tree: Tree) -> Tree | None:
    """Return what `tree` is made of when it keeps the order of that, for dates and times in UTC."""
    if tree["class"] == "CAST":
        child: Tree = tree["child"]
        return child if tree["cast_type"]["id"] in MOMENTS.values() else None
    if tree["class"] != "FUNCTION":
        return None
    arguments = tree["children"]
    if is_call(tree, "year", 1):
        return arguments[0]  # type: ignore[no-any-return]
    if is_call(tree, "date_trunc", 2) and is_text(arguments[0]):
        kept: Tree = arguments[1]
        return kept if arguments[0]["value"]["value"].lower() in UNITS else None
    return None


def is_call(tree: Tree, name: str, arguments: int) -> bool:
    return bool(tree["function_name"].lower() == name and len(tree["children"]) == arguments)


def rough(type_: Tree) -> str | None:
    id_, details = type_["id"], type_["type_info"]
    if id_ in NUMBERS:
        return NUMBER
    if details is not None:  # a collation, the members of a struct
        return None
    return TEXT if id_ == "VARCHAR" else id_ if id_ in PLAIN else None


def is_text(tree: Tree) -> bool:
    """Whether it is a text that is written out."""
    return (
        tree["class"] == "CONSTANT"
        and rough(tree["value"]["type"]) == TEXT
        and not tree["value"]["is_null"]
    )


# Trees as DuckDB reads them.


def joined(kind: str, trees: Sequence[Tree]) -> Tree | None:
    if len(trees) < 2:
        return trees[0] if trees else None
    return {**CONJUNCTION, "type": f"CONJUNCTION_{kind}", "children": list(trees)}


def reached(kind: str, value: Tree, column: Field, constant: Tree) -> Tree:
    """Return whether values between the bounds can compare so with a constant."""
    low, high = bound(value, "low", column), bound(value, "high", column)
    if kind in (LESS, AT_MOST):
        return compare(kind, low, constant)
    if kind in (GREATER, AT_LEAST):
        return compare(kind, high, constant)
    both = "AND", compare(AT_MOST, low, constant), compare(AT_LEAST, high, constant)
    either = "OR", compare(UNEQUAL, low, constant), compare(UNEQUAL, high, constant)
    how, *sides = both if kind == EQUAL else either
    return {**CONJUNCTION, "type": f"CONJUNCTION_{how}", "children": sides}


def equal(value: Tree, column: Field, constant: Tree) -> Tree:
    """Return whether a value between the bounds, and of the bucket, can equal a constant.

    The bucket is that of the constant as the column would hold it. What it cannot hold is in none
    (NULL leaves the file in); what it rounds equals none of its values.
    """
    between = reached(EQUAL, value, column, constant)
    if value["class"] != "COLUMN_REF" or column["type"] not in BUCKETED:
        return between
    held = cast(duckdb_type(column["type"]), constant, tries=True)
    if column["type"] == "uuid":  # the engine's bucket of a UUID is not the specification's
        text = call("replace", cast("VARCHAR", held), written("-"), written(""))
        held = call("unhex", text)
    bucket = call("iceberg_bucket", flag("buckets", column), held)
    same = compare(EQUAL, flag("bucket", column), bucket)
    return {**CONJUNCTION, "type": "CONJUNCTION_AND", "children": [between, same]}


def compare(kind: str, left: Tree, right: Tree) -> Tree:
    return {"class": "COMPARISON", "type": kind, "alias": "", "left": left, "right": right}


def bound(value: Tree, side: str, column: Field) -> Tree:
    """Return `value` with a bound in the place of the column."""
    if value["class"] == "COLUMN_REF":
        return flag(side, column)
    if value["class"] == "CAST":
        return {**value, "child": bound(value["child"], side, column)}
    *others, last = value["children"]
    return {**value, "children": [*others, bound(last, side, column)]}


def flag(name: str, column: Field) -> Tree:
    """Return one of the columns of `Bounds.read`."""
    names = [f"{name}_{column['id']}"]
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": names}


def call(name: str, *arguments: Tree) -> Tree:
    return {**CALL, "function_name": name, "children": list(arguments)}


def cast(type_: str, child: Tree, *, tries: bool = False) -> Tree:
    cast_type = {"id": type_, "type_info": None}
    kind = {"class": "CAST", "type": "OPERATOR_CAST", "alias": ""}
    return {**kind, "child": child, "cast_type": cast_type, "try_cast": tries}


def written(text: str) -> Tree:
    return constant("VARCHAR", text)


def constant(type_: str, value: object) -> Tree:
    described = {"type": {"id": type_, "type_info": None}, "is_null": False, "value": value}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "value": described}
