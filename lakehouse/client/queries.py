"""The statements that run now, over HTTP."""

from urllib.parse import quote

from lakehouse.client.answers import value_of
from lakehouse.client.models import QueryList, RunningQuery
from lakehouse.client.transport import Transport


class Queries:
    """`lake.queries`: one's own statements; an admin sees those of everybody."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> list[RunningQuery]:
        """Return what runs, and what was stopped and still holds its thread."""
        return value_of(self._transport.send("GET", "/v1/queries"), QueryList).items

    def kill(self, query_id: str) -> None:
        """Stop a statement; `NotFoundError` when none of that id runs."""
        path = f"/v1/queries/{quote(query_id, safe='')}"
        self._transport.send("DELETE", path, again=False)
