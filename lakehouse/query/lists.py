"""Functions that take long for each element of a list: those that hash, sort or weigh it.

One call takes 0.05 to 0.6 us an element and looks at no interrupt, and a list that is the same in
each row is gone through anew for each of the 2,048 rows between two looks: measured on 1.5.5.
"""

from collections.abc import Sequence

from lakehouse.query.spread import COLLECT, FLATTEN, Spot, Spread, name_of
from lakehouse.trees import Tree, nodes_of

OF_ROW_MAX = 5_000
"""Elements that one call may take where each row has a call of its own: 2,048 of them take 6 s."""
KEYS_OF_ROW_MAX = 2_500
"""Keys that one call may make a map of where each row has a call of its own: 2 s."""
CONSTANT_MAX = 100_000
"""The same of constants, which the engine makes once: 0.1 s."""
COLLECTED_MAX = 10_000_000
"""The same of rows: what is collected of them, or is in a row of a table, in 5 s."""

COMPARISONS = frozenset(["list_has_any", "array_has_any", "&&", "list_has_all", "array_has_all"])
COMPARISONS |= {"@>", "<@", "list_intersect", "array_intersect"}
MAPS = frozenset(["map", "map_from_entries"])

BOTH, BOTH_OF_ROW = (f"len(a) + len(b) > {most}" for most in (CONSTANT_MAX, OF_ROW_MAX))
KEYS, KEYS_OF_ROW = (f"len(a) > {most}" for most in (CONSTANT_MAX, KEYS_OF_ROW_MAX))
TOO_LONG = {
    **{name: {2: BOTH} for name in COMPARISONS},
    "map": {0: "false", 2: KEYS},
    "map_from_entries": {1: KEYS},
}

SORTS = frozenset(["list_sort", "array_sort", "list_reverse_sort", "array_reverse_sort"])
GRADES = frozenset(["list_grade_up", "array_grade_up", "grade_up"])
NAMED = frozenset(["list_aggregate", "list_aggr", "array_aggregate", "array_aggr", "aggregate"])
"""They take the name of an aggregate."""
QUICK = frozenset(["any_value", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or"])
QUICK |= {"count", "first", "last", "max", "mean", "min", "product", "sum"}
"""Aggregates that take less than 10 ns for an element."""
LONE = frozenset(["list_distinct", "array_distinct", "list_unique", "array_unique"])
LONE |= {"list_histogram", "list_mode", "list_mad", "list_entropy", "list_median"}
LONE |= {"list_approx_count_distinct", "list_kurtosis", "list_kurtosis_pop", "list_skewness"}
LONE |= {"list_sem", "list_stddev_pop", "list_stddev_samp", "list_var_pop", "list_var_samp"}
LONE |= {"list_string_agg"}
CHOOSE = frozenset(["list_where", "array_where", "list_select", "array_select"])
HEAVY = SORTS | GRADES | NAMED | LONE | CHOOSE
"""Functions of one list."""
KEEP = SORTS | frozenset(["list_distinct", "array_distinct", "list_reverse", "array_reverse"])
KEEP |= {"list_transform", "array_transform", "list_apply", "array_apply", "apply"}
KEEP |= {"list_filter", "array_filter", "filter", "list_slice", "array_slice"}
"""Functions whose list has no more elements than the one that they are given."""

OF_CONSTANT, OF_COLLECTED, OF_ROW = (
    f"len(a) > {most}" for most in (CONSTANT_MAX, COLLECTED_MAX, OF_ROW_MAX)
)
COUNTS = {
    **dict.fromkeys(SORTS | GRADES, (1, 2, 3)),
    **dict.fromkeys(NAMED, tuple(range(2, 10))),
    **dict.fromkeys(LONE, (1,)),
    **dict.fromkeys(CHOOSE, (2,)),
}
TOO_LONG |= {name: dict.fromkeys(COUNTS[name], OF_CONSTANT) for name in HEAVY}
INSTEAD, INSTEAD_OF_MAPS = (
    f", {most} elements, or {CONSTANT_MAX} of constants;"
    " unnest the lists and join or group their rows"
    for most in (OF_ROW_MAX, KEYS_OF_ROW_MAX)
)


def instead_of(bound: str) -> str:
    """Say how many elements a call of a heavy function may take here, and what does it all."""
    most = bound.rpartition(" ")[2]
    return f" here, {most} elements; unnest the list, and sort, group or count its rows"


def bound_of(call: Tree, spot: Spot, spread: Spread, constant: bool) -> str:
    """Return when a call of a heavy function is too large.

    Args:
        constant: it has nothing that is of a row, so it is made once.
    """
    if is_collected(call):
        return OF_ROW if is_flattened(call) and spread.makes else OF_COLLECTED
    if constant and not spot.each:
        return OF_CONSTANT
    return OF_ROW if spread.multiplies or spread.makes else OF_COLLECTED


def functions_in(call: Tree) -> set[str]:
    """Return the functions that the list of a call is made by."""
    return {
        name_of(node)
        for node in nodes_of(call["children"][:1], but="subquery")
        if node.get("class") == "FUNCTION"  # and no window, which has a list for each row
    }


def is_collected(call: Tree) -> bool:
    """Whether the list of a call is made of rows in the call itself: a list for each group."""
    return not functions_in(call).isdisjoint(COLLECT)


def is_flattened(call: Tree) -> bool:
    return not functions_in(call).isdisjoint(FLATTEN)


def base_of(arguments: Sequence[Tree]) -> Tree | None:
    """Return the list of a heavy call, or the one that it is made of and is not longer than.

    That one is looked at: then nothing is made twice to know how long it is.
    """
    node = arguments[0] if arguments else None
    while node and name_of(node) in KEEP and node["children"]:
        node = node["children"][0]
    return node


def is_written_out(name: str, arguments: list[Tree]) -> bool:
    """Whether a call is as short as its text: of `MAP {..}` the keys, of two lists the one."""
    if name in MAPS:
        return not arguments or is_list(arguments[0])
    if name in NAMED and len(arguments) > 1:
        second = arguments[1].get("value") or {}
        if str(second.get("value")).lower() in QUICK:
            return True
    if name in HEAVY:
        base = base_of(arguments)
        return base is None or is_list(base)
    return any(
        is_list(each) and all(child.get("class") == "CONSTANT" for child in each["children"])
        for each in arguments
    )


def is_list(node: Tree) -> bool:
    return node.get("class") == "FUNCTION" and node["function_name"].lower() == "list_value"
