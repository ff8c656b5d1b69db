"""Conditions on values, made into conditions on the bounds of files.

The columns of a condition are replaced by bounds of the same types, and the engine decides:
`day = '2024-05-01'` becomes `low <= '2024-05-01' AND high >= '2024-05-01'`, bound and cast as the
statement will be. What is not on the short lists here drops nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lakehouse.catalog.bounds import arrow_type
from lakehouse.catalog.partitioning import BUCKETED
from lakehouse.catalog.types import Field, duckdb_type
from lakehouse.names import folded
from lakehouse.trees import Tree, nodes_of

VALUES_MAX = 200
"""Of an IN: each is compared with the bounds of each file."""
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
