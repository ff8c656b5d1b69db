"""The whole product while its bucket fails and lies: acknowledged, or cleanly refused."""

import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from lakehouse.database import FORGET_EVERY_S
from tests import object_store
from tests.crash.changes import Change
from tests.crash.harness import DONE, Account, Server, create_table, new_accounts
from tests.crash.places import Reader, plain
from tests.crash.reckoning import check_ready, check_with_pyiceberg, compare, reached, sent
from tests.object_store import Asked, Proxy
from tests.services import free_port

FAULTS = ("500", "503", "SlowDown", "reset", "reset-after", "delay", "truncate", "half")
LIES = ("half", "less", "more")
REFUSALS = (502, 503)
CHANGES = 40
# Of what a client asks for, these leave a step done when a later one fails.
IN_STEPS = ("erase", "purge", "maintain")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="half a minute each"),
]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        yield proxy


@pytest.fixture
def server(tmp_path: Path, proxy: Proxy) -> Iterator[Server]:
    server = Server(
        tmp_path / "data", free_port(), storage=object_store.settings(tmp_path, proxy.url)
    )
    server.start()
    create_table(server.url)
    yield server
    server.kill()


@pytest.mark.parametrize("share", [0.15, 0.9])
def test_every_change_is_acknowledged_or_refused_and_can_be_sent_again(
    share: float, server: Server, proxy: Proxy
) -> None:
    """At 0.15 the server repeats what failed; at 0.9 nothing is done but what must be."""
    chance = random.Random(1)
    (account, *_) = new_accounts(chance)
    refused = 0

    def fault(asked: Asked) -> str | None:
        return chance.choice(FAULTS + LIES) if chance.random() < share else None

    with httpx.Client(base_url=server.url, timeout=120) as client:
        for _ in range(CHANGES if share < 0.5 else CHANGES // 4):
            change = account.in_flight = account.asking.next(account.owned)
            proxy.fault = fault
            answer = change.send(client)
            proxy.fault = lambda asked: None
            assert answer.status_code in (*DONE, *REFUSALS), (change, answer.text)
            told_of(account, change, answer)
            refused += answer.status_code in REFUSALS
            compare(client, [account])
            if answer.status_code in REFUSALS:
                assert sent(change, client).status_code in DONE, change
                account.acknowledge(change)
                compare(client, [account])
        check_ready(client)
    assert refused or share < 0.5
    assert {plain(each) for each in reached(server, Reader(server.place))} <= server.place.there()
    check_with_pyiceberg(server, [account])


def told_of(account: Account, change: Change, answer: httpx.Response) -> None:
    """Note what must be there now: all of what was acknowledged, and nothing of a refusal."""
    if answer.status_code in DONE:
        account.acknowledge(change)
    elif change.kind not in IN_STEPS:
        account.in_flight = replace(change, worlds=change.worlds[:1])


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_wrong_size_makes_no_wrong_answer_and_is_forgotten(
    method: str, lie: str, server: Server, proxy: Proxy
) -> None:
    """What the engine was told once of a file it kept until the next start."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        for work in ("select", "delete", "compact"):
            name = f"lied_{work}"
            for first in range(0, 20_000, 4_000):  # five files are worth a compaction
                rows = "id,s\n" + "".join(f"{n},x{n}\n" for n in range(first, first + 4_000))
                loaded = client.post(
                    "/v1/ingest",
                    params={"name": name, "mode": "append"},
                    content=rows,
                    headers={"Content-Type": "text/csv"},
                )
                assert loaded.status_code == 200, loaded.text
            seen: list[Asked] = []

            def fault(asked: Asked, name: str = name, seen: list[Asked] = seen) -> str | None:
                if asked.method == method and ".parquet" in asked.path and name in asked.path:
                    seen.append(asked)
                    return lie
                return None

            proxy.fault = fault
            answer = asked_for(client, work, name)
            proxy.fault = lambda asked: None
            assert seen
            assert answer.status_code in (200, *REFUSALS), answer.text
            count = 20_000 - (work == "delete" and answer.status_code == 200)
            assert eventually(client, f"SELECT count(s) FROM {name}") == count, answer.text
            assert asked_for(client, work, name).status_code == 200
            assert value(client, f"SELECT count(s) FROM {name}") == 20_000 - (work == "delete")


def asked_for(client: httpx.Client, work: str, name: str) -> httpx.Response:
    if work == "select":
        return client.post("/v1/sql", json={"sql": f"SELECT count(s) FROM {name}"})
    if work == "delete":
        return client.post(f"/v1/tables/{name}/delete", json={"where": "s = 'x7'"})
    return client.post("/v1/maintenance/run", json={"table": name})


def eventually(client: httpx.Client, sql: str) -> object:
    """Return the value of a statement; what is known wrongly is forgotten every few seconds."""
    deadline = time.monotonic() + 2 * FORGET_EVERY_S
    answer = client.post("/v1/sql", json={"sql": sql})
    while answer.status_code in REFUSALS and time.monotonic() < deadline:
        time.sleep(0.2)
        answer = client.post("/v1/sql", json={"sql": sql})
    return value(client, sql)


def value(client: httpx.Client, sql: str) -> object:
    answer = client.post("/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"][0][0]
