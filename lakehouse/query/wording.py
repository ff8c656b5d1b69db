"""Whether a text that the engine wrote says what the tree means that it was written from.

The engine's writer puts some names into the text as they are: `"1; COPY .. --".*` came out without
its quotes, as SQL that nobody had looked at, and ran (1.5.5). So what it writes is parsed once
more, and has to name what the tree names, as often, and nothing else.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

from lakehouse.database import quoted
from lakehouse.trees import Tree, nodes_of

Named: TypeAlias = tuple[str, object]


def quote_star(star: Tree) -> None:
    """Give the table of a `t.*` the quotes that the engine forgets."""
    if star["relation_name"]:
        star["relation_name"] = quoted(star["relation_name"])


def says_the_same(written: Tree, meant: Tree) -> bool:
    """Compare the tree of a text with that from which it was written, in which stars are quoted.

    How it is nested is left out, and numbers and casts are: the writer spells `5.` as `5`, puts a
    SELECT around VALUES and a cast into IS TRUE.
    """
    for node in nodes_of(written):
        if node.get("class") == "STAR":
            quote_star(node)
    return Counter(named_in(written)) == Counter(named_in(meant))


def named_in(tree: Any) -> Iterator[Named]:
    for node in nodes_of(tree):
        kind = node.get("class") or node.get("type")
        match kind:
            case "FUNCTION" | "WINDOW":
                yield kind, node["function_name"].lower()
            case "COLUMN_REF":
                yield kind, tuple(node["column_names"])
            case "PARAMETER":
                yield kind, node["identifier"]
            case "STAR" if node["relation_name"]:
                yield kind, node["relation_name"]
            case "CONSTANT" if node["value"]["type"]["id"] == "VARCHAR":
                yield kind, node["value"].get("value")
            case "CONSTANT" if node["value"]["type"]["id"] == "BOOLEAN":
                yield kind, str(node["value"].get("value")).lower()[0]  # `true` is CAST('t' ..)
            case "BASE_TABLE":
                yield kind, (node["catalog_name"], node["schema_name"], node["table_name"])
            case "CASE" | "SHOW_REF" | "PIVOT" | "LAMBDA":
                yield kind, None
