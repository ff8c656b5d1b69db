"""Trees of statements, as DuckDB's `json_serialize_sql` tells them and its writer takes them."""

from collections.abc import Iterator
from typing import Any, TypeAlias

Tree: TypeAlias = dict[str, Any]


def nodes_of(tree: Any, but: str | None = None) -> Iterator[Tree]:
    """Yield every object of a tree, without recursion; not what lies under the key `but`."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(value for key, value in node.items() if key != but)
        elif isinstance(node, list):
            stack.extend(node)
