"""Functions that make much out of little run behind a check of their arguments.

A single call of one looks neither at `memory_limit` nor at an interrupt: `repeat('x', 1500000000)`
takes 3.8 GB, two texts of 100 kB keep `levenshtein` busy for longer than anybody waits
(`security.md`, The SQL gate). Each check is a tree of DuckDB's own, made once from a template.
"""

import string
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from lakehouse.database import Connection
from lakehouse.query import lists
from lakehouse.query.errors import FunctionNotAllowedError, StatementTooLongError
from lakehouse.query.patterns import NEEDLES, PATTERNS, find_is_long, is_harmless
from lakehouse.query.regexes import EVERY_IS_LONG, EVERY_MATCH, FIRST_IS_LONG, FIRST_MATCH
from lakehouse.query.spread import OF_ROWS, Spot, Spread, name_of
from lakehouse.trees import Tree, copied, nodes_of

TEXT_MAX = 1_000_000
"""Characters that one call may pad or repeat to."""
TEXT_OF_ROW_MAX = 100_000
"""The same where each of 2,048 rows has such a text, or is asked of it: 200 MB, and 1 s."""
LIST_MAX = 1_000_000
"""Elements that one call may make."""
LIST_OF_ROW_MAX = 10_000
"""The same where each of 2,048 rows has such a list, or is asked of it: 160 MB, and 0.4 s."""
GENERATED_MAX = 10
"""Calls in a statement that may make so much; where there are more, each is as one of a row."""
SPREAD_TEXT_MAX = 100_000
"""Characters, of a list those of its text, that a value may have which is joined to rows."""
PRODUCT_MAX = 25_000_000
"""Characters times characters that one comparison may look at: about 0.1 s."""
PRODUCT_OF_ROW_MAX = 250_000
"""The same where each row has a comparison of its own: an interrupt waits for 2,048 of them."""
ENTRIES_MAX = 5_000
"""Keys that two maps may have together which are joined: 0.2 s."""
ENTRIES_OF_ROW_MAX = 250
"""The same where each row joins two: 2,048 of such calls take 2 s."""
NESTED_OF_ROW_MAX = 25_000
"""Characters of the text of the lists or structs that are their values: 2 s."""
NESTED_KEYS_OF_ROW_MAX = 12_500
"""Characters of the text of such keys times their count: 2 s."""
GROWTH_MAX = SPREAD_MAX = 16_000_000
"""Characters that a call may write with two or eight each; nested ones double and double."""
STEPS_MAX = 10_000
"""Elements that `list_reduce` may take one after the other."""
HEAVY_MAX = 1_000
"""Elements for which a lambda may do what takes long."""
EACH_OF_ROW_MAX = 10_000
"""Elements, times what a lambda does to each, that a call of each of 2,048 rows may have: 3 s.
Of what rows are collected to, or constants, it is as for a list that is sorted."""
WIDTH_MAX = 10_000

NUMBER = "TRY_CAST(CAST({0} AS VARCHAR) AS HUGEINT)"
MOMENT = "TRY_CAST(CAST({0} AS VARCHAR) AS TIMESTAMP)"
STEP = "TRY_CAST(CAST({0} AS VARCHAR) AS INTERVAL)"


def elements(first: str, last: str, step: str, most: int) -> str:
    """SQL for whether a series is longer, of numbers or of times, whichever it is made of."""
    numbers = (
        f"abs({NUMBER.format(last)} - {NUMBER.format(first)})"
        f" // greatest(abs({NUMBER.format(step)}), 1)"
    )
    times = (
        f"abs(date_diff('microsecond', {MOMENT.format(first)}, {MOMENT.format(last)}))"
        f" // greatest(abs(epoch_us({STEP.format(step)})), 1)"
    )
    return f"coalesce({numbers}, {times}, 0) > {most}"


EDITS = f"CAST(strlen(a) AS HUGEINT) * strlen(b) > {PRODUCT_MAX}"
EDITS_OF_ROW = f"CAST(strlen(a) AS HUGEINT) * strlen(b) > {PRODUCT_OF_ROW_MAX}"
ENTRIES = "(coalesce(cardinality(a), 0) + coalesce(cardinality(b), 0))"
IS_NESTED = r"regexp_matches(typeof({0}), '\[.*\[|^(MAP|STRUCT|UNION)\(')"
"""SQL for whether the elements of a list are lists or structs; the engine knows it beforehand."""
KEYS_TEXT = "strlen(concat(CAST(map_keys(a) AS VARCHAR), CAST(map_keys(b) AS VARCHAR)))"
VALUES_TEXT = "strlen(concat(CAST(map_values(a) AS VARCHAR), CAST(map_values(b) AS VARCHAR)))"


def looks(most: int, product: int) -> str:
    """SQL for whether `map_concat`, which looks for each key among all of them, takes too long."""
    nested = IS_NESTED.format("map_keys(coalesce(a, b))")
    return f"{ENTRIES} > {most} OR {nested} AND {ENTRIES} * {KEYS_TEXT} > {product}"


MAPS_INSTEAD = (
    f", {ENTRIES_MAX} keys together, or {ENTRIES_OF_ROW_MAX} where rows have them, fewer if they"
    " are or hold lists; unnest map_entries(..), and join or group its rows"
)
LOOKS = looks(ENTRIES_MAX, PRODUCT_MAX)
LOOKS_OF_ROW = (
    f"{looks(ENTRIES_OF_ROW_MAX, NESTED_KEYS_OF_ROW_MAX)}"
    f" OR {IS_NESTED.format('map_values(coalesce(a, b))')} AND {VALUES_TEXT} > {NESTED_OF_ROW_MAX}"
)
GROWS = f"CAST(strlen(a) AS HUGEINT) * greatest(strlen(c), 1) > {GROWTH_MAX}"
GROWS_BY_MATCH = (
    f"CAST(strlen(a) AS HUGEINT) // greatest(strlen(b), 1) * greatest(strlen(c), 1) > {GROWTH_MAX}"
)
LENGTH = "strlen(CAST(a AS VARCHAR))"
"""Of a text, a blob or a list: `repeat` takes all of them."""
JOINS = f"CAST(len(a) AS HUGEINT) * greatest(strlen(b), 1) > {GROWTH_MAX}"
# A width or a precision of five digits, or one that is an argument: only inside a specification.
PRINTF_WIDTHS = "regexp_matches(a, '%[^a-zA-Z%]*([0-9]{5}|[*])')"
FORMAT_WIDTHS = r"regexp_matches(a, '\{[^{}]*:[^{}]*([0-9]{5}|\{)')"
SPREAD_IS_LONG = (
    f"CASE WHEN strlen(CAST(a AS VARCHAR)) > {SPREAD_TEXT_MAX} THEN error('a value that is joined"
    f" to rows has more than {SPREAD_TEXT_MAX} characters, of a list those of its text; unnest"
    " it, and join its rows') END"
)
LETTERS = string.ascii_letters
FORMAT_ARGUMENTS_MAX = len(LETTERS)


def formats(widths: str, mark: str) -> dict[int, str]:
    """By count of arguments, whether one has a width too large, or is put in too many places."""
    longest = [f"CAST(strlen(CAST({letter} AS VARCHAR)) AS HUGEINT)" for letter in LETTERS[1:]]
    places = f"(strlen(a) - strlen(replace(a, '{mark}', '')))"
    return {1: widths} | {
        count: f"{widths} OR {places} * greatest({', '.join(longest[: count - 1])}) > {GROWTH_MAX}"
        for count in range(2, FORMAT_ARGUMENTS_MAX + 1)
    }


def generators(text_max: int, list_max: int) -> dict[str, dict[int, str]]:
    """Return when a call makes something longer, by name and by count of arguments."""
    series = {
        1: f"{NUMBER.format('a')} > {list_max}",
        2: elements("a", "b", "1", list_max),
        3: elements("a", "b", "c", list_max),
    }
    repeated = f"CAST(b AS HUGEINT) * greatest({LENGTH}, 1)"
    return {
        "repeat": {2: f"b > {text_max} OR {repeated} > {text_max}"},
        "lpad": {3: f"b > {text_max}"},
        "rpad": {3: f"b > {text_max}"},
        "range": series,
        "generate_series": series,
        "list_resize": dict.fromkeys((2, 3), f"b > {list_max}"),
        "array_resize": dict.fromkeys((2, 3), f"b > {list_max}"),
        "bitstring": {2: f"b > {text_max}"},
        "equi_width_bins": {4: f"c > {list_max}"},
    }


GENERATORS = generators(TEXT_MAX, LIST_MAX)
GENERATORS_OF_ROW = generators(TEXT_OF_ROW_MAX, LIST_OF_ROW_MAX)
OF_MANY = frozenset(each for counts in GENERATORS_OF_ROW.values() for each in counts.values())
OF_MANY_INSTEAD = (
    f" where rows have it, or there are many such calls, {LIST_OF_ROW_MAX} elements or"
    f" {TEXT_OF_ROW_MAX} characters;"
    " FROM range(..) and unnest(range(..)) make rows"
)
SPREADS = frozenset(["bin", "hex", "regexp_escape", "to_binary", "to_hex", "url_encode"])
REDUCTIONS = frozenset(["list_reduce", "array_reduce", "reduce"])
EACH = frozenset(["list_transform", "array_transform", "list_apply", "array_apply", "apply"])
EACH |= {"list_filter", "array_filter", "filter"}
EACH_IS_LONG = f"len(a) > {HEAVY_MAX}"
CALLS = frozenset(["FUNCTION", "CAST", "OPERATOR", "COMPARISON", "CONJUNCTION", "BETWEEN", "CASE"])
CALLS |= {"COLLATE", "STAR"}
"""Expressions that take time for each element; a parameter or a constant takes none."""
CALCULATES = frozenset(["+", "-", "*", "/", "//", "%", "&", "|", "xor", "greatest", "least", "abs"])
"""What a reduction may do: its value stays as large as it was."""

# By name and by count of arguments, when a call is too large; a count that is not here is refused
# by the engine itself, or harmless.
TOO_LARGE: Mapping[str, Mapping[int, str]] = {
    **GENERATORS,
    "bar": {4: f"d > {WIDTH_MAX}"},
    "to_base": {3: f"c > {WIDTH_MAX}"},
    "printf": formats(PRINTF_WIDTHS, "%"),
    "format": formats(FORMAT_WIDTHS, "{"),
    "replace": {3: f"{GROWS_BY_MATCH} OR {find_is_long('a', 'b')}"},
    **{name: {2: pattern.too_large, 3: pattern.too_large} for name, pattern in PATTERNS.items()},
    **{name: dict.fromkeys((2, 3), find_is_long("a", "b")) for name in NEEDLES},
    **{name: dict.fromkeys((2, 3, 4), FIRST_IS_LONG) for name in FIRST_MATCH},
    **{name: dict.fromkeys((2, 3, 4), EVERY_IS_LONG) for name in EVERY_MATCH},
    "regexp_replace": {3: f"{GROWS} OR {FIRST_IS_LONG}", 4: f"{GROWS} OR {EVERY_IS_LONG}"},
    "array_to_string": {2: JOINS},
    "array_to_string_comma_default": {1: "false", 2: JOINS},
    "levenshtein": {2: EDITS},
    "editdist3": {2: EDITS},
    "damerau_levenshtein": {2: EDITS},
    "jaro_similarity": dict.fromkeys((2, 3), EDITS),
    "jaro_winkler_similarity": dict.fromkeys((2, 3), EDITS),
    "map_concat": {2: LOOKS},
    **{name: {1: f"{LENGTH} > {SPREAD_MAX}"} for name in SPREADS},
    **{name: dict.fromkeys((2, 3), f"len(a) > {STEPS_MAX}") for name in REDUCTIONS},
    **{name: {2: EACH_IS_LONG} for name in EACH},
    **lists.TOO_LONG,
}
OF_ROW = {
    EDITS: EDITS_OF_ROW,
    LOOKS: LOOKS_OF_ROW,
    lists.BOTH: lists.BOTH_OF_ROW,
    lists.KEYS: lists.KEYS_OF_ROW,
}
"""What is too large where each row has a call of its own, by what is too large once."""
SEARCHES = PATTERNS.keys() | NEEDLES | FIRST_MATCH | (EVERY_MATCH - {"regexp_replace"})
RANDOM = frozenset(["random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7"])
"""Another value for each call; `now()` and its kin are the same all through a statement."""


def runs_as_it_is(call: Tree) -> bool:
    """Whether a capped call needs no check.

    It looks for something short that is written out, does something short to each element, or
    has a list that is written out.
    """
    name, arguments = call["function_name"].lower(), call["children"]
    if name in EACH and any(is_heavy(node) for node in nodes_of(arguments[1:])):
        return False
    if name in EACH:
        base = lists.base_of(arguments)
        return base is None or lists.is_list(base)
    if name in lists.TOO_LONG:
        return lists.is_written_out(name, arguments)
    return name in SEARCHES and len(arguments) > 1 and is_harmless(name, arguments[1])


def is_heavy(node: Tree) -> bool:
    """Whether a node in a lambda takes long: it goes through a list again, or has a check."""
    name = str(node.get("function_name")).lower()
    if node.get("class") != "FUNCTION" or name not in TOO_LARGE:
        return False
    return name in EACH or not runs_as_it_is(node)


def bound_of_each(call: Tree, spot: Spot, spread: Spread) -> str:
    """Return when a call that asks a lambda for each element is too large."""
    body = call["children"][1:]
    if any(is_heavy(node) for node in nodes_of(body)):
        return EACH_IS_LONG
    collected = lists.is_collected(call) and not (lists.is_flattened(call) and spread.makes)
    once = collected or (is_made_once(call) and not spot.each)
    of_many = not once and (spread.multiplies or spread.makes)
    calls = sum(node.get("class") in CALLS for node in nodes_of(body, but="lhs"))
    most = EACH_OF_ROW_MAX if of_many else lists.COLLECTED_MAX
    return f"len(a) > {most // max(calls, 1)}"


def is_made_once(call: Tree) -> bool:
    """Whether a call with a lambda has nothing that is of a row."""
    body = call["children"][1:]
    lambdas = [node for node in nodes_of(body) if node.get("class") == "LAMBDA"]
    own = {name for each in lambdas for name in names_in(each["lhs"])}
    others = OF_ROWS - {"COLUMN_REF"}
    return (
        is_constant(call["children"][:1])
        and names_in(body) <= own
        and all(node.get("class") not in others for node in nodes_of(body))
    )


def names_in(trees: Any) -> set[str]:
    """Return what columns, or parameters of a lambda, are named by first."""
    return {
        node["column_names"][0].lower()
        for node in nodes_of(trees)
        if node.get("class") == "COLUMN_REF"
    }


def check_reduction(call: Tree) -> None:
    """Refuse a reduction whose value grows: `lambda a, b: a || a` fills the memory in 30 steps."""
    name = call["function_name"].lower()
    if name not in REDUCTIONS:
        return
    for node in nodes_of(call["children"][1:2], but="lhs"):
        inner = str(node.get("function_name", "+")).lower()
        if inner not in CALCULATES or node.get("class") == "SUBQUERY":
            raise FunctionNotAllowedError(
                name, f"its lambda may calculate ({', '.join(sorted(CALCULATES))}) and compare"
            )


class Amplifiers:
    """Wraps calls in their checks. Templates are parsed once, by the engine that runs them."""

    def __init__(self) -> None:
        self._templates: dict[str, Tree] = {}

    def check_all(
        self, cursor: Connection, calls: Sequence[Tree], nodes_max: int, spread: Spread
    ) -> None:
        """Check each call, and the length of what it may make that stands in many rows.

        Last of all that is done to a tree, because a check repeats the arguments: they must hold
        nothing that is not replaced yet.

        Args:
            calls: in the order in which a walk sees them: a call before what is in it.

        Raises: what `check` raises.
        """
        of_list = [call for call in calls if call["function_name"].lower() in lists.HEAVY | EACH]
        bases = {id(call): lists.base_of(call["children"]) for call in of_list}
        for call in reversed(calls):  # the inner ones come first
            self.check(cursor, call, nodes_max, spread, bases.get(id(call)))
        for item in reversed(spread.items):
            self.check_length(cursor, item, nodes_max)

    def check_length(self, cursor: Connection, item: Tree, nodes_max: int) -> None:
        """Turn `item` into `CASE WHEN it is too long THEN error(..) ELSE item END`, in its place.

        Raises:
            StatementTooLongError: it is too large to be repeated.
        """
        check_nodes([item], "a column", nodes_max)
        tree = copied(self._template(cursor, SPREAD_IS_LONG))
        fill(tree, [item])
        tree["else_expr"] = dict(item)
        tree["alias"] = item["alias"]
        item.clear()
        item.update(tree)

    def check(
        self,
        cursor: Connection,
        call: Tree,
        nodes_max: int,
        spread: Spread,
        base: Tree | None = None,
    ) -> None:
        """Turn `call` into `CASE WHEN it is too large THEN error(..) ELSE call END`, in its place.

        Args:
            call: a FUNCTION node; its arguments stand in the check a second time.
            nodes_max: how many objects of the tree the arguments may have: nested calls double.
            spread: where in the statement it stands.
            base: of a function of one list, the list whose length is looked at.

        Raises:
            FunctionNotAllowedError: with so many arguments, or with one that is never the same.
            StatementTooLongError: the arguments are too large to be repeated.
        """
        name, arguments = call["function_name"].lower(), call["children"]
        condition = TOO_LARGE[name].get(len(arguments))
        if condition is None:
            raise FunctionNotAllowedError(name, f"it is not called with {len(arguments)} arguments")
        spot, constant = spread.spot(call), is_constant(arguments)
        by_length = name in lists.HEAVY
        if name in EACH:
            condition = bound_of_each(call, spot, spread)
            by_length = condition != EACH_IS_LONG
        elif by_length:
            condition = lists.bound_of(call, spot, spread, constant)
        if by_length:
            arguments = [base or arguments[0]]
        elif name in GENERATORS and (spot.is_of_many(constant) or spread.generated > GENERATED_MAX):
            condition = GENERATORS_OF_ROW[name][len(arguments)]
        elif condition in OF_ROW and not constant:
            condition = OF_ROW[condition]
        check_nodes(arguments, f"a call of {name}", nodes_max)
        if not by_length and any(name_of(node) in RANDOM for node in nodes_of(arguments)):
            # It is checked with one value and would run with another.
            raise FunctionNotAllowedError(name, "its arguments may not be random")
        does = "search" if name in SEARCHES else "make"
        does = "compare" if name in lists.COMPARISONS else does
        instead = ""
        if by_length:
            does, instead = "take", lists.instead_of(condition)
        elif name in lists.TOO_LONG:
            instead = lists.INSTEAD_OF_MAPS if name in lists.MAPS else lists.INSTEAD
        elif name == "map_concat":
            instead = MAPS_INSTEAD
        elif condition in OF_MANY:
            instead = OF_MANY_INSTEAD
        message = f"{name} would {does} more than one call may{instead}"
        text = f"CASE WHEN {condition} THEN error('{message}')"
        text += PATTERNS[name].instead if name in PATTERNS else ""
        tree = copied(self._template(cursor, text + " END"))
        fill(tree, arguments)
        tree["else_expr"] = dict(call)
        tree["alias"] = call["alias"]
        call.clear()
        call.update(tree)

    def _template(self, cursor: Connection, text: str) -> Tree:
        if text not in self._templates:
            row = cursor.execute("SELECT json_serialize_sql(?)", [f"SELECT {text}"]).fetchone()
            assert row is not None, "one value in, one row out"
            parsed = orjson.loads(row[0])
            self._templates[text] = parsed["statements"][0]["node"]["select_list"][0]
        return self._templates[text]


def check_nodes(trees: Sequence[Tree], what: str, nodes_max: int) -> None:
    for size, _ in enumerate(nodes_of(trees)):
        if size > nodes_max:
            raise StatementTooLongError(f"nodes in {what}", nodes_max)


def is_constant(arguments: Sequence[Tree]) -> bool:
    kinds = {node.get("class") for node in nodes_of(arguments)}
    return kinds.isdisjoint(["COLUMN_REF", "LAMBDA_REF", "POSITIONAL_REFERENCE", "SUBQUERY"])


def fill(tree: Any, arguments: Sequence[Tree]) -> None:
    """Put `arguments` in the places of the columns a, b, c .. of a template."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, dict) and value.get("class") == "COLUMN_REF":
            position = LETTERS.index(value["column_names"][0])
            tree[key] = {**copied(arguments[position]), "alias": ""}
        elif isinstance(value, dict | list):
            fill(value, arguments)
