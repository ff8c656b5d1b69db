import socket
import time

import anyio
import pytest

from lakehouse.state import CatalogInUseError, Lease, LeaseLostError, State, keep_lease
from lakehouse.state import lease as module


def row(state: State) -> tuple[str, str, str | None, float] | None:
    found: tuple[str, str, str | None, float] | None = state.read(
        lambda tx: tx.execute("SELECT owner_id, host, address, heartbeat_at FROM lease").fetchone()
    )
    return found


def age(state: State, seconds: float) -> None:
    """Let the last heartbeat be `seconds` ago."""
    at = time.time() - seconds
    state.write(lambda tx: tx.execute("UPDATE lease SET heartbeat_at = ?", (at,)))


def test_a_lease_says_who_has_it_and_goes_at_the_end(state: State) -> None:
    with Lease.hold(state, "directory a", address="http://127.0.0.1:3110"):
        found = row(state)
        assert found is not None
        assert found[:3] == ("directory a", socket.gethostname(), "http://127.0.0.1:3110")
        assert abs(found[3] - time.time()) < 5

    assert row(state) is None


def test_another_directory_is_refused_and_told_who_has_it(state: State) -> None:
    with (
        Lease.hold(state, "directory a", address="http://127.0.0.1:3110"),
        pytest.raises(CatalogInUseError) as raised,
        Lease.hold(state, "directory b"),
    ):
        pass

    for word in (socket.gethostname(), "PID", "http://127.0.0.1:3110", "since 20"):
        assert word in raised.value.detail


def test_the_same_directory_takes_it_back_at_once(state: State) -> None:
    killed = Lease.hold(state, "directory a")
    killed.__enter__()

    with Lease.hold(state, "directory a") as lease:
        lease.renew()


@pytest.mark.parametrize("seconds", [module.EXPIRY_S + 1, -10 * module.EXPIRY_S])
def test_a_lease_that_nobody_renews_can_be_taken(state: State, seconds: float) -> None:
    gone = Lease.hold(state, "directory a")
    lost = gone.__enter__()
    age(state, seconds)

    with Lease.hold(state, "directory b") as lease:
        with pytest.raises(LeaseLostError):
            lost.renew()
        gone.__exit__(None, None, None)  # gives nothing away that is not its own
        lease.renew()


async def test_it_is_renewed_while_the_server_runs(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    with Lease.hold(state, "directory a") as lease:
        age(state, 20)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_lease, lease)
            await anyio.sleep(0.2)
            tasks.cancel_scope.cancel()
        found = row(state)

    assert found is not None
    assert time.time() - found[3] < 5
    assert state.revision == 1  # of `age`: a heartbeat is nothing that the copy should follow


async def test_a_server_that_lost_it_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    with Lease.hold(state, "directory a") as lease:
        age(state, 60)
        with (
            Lease.hold(state, "directory b"),
            pytest.raises(LeaseLostError),
            anyio.fail_after(5),
        ):
            await keep_lease(lease)
