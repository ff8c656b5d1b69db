"""`queries`: what runs on the server now."""

import time
from typing import Any

from lakehouse.cli import output
from lakehouse.cli.where import connected
from lakehouse.client import Client
from lakehouse.errors import UnavailableError

STOP_WAIT_S = 15.0
POLL_S = 0.1


def list_queries(as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: lake.queries.all(), **where)
    if as_json:
        output.emit({"queries": found})
        return
    if not found:
        output.stdout().print("No statement runs.")
        return
    output.show(
        [("query", ""), ("caller", ""), ("state", ""), ("seconds", "double"), ("sql", "")],
        [
            (each.query_id, each.caller, each.state, round(each.running_s, 1), each.sql)
            for each in found
        ],
    )


def kill(query_id: str, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> None:
        lake.queries.kill(query_id)
        deadline = time.monotonic() + STOP_WAIT_S
        while any(each.query_id == query_id for each in lake.queries.all()):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{query_id} was stopped {STOP_WAIT_S:.0f} s ago and its thread has not come"
                    " back; `lakehouse queries list` says when it has"
                )
            time.sleep(POLL_S)

    connected(work, **where)
    if as_json:
        output.emit({"stopped": query_id})
    else:
        output.stdout().print(f"Stopped {query_id}.")
