"""The one way of a statement: parse, resolve, authorise, pin, rewrite.

DuckDB's own parser gives the tree (`json_serialize_sql`); it is walked against allow-lists, every
base table is replaced by our relation for one snapshot of it, and the tree's own text is what
runs: what the user spelled never reaches DuckDB. Source: `architecture.md`, Query;
`security.md`, The SQL gate.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson
import pyarrow as pa

from lakehouse.auth import Action
from lakehouse.catalog import (
    AsOf,
    Catalog,
    Pinned,
    SnapshotNotFoundError,
    TableName,
    TableNotFoundError,
    TableRef,
    Where,
    folded,
)
from lakehouse.config import QueryConfig
from lakehouse.database import Connection, EngineError, quoted
from lakehouse.query.amplifiers import (
    Amplifiers,
    check_reduction,
    runs_as_it_is,
)
from lakehouse.query.catalog_views import VIEWS, Log, explained, registered, shown_view, view_of
from lakehouse.query.clock import Moment, Times, has_column
from lakehouse.query.errors import (
    FunctionNotAllowedError,
    SqlError,
    SqlSyntaxError,
    StatementNotAllowedError,
    StatementTooLongError,
    UnknownTableError,
    ViewRefusedError,
)
from lakehouse.query.functions import judge
from lakehouse.query.joins import check_joins
from lakehouse.query.plans import Places, Plan, Plans, bound, by_name
from lakehouse.query.pruning import conditions
from lakehouse.query.run_errors import CALLERS_FAULT, clean_message, kind_of
from lakehouse.query.running import Parameters
from lakehouse.query.spread import LENGTHEN, Spread
from lakehouse.query.views import Scope, Views
from lakehouse.query.windows import check_window
from lakehouse.query.wording import quote_star, says_the_same
from lakehouse.trees import Tree, nodes_of

May: TypeAlias = Callable[[Action, TableName], bool]
"""Whether this caller may do an action to a table; one denied looks like one that is not there."""
Logs: TypeAlias = Mapping[str, Log | Callable[[], pa.Table]]
NO_LOGS: Logs = {}

INSTANCE = "lake"
DEFAULT_NAMESPACE = "main"
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OURS = re.compile(r"r_[0-9a-f]{32}_|lakehouse_view_")
NO_NUMBER = re.compile(r'"value":-?Infinity')
INSTEAD = {
    "pivot": " (a PIVOT needs IN (..) and parentheses: SELECT * FROM (PIVOT ..))",
    "drop": " (DELETE /v1/tables/TABLE drops a table)",
    "insert": " (POST /v1/tables/TABLE/from-query writes a query's rows, .../rows takes JSON)",
    "create": " (POST /v1/tables/TABLE/from-query makes a table from a query)",
    "update": " (POST /v1/tables/TABLE/update sets columns of rows)",
    "delete": " (POST /v1/tables/TABLE/delete deletes rows)",
    "alter": " (POST /v1/tables/TABLE/schema changes columns)",
}
"""What does what another statement would, by its first word."""
EXPLAIN = re.compile(r"EXPLAIN\b(\s*\(?\s*ANALY[SZ]E\b)?", re.IGNORECASE)
REPEATED_MAX = 64_000_000
"""Characters that a statement may put together of one parameter."""
VOLATILE_NAMES = frozenset(
    ["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"]
)

QUERIES = frozenset(["SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"])
SOURCES = frozenset(["BASE_TABLE", "EMPTY", "EMPTY_FROM", "JOIN", "SUBQUERY", "EXPRESSION_LIST"])
SOURCES |= {"TABLE_FUNCTION", "PIVOT", "SHOW_REF"}
MODIFIERS = frozenset(
    ["ORDER_MODIFIER", "LIMIT_MODIFIER", "DISTINCT_MODIFIER", "LIMIT_PERCENT_MODIFIER"]
)
CLASSES = frozenset(["CONSTANT", "COLUMN_REF", "FUNCTION", "OPERATOR", "COMPARISON", "CONJUNCTION"])
CLASSES |= {"CAST", "CASE", "BETWEEN", "STAR", "SUBQUERY", "PARAMETER", "WINDOW", "LAMBDA"}
CLASSES |= {"LAMBDA_REF", "POSITIONAL_REFERENCE", "COLLATE", "TYPE"}
# A deeply nested VARIANT ends the process (a crash at 60,000 levels), a product of long BIGNUMs
# looks at no interrupt.
REFUSED_TYPES = frozenset(["VARIANT", "BIGNUM"])


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may run, and what it reads."""

    sql: str
    tables: tuple[Pinned, ...]
    volatile: bool
    """Its answer can differ while no table changes: `now()`, a sample, the list of tables."""
    registers: bool = False
    """Rows of ours are registered on its cursor, for this statement alone."""
    parameters: Parameters = None
    """What is bound when it runs."""

    @property
    def etag_parts(self) -> tuple[object, ...]:
        """What identifies the answer: relations are named after their snapshots."""
        return (self.sql, *(pinned.relation for pinned in self.tables))


def prepare(
    cursor: Connection,
    sql: str,
    *,
    catalog: Catalog,
    may: May,
    as_of: Mapping[str, AsOf],
    limits: QueryConfig,
    parameters: Parameters = None,
    logs: Logs = NO_LOGS,
) -> Statement:
    """Return `sql` as it may run, over exactly the current snapshots or those of `as_of`.

    Args:
        as_of: by table as the caller spells it, what to read of it.
        logs: by the name that SQL knows them by, rows of ours that this caller may read: logs,
            collections, and `.name` for what a search found that the statement calls `name`.

    Raises:
        SqlError: it is not one plain SELECT (or one of its kin), or names what is not there.
        StatementTooLongError: the text or the tree is over its limit.
        TableDamagedError, EmptyTableError: a table that it names cannot be read.
    """
    check_text(sql, limits)
    check_repeated(sql, parameters)
    bare = strip_comments(sql)
    if explained := EXPLAIN.match(bare):
        if explained[1]:
            raise StatementNotAllowedError(
                "EXPLAIN ANALYZE runs what it explains, so it is refused"
            )
        inner = bare[explained.end() :]
        inside = prepare_one(cursor, inner, catalog, may, as_of, limits, logs, parameters)
        return explain(cursor, inside, parameters)
    statement = prepare_one(cursor, sql, catalog, may, as_of, limits, logs, parameters)
    return replace(statement, parameters=parameters)


def prepare_one(
    cursor: Connection,
    sql: str,
    catalog: Catalog,
    may: May,
    as_of: Mapping[str, AsOf],
    limits: QueryConfig,
    logs: Logs,
    parameters: Parameters,
) -> Statement:
    own = sorted(name for name in logs if name.startswith("."))
    asked = (sql, *sorted(as_of.items(), key=str), *own)  # a table may have had that name before
    given, moment = by_name(parameters), Moment.now()
    plan = PLANS.find(asked)
    if plan and may_read_all(plan, may) and are_as_they_were(plan.views, catalog):
        with suppress(TableNotFoundError, SnapshotNotFoundError):  # the long way says it better
            pinned = catalog.pin(cursor, plan.bound(given, moment))
            if not has_column(pinned, plan.time_names):
                return Statement(plan.text(pinned, moment), tuple(pinned), plan.volatile)
    for timed in (True, False):
        tree = parse(cursor, sql)
        opened = Views(catalog, may, lambda text: parse_view(cursor, text, limits))
        walk = Walk(limits.nodes_max, logs, opened)
        walk.run(tree["statements"][0])
        opened.close()
        views = [node for node, _ in opened.nodes]
        looks = walk.capped or walk.lengthens  # most statements need no second pass
        spread = Spread.of(tree["statements"][0], views=views) if looks else Spread()
        times = Times.of(tree) if timed and walk.volatile and walk.tables else Times()
        name_columns(cursor, walk, [*times.nodes, *spread.items])
        walk.shorten_columns()
        places = Places()
        times.become_parameters(places.token)
        refs = references(walk, catalog, may, named_once(as_of))
        pinned = pin(cursor, walk, catalog, may, bound(refs, places, given, moment))
        if not has_column(pinned, times.names):
            break
    times.become_texts({})
    for number, node in enumerate(walk.tables):
        replace_table(node, places.table(number))
    for node, cte in opened.nodes:
        replace_table(node, cte)
    for view, node in walk.views:
        replace_table(node, relation_of(cursor, view, catalog, may, logs))
    AMPLIFIERS.check_all(cursor, walk.capped, limits.nodes_max, spread)
    registers = bool(walk.views)
    pieces = places.split(written(cursor, tree))
    volatile = walk.volatile or registers
    plan = Plan(places, pieces, tuple(refs), volatile, times.names, opened.locations())
    if not registers:
        PLANS.keep(asked, plan)
    return Statement(plan.text(pinned, moment), tuple(pinned), plan.volatile, registers)


def may_read_all(plan: Plan, may: May) -> bool:
    names = [*map(name_of, plan.refs), *plan.views]
    return all(may("read", name) for name in names)


def are_as_they_were(views: Mapping[TableName, str], catalog: Catalog) -> bool:
    """Whether views have the text that a plan was made of: its file is never written twice."""
    return not views or catalog.views.locations([*views]) == [*views.values()]


def relation_of(cursor: Connection, view: str, catalog: Catalog, may: May, logs: Logs) -> str:
    """Return the relation of this cursor's that has the rows of a view, or of a log of ours."""
    log = logs.get(view)
    if isinstance(log, Log):
        return log.copied(cursor)
    return registered(cursor, log() if log else view_of(view, catalog, may))


def written(cursor: Connection, tree: Tree) -> str:
    """Return the text of a tree, as DuckDB writes it.

    Raises:
        SqlError: the text would say something else than the tree.
    """
    try:
        serialized = orjson.dumps(tree).decode()
    except TypeError as error:  # a JSON of ours that orjson read, and does not write
        raise SqlSyntaxError("the statement is nested too deeply") from error
    try:
        row = cursor.execute("SELECT json_deserialize_sql(?)", [serialized])
        text = row.fetchone()
    except orjson.JSONEncodeError as error:
        raise SqlSyntaxError("the statement is nested too deeply") from error
    except EngineError as error:
        raise refused(error) from error
    assert text is not None, "one value in, one row out"
    with suppress(SqlError):
        if says_the_same(parse(cursor, text[0]), tree):
            return str(text[0])
    raise SqlError("the engine cannot repeat this statement; name things in it by plainer names")


def refused(error: EngineError) -> Exception:
    """Return what to raise for an error of the parser; what is not the caller's fault stays."""
    if kind_of(error) in CALLERS_FAULT:
        return SqlSyntaxError(clean_message(str(error)))
    return error


def check_repeated(sql: str, parameters: Parameters) -> None:
    """Refuse a long parameter that stands in many places: one call would put all of them together.

    Raises:
        SqlError: it does. A `$` in a text of the statement counts too.
    """
    places = sql.count("?") + sql.count("$")
    given = parameters.values() if isinstance(parameters, Mapping) else parameters or ()
    longest = max((len(each) for each in given if isinstance(each, str | list | dict)), default=0)
    if places > 1 and places * longest > REPEATED_MAX:
        raise SqlError(
            f"a parameter has {longest:,} characters or elements, and there are {places} places for"
            f" parameters, which may be {REPEATED_MAX:,} together; name it once, in a query"
        )


PLANS = Plans()


def name_of(ref: TableRef) -> TableName:
    return TableName(ref.namespace or DEFAULT_NAMESPACE, ref.name)


def check_text(sql: str, limits: QueryConfig) -> None:
    try:
        size = len(sql.encode())
    except UnicodeEncodeError as error:
        raise SqlSyntaxError("the statement is not valid Unicode") from error
    if "\0" in sql:
        raise SqlSyntaxError("the statement has a NUL character")
    if size > limits.sql_max_bytes:
        raise StatementTooLongError("bytes", limits.sql_max_bytes)
    if not sql.strip():
        raise SqlSyntaxError("the statement is empty")


def strip_comments(sql: str) -> str:
    """Return `sql` without the comments and white space it begins with."""
    while True:
        sql = sql.lstrip()
        if sql.startswith("--"):
            sql = sql.partition("\n")[2]
        elif sql.startswith("/*"):
            sql = sql.partition("*/")[2]
        else:
            return sql


def parse(cursor: Connection, sql: str, before: str = "") -> Tree:
    """Return DuckDB's tree of one SELECT.

    Args:
        before: what the SELECT begins with; an error is placed in `sql` alone.

    Raises:
        SqlSyntaxError: it cannot be parsed.
        StatementNotAllowedError: it is something else than a SELECT, or more than one.
    """
    try:
        row = cursor.execute("SELECT json_serialize_sql(?)", [before + sql]).fetchone()
    except EngineError as error:
        raise refused(error) from error
    assert row is not None, "one value in, one row out"
    try:
        tree: Tree = orjson.loads(row[0])
    except orjson.JSONDecodeError as error:
        if "depth limit" in error.msg:
            raise SqlSyntaxError("the statement is nested too deeply") from error
        if NO_NUMBER.search(row[0]):
            raise SqlSyntaxError("a number in it is larger than a DOUBLE can be") from error
        raise MemoryError from error  # the engine writes JSON: what was missing is room for it
    if tree.get("error"):
        message = str(tree.get("error_message", ""))
        if tree.get("error_type") == "not implemented":
            verb = re.match(r"\w*", strip_comments(sql).lstrip())
            instead = INSTEAD.get(verb[0].lower() if verb else "", "")
            raise StatementNotAllowedError("only SELECT runs" + instead)
        raise SqlSyntaxError(where(sql, tree, len(before.encode())) + clean_message(message))
    if len(tree["statements"]) != 1:
        count = len(tree["statements"])
        raise StatementNotAllowedError(f"the text has {count} statements" if count else "no SQL")
    return tree


def parse_view(cursor: Connection, text: str, limits: QueryConfig) -> Tree:
    """Return DuckDB's tree of the SELECT that a view is; errors as of `check_text` and `parse`."""
    check_text(text, limits)
    return parse(cursor, text)


def where(sql: str, tree: Tree, skipped_bytes: int) -> str:
    """Return the place of an error as people count: `line 2, column 8: `."""
    position = tree.get("position")
    if not str(position or "").isdecimal():
        return ""
    before = sql.encode()[: max(int(str(position)) - skipped_bytes, 0)].decode(errors="ignore")
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}: "


@dataclass(slots=True)
class Walk:
    """One pass over a tree: refuses what is not allowed, and finds what must be replaced."""

    nodes_max: int
    logs: Collection[str] = ()
    """Names of logs of ours that this caller may read."""
    opened: Views | None = None
    """Where the views that it names are found; without it every name is a table's."""
    inside: dict[int, TableName] = field(default_factory=dict)
    """By `id` of the node of a table, the view whose SQL names it."""
    tables: list[Tree] = field(default_factory=list)
    views: list[tuple[str, Tree]] = field(default_factory=list)
    columns: list[Tree] = field(default_factory=list)
    capped: list[Tree] = field(default_factory=list)
    selected: list[Tree] = field(default_factory=list)
    selects: list[Tree] = field(default_factory=list)
    qualified: set[tuple[str, str]] = field(default_factory=set)
    volatile: bool = False
    lengthens: bool = False
    """It calls a function whose value may be long."""

    def run(self, root: Tree) -> None:
        """Visit every node below `root`, without recursion: users choose the depth."""
        top = root.get("node", root)
        if self.opened:
            self.opened.begin(top)
        stack: list[tuple[Any, Scope]] = [(root, Scope(id(top)))]
        nodes = 0
        while stack:
            node, scope = stack.pop()
            if isinstance(node, list):
                stack.extend((each, scope) for each in node)
                continue
            if not isinstance(node, dict):
                continue
            nodes += 1
            if nodes > self.nodes_max * 4:  # a node of SQL is up to four objects of the tree
                raise StatementTooLongError("nodes", self.nodes_max)
            try:
                stack.extend(self.visit(node, scope))
            except ViewRefusedError:
                raise
            except SqlError as error:
                if scope.view is None:
                    raise
                raise ViewRefusedError(scope.view, error.detail) from error

    def visit(self, node: Tree, scope: Scope) -> list[tuple[Any, Scope]]:
        """Return what is to be visited below `node`, each with the CTE names it can see."""
        if "cte_map" in node:
            return self.query(node, scope)
        class_, type_ = node.get("class"), node.get("type")
        if isinstance(class_, str):
            return self.expression(node, class_, scope)
        if isinstance(type_, str) and "sample" in node and "alias" in node:
            return self.source(node, type_, scope)
        if isinstance(type_, str) and type_.endswith("_MODIFIER") and type_ not in MODIFIERS:
            raise StatementNotAllowedError(f"{type_} is not known here")
        return [(value, scope) for value in node.values()]

    def query(self, node: Tree, scope: Scope) -> list[tuple[Any, Scope]]:
        """A query sees its own CTEs; each of them sees those before it, a recursive one itself."""
        if node["type"] not in QUERIES:
            raise StatementNotAllowedError(f"{node['type']} is not known here")
        below: list[tuple[Any, Scope]] = []
        for entry in node["cte_map"]["map"]:
            name = folded(entry["key"])
            if OURS.match(name):
                raise SqlError(f"{entry['key'][:80]!r} cannot be the name of a CTE")
            below.append((entry["value"], scope))
            scope = scope.seeing(name)
        if node.get("sample") is not None:
            self.volatile = True
        self.selected.extend(node.get("select_list", ()))
        if node["type"] == "SELECT_NODE":
            check_joins(node["from_table"])
            self.selects.append(node)
        if node["type"] == "RECURSIVE_CTE_NODE":
            itself = scope.seeing(folded(node["cte_name"]))
            below.append((node["left"], scope))  # the anchor cannot see what it begins
            below.append((node["right"], itself))
            rest = {key: v for key, v in node.items() if key not in ("left", "right")}
        else:
            rest = dict(node)
        del rest["cte_map"]
        return [*below, *((value, scope) for value in rest.values())]

    def source(self, node: Tree, type_: str, scope: Scope) -> list[tuple[Any, Scope]]:
        if type_ not in SOURCES:
            raise StatementNotAllowedError(f"{type_} is not known here")
        if node["sample"] is not None:
            self.volatile = True
        if type_ == "BASE_TABLE":
            return self.table(node, scope)
        if type_ == "SHOW_REF":
            return self.shown(node, scope)
        if type_ == "TABLE_FUNCTION":
            call = node["function"]
            if call.get("class") != "FUNCTION":
                raise StatementNotAllowedError("a table function is a call")
            self.allowed("table", call)
            return [(call["children"], scope), *self.others(node, ("function",), scope)]
        return [(value, scope) for value in node.values()]

    def shown(self, node: Tree, scope: Scope) -> list[tuple[Any, Scope]]:
        if scope.view is not None:
            raise StatementNotAllowedError("a view is a SELECT; it shows and describes nothing")
        query = node["query"]
        if query is None:
            self.views.append((shown_view(node["table_name"]), node))
            return []
        if self.opened:  # the engine looks at it by itself, without the CTEs of the statement
            self.opened.begin(query)
        return [(query, scope.under(query)), *self.others(node, ("query",), scope)]

    def table(self, node: Tree, scope: Scope) -> list[tuple[Any, Scope]]:
        name, namespace = folded(node["table_name"]), folded(node["schema_name"])
        unqualified = not namespace and not node["catalog_name"]
        if unqualified and name in scope.names and node["at_clause"] is None:
            return []  # a CTE of the statement's own
        if node["catalog_name"] and folded(node["catalog_name"]) != INSTANCE:
            raise UnknownTableError(spelled(node), None)
        if scope.view is not None:
            self.inside[id(node)] = scope.view
            node["schema_name"] = node["schema_name"] or scope.namespace
            namespace = folded(node["schema_name"])
        if f"{namespace}.{name}" in VIEWS or f"{namespace}.{name}" in self.logs:
            if scope.view is not None:
                raise SqlError(f"a view reads tables and views; {namespace}.{name} is neither")
            self.views.append((f"{namespace}.{name}", node))
            return []
        view = self.opened and self.opened.name_of(namespace or DEFAULT_NAMESPACE, name)
        if self.opened and view:
            body = self.opened.open(node, view, scope)
            self.qualified.add((namespace or DEFAULT_NAMESPACE, name))
            return [body] if body else []
        self.qualified.add((namespace or DEFAULT_NAMESPACE, name))
        self.tables.append(node)
        return []

    def expression(self, node: Tree, class_: str, scope: Scope) -> list[tuple[Any, Scope]]:
        if class_ not in CLASSES:
            raise StatementNotAllowedError(f"{class_} is not known here")
        if class_ == "STAR":
            quote_star(node)
        elif class_ == "PARAMETER":
            if scope.view is not None:
                raise SqlError("a view has no parameters")
            check_parameter(node["identifier"])
        elif class_ == "COLUMN_REF":
            names = node["column_names"]
            self.volatile |= len(names) == 1 and folded(names[0]) in VOLATILE_NAMES
            self.columns.append(node)
        elif class_ in ("CAST", "TYPE"):
            check_types(node)
        elif class_ == "WINDOW":
            check_window(node)
            self.allowed("value", {**node, "function_name": node.get("function_name") or "rank"})
        elif class_ == "FUNCTION":
            verdict = self.allowed("value", node)
            check_reduction(node)
            if verdict == "capped" and not runs_as_it_is(node):
                self.capped.append(node)
        return [(value, scope) for value in node.values()]

    def allowed(self, kind: Any, call: Tree) -> str:
        name = call["function_name"]
        if folded(call.get("schema") or DEFAULT_NAMESPACE) != DEFAULT_NAMESPACE:
            raise FunctionNotAllowedError(f"{call['schema']}.{name}", "write it without a schema")
        if call.get("catalog"):
            raise FunctionNotAllowedError(name, "write it without a catalog")
        judged = judge(kind, name)
        if judged.verdict == "refused":
            raise FunctionNotAllowedError(name, judged.reason)
        self.volatile |= judged.verdict == "volatile"
        self.lengthens |= name.lower() in LENGTHEN
        return judged.verdict

    def others(self, node: Tree, seen: Sequence[str], scope: Scope) -> list[tuple[Any, Scope]]:
        return [(value, scope) for key, value in node.items() if key not in seen]

    def shorten_columns(self) -> None:
        """`main.people.id` becomes `people.id`: the relation has no namespace, only an alias."""
        for node in self.columns:
            names = node["column_names"]
            if len(names) > 2 and folded(names[0]) == INSTANCE:
                names = names[1:]
            if len(names) > 2 and (folded(names[0]), folded(names[1])) in self.qualified:
                node["column_names"] = names[1:]


AMPLIFIERS = Amplifiers()


def check_types(node: Tree) -> None:
    """Refuse a cast to a type that is not safe, however deep in the one that is written."""
    for each in nodes_of({key: value for key, value in node.items() if key != "child"}):
        if each.get("id") in REFUSED_TYPES:
            raise StatementNotAllowedError(f"a statement cannot make values of type {each['id']}")


def check_parameter(name: str) -> None:
    # The engine writes it as it is, and so does what chooses the files.
    if not (name.isdecimal() or PLAIN.fullmatch(name)):
        raise SqlError(
            f"a parameter is named by letters, digits and underscores, not {name[:80]!r}"
        )


def name_columns(cursor: Connection, walk: Walk, others: Sequence[Tree]) -> None:
    """Give columns that are about to be rewritten the name they have as they were spelled.

    The engine names a column without an alias after its text, which would hold a check of ours
    or the name of a relation.
    """
    rewritten = {id(node) for node in (*walk.capped, *walk.tables, *others)}
    rewritten |= {id(node) for _, node in walk.views}
    rewritten |= {id(node) for node, _ in walk.opened.nodes} if walk.opened else set()
    for column in walk.selected:
        if not column["alias"] and column["class"] == "COLUMN_REF" and id(column) in rewritten:
            (column["alias"],) = column["column_names"]
        if column["alias"] or column["class"] in ("COLUMN_REF", "CONSTANT"):
            continue
        if any(node.get("class") == "STAR" for node in nodes_of(column, but="subquery")):
            continue  # it is several columns, each with a name of its own
        if any(id(node) in rewritten for node in nodes_of(column)):
            tree = parse(cursor, "SELECT 1")
            tree["statements"][0]["node"]["select_list"] = [column]
            column["alias"] = written(cursor, tree).removeprefix("SELECT ")


def references(walk: Walk, catalog: Catalog, may: May, as_of: Mapping[str, AsOf]) -> list[TableRef]:
    """Return what every table of the walk is, each one that the caller may read."""
    wheres = conditions(walk.selects)
    refs = [reference(node, as_of, wheres.get(id(node))) for node in walk.tables]
    open_ = [node for node in walk.tables if node["at_clause"] is None]
    unused = as_of.keys() - {name for node in open_ for name in asked_names(node)}
    for view in walk.opened.locations() if walk.opened else ():
        if {folded(str(view)), folded(view.name)} & unused:
            raise ViewRefusedError(view, "it has no snapshots; name the tables that it reads")
    if unused:
        named = f"as_of names {min(unused)[:80]!r}"
        raise SqlError(
            f"{named}, which the statement does not read, or reads AT a moment of its own"
        )
    for node, ref in zip(walk.tables, refs, strict=True):
        if not may("read", name_of(ref)):
            raise unknown(walk, node, catalog, may)
    return refs


def pin(
    cursor: Connection, walk: Walk, catalog: Catalog, may: May, refs: Sequence[TableRef]
) -> list[Pinned]:
    """Return the relations of all tables of the walk, as of one moment."""
    try:
        return catalog.pin(cursor, refs)
    except TableNotFoundError as error:
        missing = error.context["table"]
        node = next(
            node
            for node, ref in zip(walk.tables, refs, strict=True)
            if str(name_of(ref)) == missing
        )
        raise unknown(walk, node, catalog, may) from error


def named_once(as_of: Mapping[str, AsOf]) -> dict[str, AsOf]:
    """Return `as_of` by folded name; `SqlError` when it names a table twice."""
    seen: dict[str, str] = {}
    for name in as_of:
        other = seen.setdefault(folded(name).removeprefix(f"{DEFAULT_NAMESPACE}."), name)
        if other != name:
            both = f"{other[:80]!r} and {name[:80]!r}"
            raise SqlError(f"as_of names one table twice, as {both}; name it once")
    return {folded(name): moment for name, moment in as_of.items()}


def asked_names(node: Tree) -> tuple[str, ...]:
    """Return the names under which `as_of` may mean this table."""
    name, namespace = folded(node["table_name"]), folded(node["schema_name"])
    if not namespace:
        return (name, f"{DEFAULT_NAMESPACE}.{name}")
    return (
        (f"{namespace}.{name}", name)
        if namespace == DEFAULT_NAMESPACE
        else (f"{namespace}.{name}",)
    )


def reference(node: Tree, as_of: Mapping[str, AsOf], where: Where | None) -> TableRef:
    moment = next((as_of[name] for name in asked_names(node) if name in as_of), None)
    if node["at_clause"] is not None:
        moment = at_moment(node["at_clause"])
    return TableRef(node["schema_name"] or None, node["table_name"], moment, where)


def at_moment(clause: Tree) -> AsOf:
    """Return what `AT (VERSION => ..)` or `AT (TIMESTAMP => ..)` says; without a zone it is UTC.

    A version is a snapshot id, or a text: the name of a tag or a branch, whatever it looks like,
    and an id where digits name neither.
    """
    expression = clause["expr"]
    while expression.get("class") == "CAST":
        expression = expression["child"]
    try:
        value = expression["value"]["value"]
        if clause["unit"].upper() == "VERSION":
            return version_of(value, expression["value"]["type"]["id"])
        moment = datetime.fromisoformat(str(value))
    except (KeyError, TypeError, ValueError) as error:
        raise SqlError(
            "AT takes (VERSION => id), (VERSION => 'tag or branch') or "
            "(TIMESTAMP => 'ISO 8601 time')"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def version_of(value: object, type_: str) -> int | str:
    """Return a snapshot id or a name; `TypeError` for another number, as `1e5` or `1.0` is one."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int) or "INT" not in type_:
        raise TypeError(type_)
    return value


def replace_table(node: Tree, relation: str) -> None:
    """Make `node` read `relation`, under the name by which the statement knows it."""
    alias = node["alias"] or node["table_name"]
    node.update(
        type="BASE_TABLE",
        alias=alias,
        catalog_name="",
        schema_name="",
        table_name=relation,
        at_clause=None,
    )
    for key in ("query", "show_type"):
        node.pop(key, None)
    node.setdefault("column_name_alias", [])


def unknown(walk: Walk, node: Tree, catalog: Catalog, may: May) -> SqlError:
    """Say that a table is not there, with the nearest name that this caller may see."""
    view = walk.inside.get(id(node))
    if view is not None:
        reason = f"it reads {spelled(node)[:300]!r}, and no table that you may read is named so"
        return ViewRefusedError(view, reason)
    visible = [n for n in (*catalog.names(), *catalog.views.names()) if may("read", n)]
    near = nearest(spelled(node), visible)
    return UnknownTableError(spelled(node), near)


def nearest(name: str, visible: Sequence[TableName]) -> str | None:
    names = {folded(str(each)): said((each.namespace, each.name)) for each in visible}
    names |= {folded(each.name): said([each.name]) for each in visible if each.namespace == "main"}
    found = difflib.get_close_matches(folded(name), names, n=1)
    return names[found[0]] if found else None


def said(parts: Iterable[str]) -> str:
    """Return a name as a statement writes it: in quotes where SQL would read it otherwise."""
    return ".".join(part if PLAIN.fullmatch(part) else quoted(part) for part in parts)


def spelled(node: Tree) -> str:
    parts = (node["catalog_name"], node["schema_name"], node["table_name"])
    return ".".join(part for part in parts if part)


def explain(cursor: Connection, statement: Statement, parameters: Parameters) -> Statement:
    """Return a statement that answers the plan, without a path or a relation's name in it.

    Parameters are in the plan, bound; what answers it has none.
    """
    try:
        rows = cursor.execute(f"EXPLAIN {statement.sql}", parameters).fetchall()
    except EngineError as error:
        relations = {each.relation: str(each.table) for each in statement.tables}
        raise SqlError(clean_message(str(error), relations)) from error
    relation = registered(cursor, explained(rows))
    return Statement(f"SELECT * FROM {relation}", statement.tables, volatile=True, registers=True)
