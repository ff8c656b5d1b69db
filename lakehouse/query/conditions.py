"""Expressions over one table's columns: what a delete or an update says, through the gate.

A condition is parsed in the place of one, `SELECT * FROM t WHERE ..`, and the tree must be that of
`WHERE true` but for the condition: whatever else the text opens or closes shows there. What runs
is the tree's own text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lakehouse.catalog import TableName, folded
from lakehouse.config import QueryConfig
from lakehouse.database import Connection, literal, quoted
from lakehouse.query.amplifiers import RANDOM
from lakehouse.query.clock import Moment, Times
from lakehouse.query.errors import SqlError, SqlSyntaxError, StatementTooLongError
from lakehouse.query.functions import aggregates
from lakehouse.query.gate import AMPLIFIERS, Walk, parse, written
from lakehouse.query.spread import Spread
from lakehouse.trees import Tree, nodes_of

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
MAKES_ROWS = frozenset(["unnest", "generate_subscripts"])
NAMED = {"count_star": "count(*)"}
ONE_TABLE = "it reads the columns of its own table and nothing else"


@dataclass(slots=True)
class Expressions:
    """Reads the expressions of one change; `?` are counted through all of them."""

    cursor: Connection
    table: TableName
    limits: QueryConfig
    parameters: Parameters
    columns: frozenset[str]
    """Of the table, folded."""
    volatile: bool = False
    """One of them has another value at another time: `now()`."""
    moment: Moment = field(default_factory=Moment.now)
    """The time in all of them."""
    used: set[str] = field(default_factory=set)
    counted: int = 0

    def read(self, text: str, what: str) -> str:
        """Return `text` as it may run over the table, parameters in their places.

        Args:
            what: which one it is, for the error: `where`, `set.price`.

        Raises:
            SqlError: it is not one expression, or uses what is not allowed or not there.
            StatementTooLongError: it is over the limits of a statement.
        """
        if not text.strip():
            raise SqlSyntaxError(f"{what} is empty; `true` means every row")
        if "\0" in text:  # the engine's parser ends there, and what comes after would be let go
            raise SqlSyntaxError(f"{what} has a NUL character")
        if len(text.encode(errors="surrogatepass")) > self.limits.sql_max_bytes:
            raise StatementTooLongError("bytes", self.limits.sql_max_bytes)
        expression = self._parsed(text, what)
        self._bind(expression, what)
        self._list_any(expression)
        walk = Walk(self.limits.nodes_max)
        walk.run(expression)
        spread = Spread.of(expression, of_row=True)
        for node in nodes_of(expression):
            if node.get("class") in ("SUBQUERY", "WINDOW", "STAR"):
                raise SqlError(f"{what} has a {str(node['class']).lower()}: {ONE_TABLE}")
            if node.get("class") == "COLUMN_REF" and self._is_table(node["column_names"]):
                raise SqlError(f"{what} names the table itself; it takes columns")
            name = str(node.get("function_name")).lower()
            if name in aggregates():
                raise SqlError(
                    f"{what} has {NAMED.get(name, name)}, which is of many rows: {ONE_TABLE}, one "
                    "row at a time; ask for the value in a SELECT first, and give it as a parameter"
                )
            if name in MAKES_ROWS:
                raise SqlError(f"{what} has {name}, which makes rows: it takes one value a row")
            if name in RANDOM:
                raise SqlError(f"{what} is random: it would not choose the same rows twice")
        self.volatile |= walk.volatile
        if walk.volatile:
            self._tell_time(expression)
        walk.qualified.add((self.table.namespace.lower(), self.table.name.lower()))
        walk.shorten_columns()
        AMPLIFIERS.check_all(self.cursor, walk.capped, self.limits.nodes_max, spread)
        return self._text(expression)

    def _list_any(self, expression: Tree) -> None:
        """Make `id IN (1, 2)` of `id = ANY([1, 2])`, which the parser takes for a subquery."""
        for node in list(nodes_of(expression)):
            if node.get("subquery_type") != "ANY" or node.get("comparison_type") != "COMPARE_EQUAL":
                continue
            values = listed_values(node["subquery"]["node"])
            if not values:
                continue
            tree = parse(self.cursor, "SELECT 1 IN (2, 3)")["statements"][0]["node"]
            (is_in,) = tree["select_list"]
            is_in.update(alias=node.get("alias", ""), children=[node["child"], *values])
            node.clear()
            node.update(is_in)

    def check_used(self) -> None:
        """Refuse values that no expression has a place for."""
        given = names_of(self.parameters)
        if unused := sorted(given - self.used):
            raise SqlError(f"the parameter {unused[0][:80]!r} is given, and no expression uses it")

    def _is_table(self, names: Sequence[str]) -> bool:
        """Whether a name is that of the table, as a value of all its columns."""
        if len(names) != 1 or folded(names[0]) != folded(self.table.name):
            return False
        return folded(names[0]) not in self.columns

    def _parsed(self, text: str, what: str) -> Tree:
        select = f"SELECT * FROM {quoted(self.table.name)} WHERE "
        # A line of its own, so that a comment at the end of the text takes nothing with it.
        tree = parse(self.cursor, f"{text}\n", select)
        node = tree["statements"][0]["node"]
        expression = node.get("where_clause")
        plain = parse(self.cursor, "true\n", select)["statements"][0]["node"]
        if not isinstance(expression, dict):
            raise SqlError(f"{what} is not one expression")
        if {**node, "where_clause": plain["where_clause"]} != plain:
            raise SqlError(f"{what} is not one expression: {ONE_TABLE}")
        return expression

    def _bind(self, expression: Tree, what: str) -> None:
        """Put the parameters into their places, as constants."""
        positions = 0
        for node in list(nodes_of(expression)):
            if node.get("class") != "PARAMETER":
                continue
            name = str(node["identifier"])
            if name.isdecimal():
                positions = max(positions, int(name))
                name = str(int(name) + self.counted)
            value = parameter(self.parameters, name, what)
            self.used.add(name)
            tree = parse(self.cursor, f"SELECT {constant(value, name)}")
            alias = node.get("alias", "")
            node.clear()
            node.update(tree["statements"][0]["node"]["select_list"][0], alias=alias)
        self.counted += positions

    def _tell_time(self, expression: Tree) -> None:
        """Put the time into its places: by a constant, files are chosen."""
        times = Times.of(expression)
        if not times.names & self.columns:
            times.become_parameters("")
            times.become_texts(self.moment.named(""))

    def _text(self, expression: Tree) -> str:
        tree = parse(self.cursor, "SELECT 1")
        tree["statements"][0]["node"]["select_list"] = [expression]
        return written(self.cursor, tree).removeprefix("SELECT ")


def listed_values(select: Tree) -> list[Tree]:
    """Return what is written out in `ANY([1, 2])`, of which the parser makes a SELECT."""
    columns = select.get("select_list") or [{}]
    (unnest, *others) = columns
    is_list = unnest.get("function_name") == "unnest" and not others
    if not is_list or (select.get("from_table") or {}).get("type") != "EMPTY":
        return []
    (values,) = unnest["children"]
    found: list[Tree] = values["children"] if values.get("function_name") == "list_value" else []
    return found


def names_of(parameters: Parameters) -> set[str]:
    if isinstance(parameters, Mapping):
        return set(parameters)
    return {str(number) for number in range(1, len(parameters) + 1)}


def parameter(parameters: Parameters, name: str, what: str) -> Any:
    if isinstance(parameters, Mapping):
        if name in parameters:
            return parameters[name]
    elif name.isdecimal() and 1 <= int(name) <= len(parameters):
        return parameters[int(name) - 1]
    raise SqlError(f"{what} uses the parameter {name[:80]!r}, and `parameters` has no value for it")


def constant(value: Any, name: str) -> str:
    """Return a value of JSON as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"CAST({literal(repr(value))} AS DOUBLE)"
    if isinstance(value, str) and "\0" not in value:
        return literal(value)
    raise SqlError(f"the parameter {name[:80]!r} is a number, a text, true, false or null")
