"""The collections of a catalog again, from what each says of itself in its own files.

Of a collection whose texts were embedded again there may be
two folders: the one that was written last is whole, for only then does it say what it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from lakehouse.catalog import ensure_namespace
from lakehouse.errors import LakehouseError
from lakehouse.names import TableName, folded
from lakehouse.state import State, Transaction
from lakehouse.storage import Store
from lakehouse.vectors import About, Kept, Lance, Ledger, restore_collection

FOLDERS, SUFFIX = "vectors", ".lance"


class RebuildCollection(msgspec.Struct, frozen=True):
    """What a rebuild of the catalog does for one collection."""

    collection: str
    action: str
    """`keep`, `forward` (its files say more than the copy), `add`; or left alone: `skip` (dropped),
    `gone` (no files are left: it is taken off the list), `clash` (another has the name)."""
    note: str | None = None


@dataclass(slots=True)
class Plan:
    report: list[RebuildCollection] = field(default_factory=list)
    listed: list[Kept] = field(default_factory=list)
    """To be listed as they are here."""
    gone: list[Kept] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Folders that say nothing of a collection, and why."""


async def look(
    store: Store, lance: Lance, *, apply: bool
) -> tuple[dict[str, About], dict[str, str]]:
    """Return what each folder says of itself, and why others say nothing.

    Args:
        apply: put aside what a power cut left half written; else nothing is touched.
    """
    found: dict[str, About] = {}
    silent: dict[str, str] = {}
    for folder in folders_of(store):
        try:
            if apply:
                about = await (await lance.open(folder, folder)).about()
            else:
                about = await lance.peek(folder)
        except LakehouseError as error:
            silent[folder] = error.detail
            continue
        if about is None:
            silent[folder] = "nothing in it says which collection it is"
        else:
            found[folder] = about
    return found, silent


def folders_of(store: Store) -> list[str]:
    names = {key.split("/")[1] for key in store.keys(FOLDERS)}
    return sorted(each.removesuffix(SUFFIX) for each in names if each.endswith(SUFFIX))


def plan_of(state: State, found: Mapping[str, About], silent: Mapping[str, str]) -> Plan:
    """Return what is to be done over an open copy of the catalog, or an empty one."""
    ledger = Ledger(state)
    known, dropped = ledger.all(), {each for each, _ in ledger.dropped()}
    last = last_of(found)
    plan = Plan(unreadable=dict(silent))
    for each in known:
        forward(plan, each, last.pop(each.id, None))
        plan.unreadable.pop(each.folder, None)
    names = {folded(str(each.name)) for each in known if each not in plan.gone}
    for made in sorted(last.values(), key=lambda each: (each.created_at, each.id)):
        action = "add"
        if made.id in dropped:
            action = "skip"
        elif folded(str(made.name)) in names:
            action = "clash"
        else:
            plan.listed.append(made)
            names.add(folded(str(made.name)))
        plan.report.append(RebuildCollection(str(made.name), action))
    return plan


def last_of(found: Mapping[str, About]) -> dict[str, Kept]:
    """Return each collection as the folder says that was written last."""
    in_order = sorted(found.items(), key=lambda each: each[1].at)
    return {about.id: about.kept(folder) for folder, about in in_order}


def forward(plan: Plan, known: Kept, said: Kept | None) -> None:
    """Decide on a collection that the copy of the catalog has."""
    name = str(known.name)
    if said is None and known.folder not in plan.unreadable:
        plan.gone.append(known)
        plan.report.append(RebuildCollection(name, "gone", "no files of it are left"))
        return
    if said is None:
        plan.report.append(RebuildCollection(name, "keep", plan.unreadable[known.folder]))
        return
    same = msgspec.structs.replace(known.definition, checked=None) == said.definition
    if same and said.folder == known.folder:
        plan.report.append(RebuildCollection(name, "keep"))
        return
    plan.listed.append(replace(said, name=known.name))
    plan.report.append(RebuildCollection(name, "forward"))


def apply(state: State, plan: Plan) -> None:
    """Write it, in one transaction."""
    state.write(partial(write, plan.listed, plan.gone))


def write(listed: Sequence[Kept], gone: Sequence[Kept], tx: Transaction) -> None:
    for each in gone:
        tx.execute("DELETE FROM collection WHERE collection_id = ?", (each.id,))
    for each in listed:
        namespace = ensure_namespace(tx, each.name.namespace)
        restore_collection(tx, replace(each, name=TableName(namespace, each.name.name)))
