"""Which conditions of a statement are on the rows of one table alone: its files are chosen by them.

Those of a WHERE and of inner joins, in the SELECT that names the table. A column is the table's
when the name says so, or when it stands alone: were it another table's too, the engine would refuse
the statement. Which conditions are of use, the catalog knows (`catalog/bounds_conditions.py`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from lakehouse.catalog import Where, folded
from lakehouse.trees import Tree, nodes_of

ELSEWHERE = frozenset(["SUBQUERY", "WINDOW", "LAMBDA", "POSITIONAL_REFERENCE", "STAR"])


def conditions(selects: Iterable[Tree]) -> dict[int, Where]:
    """Return by `id` of the node of a base table what all its rows must meet."""
    found = {}
    for select in selects:
        rows = Rows()
        rows.gather(select)
        for source in rows.sources:
            own = [tree for each in rows.conditions if (tree := rows.of(source, each))]
            if own:
                names = {each["identifier"] for each in nodes_of(own) if is_parameter(each)}
                found[id(source)] = Where(orjson.dumps(own), tuple(sorted(names)))
    return found


@dataclass(slots=True)
class Rows:
    """What a SELECT joins before it groups."""

    sources: list[Tree] = field(default_factory=list)
    """Base tables of which a row that does not meet a condition gives no row."""
    conditions: list[Tree] = field(default_factory=list)
    merged: set[str] = field(default_factory=set)
    """Columns that USING has made one: alone, such a name is no table's."""

    def gather(self, select: Tree) -> None:
        self.conditions.extend(conjuncts(select["where_clause"]))
        stack = [select["from_table"]]
        while stack:
            node = stack.pop()
            if node["type"] == "JOIN":
                stack.extend(self.join(node))
            elif (
                node["type"] == "BASE_TABLE"
                and node["sample"] is None
                and not node.get("column_name_alias")
            ):
                self.sources.append(node)

    def join(self, node: Tree) -> list[Tree]:
        """Return the sides of which every row must meet the WHERE."""
        self.merged |= {folded(name) for name in node["using_columns"]}
        if node["sample"] is not None or node["ref_type"] not in ("REGULAR", "CROSS"):
            return []
        if node["join_type"] == "INNER":
            self.conditions.extend(conjuncts(node["condition"]))
            return [node["left"], node["right"]]
        return [node["left"]] if node["join_type"] in ("LEFT", "SEMI", "ANTI") else []

    def of(self, source: Tree, condition: Tree) -> Tree | None:
        """Return the condition over bare names, when all its columns are of `source`."""
        tree: Tree = orjson.loads(orjson.dumps(condition))
        alias = folded(source["alias"] or source["table_name"])
        for node in nodes_of(tree):
            if node.get("class") in ELSEWHERE:
                return None
            if node.get("class") != "COLUMN_REF":
                continue
            *qualifier, name = node["column_names"]
            if qualifier != [] and [folded(each) for each in qualifier] != [alias]:
                return None
            if not qualifier and folded(name) in self.merged:
                return None
            node["column_names"] = [name]
        return tree


def is_parameter(node: Tree) -> bool:
    return node.get("class") == "PARAMETER"


def conjuncts(tree: Tree | None) -> Iterator[Tree]:
    stack = [tree] if tree else []
    while stack:
        node = stack.pop()
        if node["type"] == "CONJUNCTION_AND":
            stack.extend(node["children"])
        else:
            yield node
