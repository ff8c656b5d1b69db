"""Views in a statement: each becomes a CTE of it, once, and its SQL is gated as the statement is.

Nothing is read with the rights of who made a view: its tables are those that who asks may read. A
CTE sees nothing of what stands around the view's name, so a view means the same wherever it is
read. Which names are CTEs of ours no caller can say: `OURS` in `gate.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from lakehouse.auth import Action
from lakehouse.catalog import Catalog, LoadedView, TableName, folded
from lakehouse.query.errors import SqlError, ViewRefusedError
from lakehouse.trees import Tree

DIALECT = "duckdb"
VIEWS_MAX = 32
"""Different views in one statement, those inside of views too: how deep they can lie, therefore."""
NAME = "lakehouse_view_of_"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a name means at a place of a statement."""

    root: int
    """`id` of the query that views become CTEs of."""
    names: frozenset[str] = frozenset()
    """CTEs that are seen here, folded."""
    view: TableName | None = None
    """Whose SQL this is; None in the statement's own."""
    namespace: str = ""
    """What a name without a namespace is in."""

    def seeing(self, name: str) -> "Scope":
        return Scope(self.root, self.names | {name}, self.view, self.namespace)

    def under(self, root: Tree) -> "Scope":
        """Return the scope of a query that the engine looks at by itself."""
        return Scope(id(root), self.names, self.view, self.namespace)


@dataclass(slots=True)
class Opened:
    """A view of a statement, below one of its queries."""

    view: LoadedView
    cte: str
    body: Tree
    reads: set[TableName] = field(default_factory=set)
    """Views that its SQL names."""


@dataclass(slots=True)
class Root:
    """A query whose CTEs views become."""

    node: Tree
    opened: dict[TableName, Opened] = field(default_factory=dict)


@dataclass(slots=True)
class Views:
    """The views of one statement.

    Args:
        parse: of the text of a view, what DuckDB makes of it, as `gate.parse`.
    """

    catalog: Catalog
    may: Callable[[Action, TableName], bool]
    parse: Callable[[str], Tree]
    roots: dict[int, Root] = field(default_factory=dict)
    nodes: list[tuple[Tree, str]] = field(default_factory=list)
    """What names a view, and the CTE that it is to read."""
    _known: dict[tuple[str, str], TableName] | None = None
    _count: int = 0

    def begin(self, root: Tree) -> None:
        """Let views below a query become CTEs of it."""
        self.roots[id(root)] = Root(root)

    def name_of(self, namespace: str, name: str) -> TableName | None:
        """Return the view that the caller may read by this name; None for what is none."""
        if self._known is None:
            names = self.catalog.views.names()
            self._known = {key_of(*each): each for each in names if self.may("read", each)}
        return self._known.get(key_of(namespace, name))

    def open(self, node: Tree, name: TableName, scope: Scope) -> tuple[Tree, Scope] | None:
        """Note that `node` reads a view, and return the view's SQL the first time.

        Raises:
            ViewRefusedError: it cannot be read here.
        """
        if node["at_clause"] is not None:
            raise ViewRefusedError(name, "it has no snapshots; `as_of` names tables that it reads")
        root = self.roots[scope.root]
        if scope.view is not None:
            root.opened[scope.view].reads.add(name)
        known = root.opened.get(name)
        found = known or self._opened(name)
        root.opened[name] = found
        self.nodes.append((node, found.cte))
        if known:
            return None
        return found.body, Scope(scope.root, view=name, namespace=default_namespace(found.view))

    def _opened(self, name: TableName) -> Opened:
        if self._count == VIEWS_MAX:
            raise ViewRefusedError(name, f"a statement reads {VIEWS_MAX} views at most, nested too")
        self._count += 1
        view = self.catalog.views.load(name)
        texts = view.texts
        if DIALECT not in texts:
            has = ", ".join(sorted(texts)) or "none"
            reason = f"it has no SQL in the dialect {DIALECT}; its dialects: {has}"
            raise ViewRefusedError(name, reason[:500])
        try:
            body = self.parse(texts[DIALECT])["statements"][0]["node"]
        except SqlError as error:
            raise ViewRefusedError(name, error.detail) from error
        return Opened(view, f"{NAME}{self._count}", body)

    def close(self) -> None:
        """Put the views into their queries, each behind those that it reads.

        Raises:
            ViewRefusedError: one reads itself.
        """
        for root in self.roots.values():
            reads = {name: sorted(each.reads) for name, each in root.opened.items()}
            try:
                order = list(TopologicalSorter(reads).static_order())
            except CycleError as error:
                cycle: list[TableName] = error.args[1]
                shown = " reads ".join(str(name) for name in reversed(cycle))
                raise ViewRefusedError(cycle[0], f"it reads itself: {shown}") from None
            first = [entry(root.opened[name]) for name in order]
            root.node["cte_map"]["map"] = [*first, *root.node["cte_map"]["map"]]

    def locations(self) -> dict[TableName, str]:
        """Return where the metadata of each view lies whose text is in the statement."""
        return {
            name: each.view.location
            for root in self.roots.values()
            for name, each in root.opened.items()
        }


def key_of(namespace: str, name: str) -> tuple[str, str]:
    """Return what two names have in common that mean one view: both may hold dots."""
    return folded(namespace), folded(name)


def default_namespace(view: LoadedView) -> str:
    """Return what a name without a namespace is in, in the SQL of a view."""
    return ".".join(view.version["default-namespace"]) or "main"


def entry(opened: Opened) -> Tree:
    """Return a CTE as the engine's tree has it."""
    return {
        "key": opened.cte,
        "value": {
            "aliases": [],
            "query": {"node": opened.body, "named_param_map": []},
            "materialized": "CTE_MATERIALIZE_DEFAULT",
            "key_targets": [],
        },
    }
