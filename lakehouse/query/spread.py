"""Where a value that is made once comes to stand in many rows: joined to them, or asked by each.

The engine looks for an interrupt every 2,048 rows, and a value that stands in all of them is gone
through in each: a list of a million elements, which alone takes 10 ms, holds its thread for 20 s.
Lists of a table's own rows, and those that are collected of rows, are no larger than their data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from lakehouse.query.errors import SqlError
from lakehouse.trees import Tree, nodes_of

COLLECT = frozenset(["list", "array_agg", "histogram", "histogram_exact", "map_agg"])
COLLECT |= {"string_agg", "group_concat", "listagg", "json_group_array", "json_group_object"}
COLLECT |= {"bitstring_agg"}
"""Aggregates whose value is as long as the rows that it is made of."""
GROW = frozenset(["||", "concat", "concat_ws", "flatten", "list_value", "list_pack", "list_zip"])
GROW |= {"array_value", "array_zip", "list_concat", "list_cat", "array_concat", "array_cat"}
GROW |= {"row", "struct_pack", "struct_concat", "map", "map_concat", "array_to_string"}
GROW |= {"list_string_agg", "list_aggregate", "list_aggr", "array_aggregate", "array_aggr"}
GROW |= {"aggregate", "list_transform", "array_transform", "list_apply", "array_apply", "apply"}
GROW |= {"replace", "regexp_replace", "printf", "format", "hex", "to_hex", "bin", "to_binary"}
GROW |= {"url_encode", "regexp_escape", "array_to_string_comma_default", "json_object"}
GROW |= {"json_array", "to_json", "json_pretty"}
"""Functions whose value may be several times as long as what it is made of."""
LENGTHEN = COLLECT | GROW
"""A column is looked at only for one of them."""
SIZE = {"list_resize": 1, "array_resize": 1, "repeat": 1, "lpad": 1, "rpad": 1, "bitstring": 1}
SIZE |= {"equi_width_bins": 2}
"""Functions whose value is as long as a number says: by name, which argument that is."""
SERIES = frozenset(["range", "generate_series"])
"""The same of all their arguments."""
FLATTEN = frozenset(["flatten"])
SHORT = 1_000
"""A number, and the length of a text, from which nothing long is made."""
CONTAINERS = (dict, list)
FROM_NOTHING = frozenset(["EMPTY", "EMPTY_FROM"])
OF_ROWS = frozenset(["COLUMN_REF", "POSITIONAL_REFERENCE", "SUBQUERY", "STAR"])


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in a statement something stands."""

    spread: bool
    """Its value may come to stand in many rows of a query around it."""
    of_row: bool
    """It is asked of rows: its own query is FROM something."""
    unnested: bool = False
    """Its elements become rows at once."""
    each: bool = False
    """It is asked of each element of a list: it is in a lambda."""

    def is_of_many(self, constant: bool) -> bool:
        """Whether what is made here, of nothing that is of a row or not, may be in many rows."""
        return not self.unnested and (self.spread or self.of_row or self.each or not constant)


Waiting: TypeAlias = list[tuple[Any, Spot]]


@dataclass
class Spread:
    """What a statement makes, and where. Made before anything in its tree is replaced."""

    spots: dict[int, Spot] = field(default_factory=dict)
    """Of each call of a function, by its id."""
    items: list[Tree] = field(default_factory=list)
    """Columns of queries, a query around them before one in them, whose length is to be looked at:
    they stand in many rows, and may be long."""
    multiplies: bool = False
    """A value may stand in more than one row: there is a join, a subquery as a value, a window."""
    makes: bool = False
    """It may make long lists of its own, and not only collect rows."""
    generated: int = 0
    """How many calls make something long of a number."""
    names: set[str] = field(default_factory=set)
    """Its own queries, by the names that others read them by."""
    queries: set[int] = field(default_factory=set)
    """What reads one of them by another name, by its id."""

    @classmethod
    def of(cls, root: Tree, *, of_row: bool = False, views: Sequence[Tree] = ()) -> "Spread":
        """Look at a statement, or at an expression, which is `of_row` if a table's rows are asked.

        Args:
            views: what looks like a table of it, and reads a query.

        Raises:
            SqlError: its values may be long, and are so many that none of them can be looked at.
        """
        spread = cls(queries={id(node) for node in views})
        for node in nodes_of(root):
            spread.multiplies = spread.multiplies or multiplies(node)
            if "cte_map" in node:
                spread.names |= {entry["key"].lower() for entry in node["cte_map"]["map"]}
        waiting: Waiting = [(root, Spot(spread=False, of_row=of_row))]
        while waiting:
            node, spot = waiting.pop()
            if isinstance(node, list):
                below = [(each, spot) for each in reversed(node)]
            else:
                below = spread.visit(node, spot)
            waiting += [each for each in below if isinstance(each[0], CONTAINERS)]
        return spread

    def spot(self, call: Tree) -> Spot:
        return self.spots[id(call)]

    def visit(self, node: Tree, spot: Spot) -> Waiting:
        """Note `node`, and return what is below it, each with where that stands."""
        class_ = node.get("class")
        if "cte_map" in node:
            return self.query(node, spot)
        if class_ == "SUBQUERY":
            inside = Spot(spot.spread or spot.of_row or spot.each, of_row=False)
            return [(value, inside if key == "subquery" else spot) for key, value in node.items()]
        if class_ == "LAMBDA":
            spot = replace(spot, unnested=False, each=True)
        if node.get("type") == "EXPRESSION_LIST" and spot.spread:
            values = [each for row in node["values"] for each in row]
            self.items += [each for each in values if may_be_long(each, plain=False)]
        if class_ == "FUNCTION":
            self.spots[id(node)] = spot
            if generates(node):
                self.generated += 1
                self.makes |= not spot.unnested
            self.makes |= spot.spread and name_of(node) in COLLECT
            spot = replace(spot, unnested=name_of(node) == "unnest")
        elif node.get("type") == "TABLE_FUNCTION":
            values = node["function"]["children"] if spot.spread else []
            self.items += [each for each in values if may_be_long(each, plain=False)]
            unnests = Spot(spot.spread, of_row=False, unnested=True)
            return [(value, unnests if key == "function" else spot) for key, value in node.items()]
        return [(value, spot) for value in node.values()]

    def query(self, node: Tree, spot: Spot) -> Waiting:
        cte = Spot(spot.spread or self.multiplies, of_row=False)
        below: Waiting = [(entry["value"], cte) for entry in node["cte_map"]["map"]]
        rest = {key: value for key, value in node.items() if key != "cte_map"}
        if node["type"] == "RECURSIVE_CTE_NODE":
            spot = cte
        if node["type"] == "SELECT_NODE":
            source = rest.pop("from_table")
            joins = source["type"] == "JOIN" or any(
                node.get("class") == "WINDOW" or name_of(node) == "unnest"
                for node in nodes_of(node["select_list"], but="subquery")
            )
            below.append((source, Spot(spot.spread or joins, of_row=False)))
            if spot.spread:
                plain = self.is_plain(source)
                values = [each for item in node["select_list"] for each in values_of(item)]
                self.items += [each for each in values if may_be_long(each, plain)]
            spot = Spot(spot.spread, of_row=source["type"] not in FROM_NOTHING)
        return [*below, (rest, spot)]

    def is_plain(self, source: Tree) -> bool:
        """Whether a FROM has nothing but tables, none of them a query of the statement's own."""
        return all(
            node["type"] == "BASE_TABLE"
            and node["table_name"].lower() not in self.names
            and id(node) not in self.queries
            for node in nodes_of(source)
            if "sample" in node and "alias" in node and node["type"] != "JOIN"
        )


def name_of(node: Tree) -> str:
    return str(node.get("function_name") or "").lower()


def multiplies(node: Tree) -> bool:
    """Whether a value below this node may come to stand in more than one row of it."""
    type_, class_ = node.get("type"), node.get("class")
    if class_ == "SUBQUERY":
        return bool(node["subquery_type"] == "SCALAR")
    return (
        class_ == "WINDOW" or type_ in ("JOIN", "RECURSIVE_CTE_NODE") or name_of(node) == "unnest"
    )


def generates(call: Tree) -> bool:
    """Whether a call makes something long of a number: one that is not written out, or is large."""
    name, sizes = name_of(call), call.get("children", [])
    if name in SIZE:
        sizes = sizes[SIZE[name] : SIZE[name] + 1]
    elif name not in SERIES:
        return False
    return not all(
        node.get("class") == "CONSTANT" and is_short(node["value"].get("value")) for node in sizes
    )


def is_short(value: object) -> bool:
    if isinstance(value, int | float):
        return abs(value) <= SHORT
    return isinstance(value, str) and len(value) <= SHORT


def values_of(item: Tree) -> list[Tree]:
    """Return what makes the values of an item of a SELECT: of an unnest what it is of."""
    if item.get("class") == "STAR":
        return [entry["value"] for entry in item["replace_list"]]
    unnests = [node for node in nodes_of(item, but="subquery") if name_of(node) == "unnest"]
    return [each for node in unnests for each in node["children"][:1]] or [item]


def may_be_long(value: Tree, plain: bool) -> bool:
    """Whether a value may be long.

    Args:
        plain: it is made of tables only: what is joined together of their values is short.

    Raises:
        SqlError: it is, and it is several columns.
    """
    nodes = list(nodes_of(value, but="subquery"))
    names = {name_of(node) for node in nodes}
    if names.isdisjoint(LENGTHEN):
        return False
    classes = {node.get("class") for node in nodes}
    long = not names.isdisjoint(COLLECT) or any(map(may_lengthen, nodes))
    long = long or not (plain or classes.isdisjoint(OF_ROWS))
    if long and "STAR" in classes - {value.get("class")}:
        raise SqlError("COLUMNS(..) in a call, in a query that is joined: name the columns")
    return long


def may_lengthen(node: Tree) -> bool:
    """Whether a node is long by itself, so that what grows by it is longer than its table."""
    if node.get("class") == "PARAMETER" or generates(node):
        return True
    value = node.get("value")
    return isinstance(value, str) and len(value) > SHORT
