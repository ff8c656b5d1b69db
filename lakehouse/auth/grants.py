"""What a grant covers, and which role an action takes: the whole table of who may do what.

A resource is a path that ends in `/` where it is whole: `tables/sales/orders/`. A grant is a role
on a path, and covers everything that begins with it. A `/` in a name stands there as another
character, so no name can reach out of its own part.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, NewType, TypeAlias

from lakehouse.auth.errors import InvalidGrantError
from lakehouse.auth.models import Grant, Role
from lakehouse.names import folded, split_name

Action: TypeAlias = Literal["read", "write", "operate", "administer"]
Resource = NewType("Resource", str)

ROLES: tuple[Role, ...] = ("reader", "writer", "admin")
NEEDED: Mapping[Action, Role] = {
    "read": "reader",  # see that it is there, describe, select, search, export, follow
    "write": "writer",  # load, change, create, drop, erase, name, tag
    "operate": "writer",  # maintenance and backups: they show nothing and lose nothing
    "administer": "admin",  # tokens, the audit log, what other callers run
}
RANK: Mapping[Role, int] = {role: rank for rank, role in enumerate(ROLES)}
NEEDED_RANK: Mapping[Action, int] = {action: RANK[role] for action, role in NEEDED.items()}

EVERYTHING = Resource("")
ALL_TABLES = Resource("tables/")
ALL_OBJECTS = Resource("objects/")
OBJECTS = "objects:"


class Covered(NamedTuple):
    """A grant, ready to be asked."""

    prefix: str
    rank: int


def table_resource(namespace: str, name: str) -> Resource:
    return Resource(f"{namespace_resource(namespace)}{part_of(name)}/")


def namespace_resource(namespace: str) -> Resource:
    """A namespace of several levels, `a.b`, is a part of the first: a grant on `a` covers it."""
    return Resource(f"tables/{part_of(namespace).replace('.', '/')}/")


def part_of(name: str) -> str:
    """Return a name as a part of a resource: a `/` in it parts nothing."""
    return folded(name).replace("/", "\x1f")


def object_resource(key: str) -> Resource:
    return Resource(f"objects/{key}")


def covered(grants: Iterable[Grant]) -> tuple[Covered, ...]:
    """Return grants ready to be asked; `InvalidGrantError` for one that is on nothing we know."""
    return tuple(Covered(prefix_of(grant.on), RANK[grant.role]) for grant in grants)


def prefix_of(on: str) -> str:
    """Return the beginning of all that a grant `on` this covers.

    Raises:
        InvalidGrantError: it is none of the four forms.
    """
    if on == "*":
        return EVERYTHING
    if on.startswith(OBJECTS):
        return object_resource(on.removeprefix(OBJECTS))
    namespace, name = split_name(on)
    if not namespace or "/" in on or "*" in on or name == "":
        raise InvalidGrantError(
            f"{on[:80]!r} is nothing a grant can be on: `*`, a namespace, `namespace.table`,"
            " or `objects:` and the beginning of keys"
        )
    return namespace_resource(namespace) if name is None else table_resource(namespace, name)


def allows(grants: Iterable[Covered], action: Action, resource: Resource) -> bool:
    """Decide: whether one of `grants` covers the whole resource with a role that may do this."""
    needed = NEEDED_RANK[action]
    return any(rank >= needed and resource.startswith(prefix) for prefix, rank in grants)


def allows_within(grants: Iterable[Covered], action: Action, resource: Resource) -> bool:
    """Whether there may be something at or below `resource` that `allows` would allow."""
    needed = NEEDED_RANK[action]
    return any(
        rank >= needed and (resource.startswith(prefix) or prefix.startswith(resource))
        for prefix, rank in grants
    )


def parts(grants: Iterable[Covered], action: Action, resource: Resource) -> list[Resource]:
    """Return the parts of `resource` that `allows` would allow, sorted; none is within another."""
    grants = tuple(grants)
    if allows(grants, action, resource):
        return [resource]
    needed = NEEDED_RANK[action]
    found: list[Resource] = []
    for prefix in sorted(prefix for prefix, rank in grants if rank >= needed):
        is_new = not found or not prefix.startswith(found[-1])  # what one begins follows it
        if prefix.startswith(resource) and is_new:
            found.append(Resource(prefix))
    return found
