"""Functions that hash each element of their lists: two lists compared, a map made of its keys.

One call takes about 0.6 us an element and looks at no interrupt, and a list that is the same in
each row is hashed anew for each of the 2,048 rows between two looks: measured on 1.5.5.
"""

from lakehouse.trees import Tree

OF_ROW_MAX = 5_000
"""Elements that one call may hash where each row has a call of its own: 2,048 of them take 6 s."""
CONSTANT_MAX = 100_000
"""The same of constants, which the engine makes once: 0.1 s."""

COMPARISONS = frozenset(["list_has_any", "array_has_any", "&&", "list_has_all", "array_has_all"])
COMPARISONS |= {"@>", "<@", "list_intersect", "array_intersect"}
MAPS = frozenset(["map", "map_from_entries"])

BOTH, BOTH_OF_ROW = (f"len(a) + len(b) > {most}" for most in (CONSTANT_MAX, OF_ROW_MAX))
KEYS, KEYS_OF_ROW = (f"len(a) > {most}" for most in (CONSTANT_MAX, OF_ROW_MAX))
TOO_LONG = {
    **{name: {2: BOTH} for name in COMPARISONS},
    "map": {0: "false", 2: KEYS},
    "map_from_entries": {1: KEYS},
}
INSTEAD = (
    f", {OF_ROW_MAX} elements, or {CONSTANT_MAX} of constants;"
    " unnest the lists and join or group their rows"
)


def is_written_out(name: str, arguments: list[Tree]) -> bool:
    """Whether a call is as short as its text: of `MAP {..}` the keys, of two lists the one."""
    if name in MAPS:
        return not arguments or is_list(arguments[0])
    return any(
        is_list(each) and all(child.get("class") == "CONSTANT" for child in each["children"])
        for each in arguments
    )


def is_list(node: Tree) -> bool:
    return node.get("class") == "FUNCTION" and node["function_name"].lower() == "list_value"
