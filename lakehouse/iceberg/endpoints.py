"""The endpoints of the protocol that are served: what is not in this table is not advertised.

A client takes an endpoint that the configuration does not list for one that is not there.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lakehouse.auth import Action
from lakehouse.iceberg import commits, namespaces, tables, views
from lakehouse.iceberg.calls import Answer, Call, told
from lakehouse.iceberg.problems import OAUTH, NoTokenExchangeError
from lakehouse.iceberg.protocol import Protocol

Handler: TypeAlias = Callable[[Protocol, Call], Awaitable[Answer]]


async def config(protocol: Protocol, call: Call) -> Answer:
    """What a client should know before all else: where the objects are, which endpoints there are.

    Where they are is a default: a client may reach the store by another address.
    """
    listed = [f"{each.method} {each.template}" for each in ENDPOINTS if each.is_advertised]
    where = {"defaults": dict(protocol.storage), "overrides": {}}
    days = protocol.catalog.keys.keep_days
    lifetime = {"idempotency-key-lifetime": f"P{days}D"}
    return told({**where, **lifetime, "endpoints": listed})


async def oauth(protocol: Protocol, call: Call) -> Answer:
    """What the protocol has deprecated: a client that asks is told what to do instead."""
    raise NoTokenExchangeError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path, what a caller must be allowed, and what is done."""

    method: str
    template: str
    action: Action
    handler: Handler
    is_advertised: bool = True

    def match(self, method: str, segments: Sequence[str]) -> Mapping[str, str] | None:
        """Return the names in a path of this endpoint; None for another path."""
        wanted = self.template.strip("/").split("/")[2:]  # behind /v1/{prefix}: there is none
        if method != self.method or len(wanted) != len(segments) - 1 or segments[0] != "v1":
            return None
        names: dict[str, str] = {}
        for part, given in zip(wanted, segments[1:], strict=True):
            if part.startswith("{"):
                names[part[1:-1]] = given
            elif part != given:
                return None
        return names


NAMESPACE = "/v1/{prefix}/namespaces/{namespace}"
TABLE = f"{NAMESPACE}/tables/{{table}}"
VIEW = f"{NAMESPACE}/views/{{view}}"
ENDPOINTS = (
    Endpoint("GET", "/v1/{prefix}/config", "read", config, is_advertised=False),
    Endpoint("POST", f"/v1/{{prefix}}{OAUTH}", "read", oauth, is_advertised=False),
    Endpoint("GET", "/v1/{prefix}/namespaces", "read", namespaces.list_namespaces),
    Endpoint("POST", "/v1/{prefix}/namespaces", "write", namespaces.create_namespace),
    Endpoint("GET", NAMESPACE, "read", namespaces.load_namespace),
    Endpoint("HEAD", NAMESPACE, "read", namespaces.has_namespace),
    Endpoint("DELETE", NAMESPACE, "write", namespaces.drop_namespace),
    Endpoint("POST", f"{NAMESPACE}/properties", "write", namespaces.change_properties),
    Endpoint("GET", f"{NAMESPACE}/tables", "read", tables.list_tables),
    Endpoint("POST", f"{NAMESPACE}/tables", "write", commits.create_table),
    Endpoint("GET", TABLE, "read", tables.load_table),
    Endpoint("POST", TABLE, "write", commits.commit_table),
    Endpoint("HEAD", TABLE, "read", tables.has_table),
    Endpoint("DELETE", TABLE, "write", tables.drop_table),
    Endpoint("POST", "/v1/{prefix}/tables/rename", "write", tables.rename_table),
    Endpoint("POST", "/v1/{prefix}/transactions/commit", "write", commits.commit_transaction),
    Endpoint("POST", f"{NAMESPACE}/register", "write", tables.register_table),
    Endpoint("POST", f"{TABLE}/metrics", "read", tables.report_metrics),
    Endpoint("GET", f"{NAMESPACE}/views", "read", views.list_views),
    Endpoint("POST", f"{NAMESPACE}/views", "write", views.create_view),
    Endpoint("GET", VIEW, "read", views.load_view),
    Endpoint("HEAD", VIEW, "read", views.has_view),
    Endpoint("POST", VIEW, "write", views.replace_view),
    Endpoint("DELETE", VIEW, "write", views.drop_view),
    Endpoint("POST", "/v1/{prefix}/views/rename", "write", views.rename_view),
    Endpoint("POST", f"{NAMESPACE}/register-view", "write", views.register_view),
)
