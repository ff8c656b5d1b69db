"""The files of views: which ones the catalog names, where they lie after a move, what was lost.

A view is one small file. Those that are named by no view any more are its past.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from operator import attrgetter

from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import TableName
from lakehouse.catalog.namespaces import ensure_namespace
from lakehouse.catalog.places import VIEWS
from lakehouse.catalog.rules import DELETES_FILES, switch
from lakehouse.catalog.tables import CATALOG_NAME, Pointer
from lakehouse.catalog.view_metadata import OURS, read_view
from lakehouse.catalog.views import INSERT
from lakehouse.errors import LakehouseError
from lakehouse.names import InvalidNameError, check_levels, check_name, folded
from lakehouse.state import State, Transaction
from lakehouse.storage import Store

SUFFIX = ".metadata.json"
ELSEWHERE = "a view; it asked to lie there"
OURS_FILE = re.compile(
    rf"{VIEWS}/[^/]+/[^/]+-[0-9a-f]{{8}}/metadata/[0-9]{{5,}}-[0-9a-f-]{{36}}\.metadata\.json"
)
POINTERS = """
    SELECT table_namespace, table_name, metadata_location FROM iceberg_tables
    WHERE catalog_name = ? AND iceberg_type = 'VIEW' ORDER BY table_namespace, table_name
"""


def view_pointers(tx: Transaction) -> list[Pointer]:
    """Return all views, whoever may see them."""
    rows = tx.execute(POINTERS, (CATALOG_NAME,)).fetchall()
    return [Pointer(TableName(row[0], row[1]), row[2]) for row in rows]


def orphans_of_views(state: State, store: Store, before_s: float) -> Iterator[str]:
    """Yield the keys of files that no view names, last changed before a moment of the store's.

    Only files that we wrote: a bucket may have a folder `views/` of somebody else's. The file of a
    view that has `gc.enabled=false` stays, also when the view was dropped.
    """
    old = sorted(
        each.key
        for each in store.stored(VIEWS)
        if each.changed_at_s < before_s and OURS_FILE.fullmatch(each.key)
    )
    named = {store.key(each.location) for each in state.read(view_pointers)} if old else set()
    for key in old:
        if key not in named and may_go(store, key):
            yield key


def may_go(store: Store, key: str) -> bool:
    """Whether a file is one of ours, of a view whose files may be deleted."""
    try:
        metadata = read_view(store.read(key))
        return OURS in metadata and switch(metadata["properties"], DELETES_FILES)
    except (LakehouseError, ValueError, OSError):
        return False


def is_view(data: bytes) -> bool:
    """Whether a metadata file is that of a view."""
    try:
        read_view(data)
    except ValueError:
        return False
    return True


# The catalog is lost.


@dataclass(frozen=True, slots=True)
class FoundView:
    """The last file of a view that lies in the warehouse."""

    folder: str
    """Key of the view's folder, which `metadata/` lies in."""
    file: str
    name: TableName | None
    """As the file says it."""
    updated_ms: int


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """What a rebuild does for one view."""

    name: TableName
    action: str
    """As of a table: `keep`, `forward`, `add`, `skip`, `gone`, `clash`."""
    before: str | None
    """Where the copy says that it is."""
    location: str | None
    """Where it is to be; None for one that is left alone, or out."""
    note: str
    folder: str | None = None
    """Key of a folder where nothing is an orphan: the catalog does not name what lies there."""


def plan_views(
    pointers: Collection[Pointer],
    store: Store,
    tables: Collection[TableName],
    copied_at_ms: float | None,
) -> list[ViewPlan]:
    """Return what is to be done so that the catalog has the views of the warehouse.

    Args:
        pointers: the views that the copy of the catalog knows.
        tables: names that tables will have: no view can.
    """
    found = find_views(store)
    taken = {folded(str(each)) for each in tables}
    plans = []
    for pointer in pointers:
        match = next((each for each in found if is_in(pointer, each)), None)
        if match is None and lies_elsewhere(pointer, store):
            plans.append(
                ViewPlan(pointer.name, "keep", pointer.location, pointer.location, ELSEWHERE)
            )
            continue
        if match is None:
            at = pointer.location  # the pointer stays, so that somebody sees it
            plans.append(ViewPlan(pointer.name, "gone", at, at, "a view; its file is lost"))
            continue
        found.remove(match)
        plans.append(forward(pointer, match))
    for each in sorted(found, key=attrgetter("updated_ms"), reverse=True):
        plans.append(added(each, store, copied_at_ms))
    result = []
    for plan in plans:
        name = folded(str(plan.name))
        if plan.location and name in taken and plan.action == "gone":
            plan = ViewPlan(plan.name, "gone", plan.before, None, plan.note)
        elif plan.location and name in taken:
            note = f"a view; another thing has this name; its file stays at {plan.location}"
            root = plan.location.rpartition("/metadata/")[0]
            folder = f"{VIEWS}/{'/'.join(root.split('/')[-2:])}"
            plan = ViewPlan(plan.name, "clash", plan.before, None, note, folder)
        elif plan.location:
            taken.add(name)
        result.append(plan)
    return result


def find_views(store: Store) -> list[FoundView]:
    by_folder: dict[str, list[str]] = defaultdict(list)
    for key in store.keys(VIEWS):
        folder, _, name = key.rpartition("/metadata/")
        if folder and name.endswith(SUFFIX):
            by_folder[folder].append(name)
    return [
        each for folder in sorted(by_folder) if (each := last_of(store, folder, by_folder[folder]))
    ]


def last_of(store: Store, folder: str, names: Collection[str]) -> FoundView | None:
    """Return the last file of a folder that can be read; None without one."""
    for name in sorted(names, reverse=True):
        try:
            ours = read_view(store.read(f"{folder}/metadata/{name}")).get(OURS, {})
            return FoundView(folder, name, said_name(ours), int(ours["updated-ms"]))
        except (LakehouseError, ValueError, OSError, KeyError, TypeError):
            continue
    return None


def said_name(ours: Json) -> TableName | None:
    """Return the name that a view's own file says; after a rename that is still the old one."""
    try:
        return TableName(
            check_levels(str(ours["namespace"]).split(".")),
            check_name("view name", str(ours["name"])),
        )
    except (InvalidNameError, KeyError):
        return None


def is_in(pointer: Pointer, found: FoundView) -> bool:
    """Whether a pointer is into this folder, wherever the warehouse lay when it was written."""
    return f"/{pointer.location.rpartition('/metadata/')[0]}".endswith(f"/{found.folder}")


def lies_elsewhere(pointer: Pointer, store: Store) -> bool:
    """Whether a view's file is where its pointer says, outside of the folder of views."""
    try:
        key = store.key(pointer.location)
    except ValueError:
        return False
    return not key.startswith(f"{VIEWS}/") and store.exists(key)


def forward(pointer: Pointer, found: FoundView) -> ViewPlan:
    """Move a pointer of the copy to the last file of its view."""
    root = pointer.location.rpartition("/metadata/")[0]
    location = f"{root}/metadata/{found.file}"
    if location == pointer.location:
        return ViewPlan(pointer.name, "keep", pointer.location, location, "a view")
    if found.file < pointer.location.rpartition("/")[2]:
        note = "a view; its last file is gone, this is the last that is left"
        return ViewPlan(pointer.name, "back", pointer.location, location, note)
    return ViewPlan(pointer.name, "forward", pointer.location, location, "a view")


def added(found: FoundView, store: Store, copied_at_ms: float | None) -> ViewPlan:
    location = f"{store.uri(found.folder)}/metadata/{found.file}"
    if found.name is None:
        name = TableName(VIEWS, found.folder.rpartition("/")[2])
        return ViewPlan(name, "skip", None, None, f"a view; its file {found.file} has no name")
    if copied_at_ms is not None and found.updated_ms < copied_at_ms:
        return ViewPlan(found.name, "skip", None, None, "a view; dropped: the copy has it not")
    return ViewPlan(found.name, "add", None, location, "a view")


def forget_view(tx: Transaction, plan: ViewPlan) -> None:
    """Take out of the catalog what it says of a view."""
    if plan.before is not None:
        tx.execute("DELETE FROM iceberg_tables WHERE metadata_location = ?", (plan.before,))


def put_view(tx: Transaction, plan: ViewPlan) -> None:
    """Make the catalog say of a view what a plan does."""
    if plan.location is not None:
        name = TableName(ensure_namespace(tx, plan.name.namespace), plan.name.name)
        tx.execute(INSERT, (CATALOG_NAME, *name, plan.location))
