"""What is worth doing is done, leaves a row, and says why when it is not."""

import asyncio
import time

import pytest

from lakehouse.catalog import LoadedTable, TableName
from lakehouse.config import MaintenanceConfig
from lakehouse.disk import Disk
from lakehouse.maintenance.ledger import Ledger
from lakehouse.maintenance.maintenance import Maintenance
from lakehouse.maintenance.models import MaintenanceRun
from lakehouse.maintenance.upkeep import Look, Upkeep, was_of_others
from lakehouse.state.errors import StateBusyError, StateFullError
from tests.catalog.lake import Lake, main
from tests.catalog.test_deleted_meanwhile import their_delete
from tests.catalog.test_edits import manifest_paths
from tests.catalog.test_layout import appends, edited_properties

BUSY = Look(thorough=False)


def upkeep(lake: Lake, **settings: int) -> Upkeep:
    config = MaintenanceConfig(**settings)  # type: ignore[arg-type]
    return Upkeep(lake.catalog, Ledger(lake.state), config)


def tend(lake: Lake, it: Upkeep, look: Look = Look()) -> dict[str, MaintenanceRun]:  # noqa: B008
    return {run.task: run for run in it.table(lake.cursor, main("t"), look)}


def test_each_task_does_what_is_worth_it_and_leaves_a_row(lake: Lake) -> None:
    appends(lake, 8)
    edited_properties(
        lake,
        {
            "history.expire.max-snapshot-age-ms": "0",
            "history.expire.min-snapshots-to-keep": "2",
        },
    )
    it = upkeep(lake, manifests_min=3)
    planned = tend(lake, it, Look(dry_run=True))
    assert {task: run.outcome for task, run in planned.items()} == {
        "compact": "planned",
        "merge": "planned",
        "expire": "planned",
        "metadata": "nothing",
    }
    assert len(lake.data_files("t")) == 8 and not Ledger(lake.state).list(10, None, None)
    done = tend(lake, it)
    assert done["compact"].outcome == "done" and done["compact"].item_count == 8
    assert done["expire"].outcome == "done" and done["expire"].item_count > 5
    assert len(lake.data_files("t")) == 1
    assert len(lake.metadata("t")["snapshots"]) == 2
    assert len(lake.rows("t")) == 8
    assert {e for e in lake.tree() if "json" not in e} == {
        e for e in lake.reachable() if "json" not in e
    }
    rows = Ledger(lake.state).list(10, None, "main.t")
    assert [row.task for row in rows] == ["expire", "compact"], "the newest first"
    assert Ledger(lake.state).list(10, rows[0].run_id, None) == rows[1:]
    assert {run.outcome for run in tend(lake, it).values()} == {"nothing"}


def test_many_appends_leave_few_files_manifests_and_snapshots(lake: Lake) -> None:
    it = upkeep(lake, snapshots_min=10, snapshots_max=50)
    most = {"manifests": 0, "files": 0, "snapshots": 0}
    for number in range(160):
        appends(lake, 1, start=number)
        tend(lake, it, BUSY)
        most["manifests"] = max(most["manifests"], len(manifest_paths(lake, "t")))
        most["files"] = max(most["files"], len(lake.data_files("t")))
        most["snapshots"] = max(most["snapshots"], len(lake.metadata("t")["snapshots"]))
    assert most["manifests"] <= 60
    assert most["files"] <= 60
    assert most["snapshots"] <= 75
    assert len(lake.rows("t")) == 160
    with lake.pyiceberg("t") as seen:
        assert seen.scan().count() == 160


def test_a_property_that_means_nothing_is_said_and_the_table_left_alone(lake: Lake) -> None:
    appends(lake, 8)
    edited_properties(lake, {"write.target-file-size-bytes": "big"})
    runs = tend(lake, upkeep(lake))
    assert {run.outcome for run in runs.values()} == {"failed"}
    assert "write.target-file-size-bytes" in (runs["compact"].reason or "")
    assert len(lake.data_files("t")) == 8


def test_a_compaction_leaves_the_reserve_alone_and_says_why(lake: Lake) -> None:
    appends(lake, 8)
    before = lake.tree()
    it = upkeep(lake, manifests_min=2, snapshots_days=0, snapshots_min=1)
    lake.store.disk = Disk(lake.root, 1 << 60)
    runs = tend(lake, it)
    assert (runs["compact"].outcome, runs["compact"].item_count) == ("skipped", 0)
    assert "no room" in (runs["compact"].reason or "") and runs["compact"].run_id is not None
    assert (runs["merge"].outcome, runs["expire"].outcome) == ("done", "done"), "that makes room"
    assert {each for each in lake.tree() - before if each.endswith(".parquet")} == set()
    assert "compact" not in tend(lake, it, BUSY), "it waits for the next thorough look"
    lake.store.disk = Disk(lake.root, 0)
    assert tend(lake, it)["compact"].outcome == "done"
    assert len(lake.rows("t")) == 8 and len(lake.data_files("t")) == 1


def test_a_busy_table_does_not_try_again_and_again_what_failed(lake: Lake) -> None:
    appends(lake, 8)
    edited_properties(lake, {"gc.enabled": "perhaps"})
    it = upkeep(lake)
    assert tend(lake, it, BUSY)
    assert set(tend(lake, it, BUSY)) <= {"metadata"}
    edited_properties(lake, {"gc.enabled": "true"})
    tend(lake, it)
    assert {run.outcome for run in tend(lake, it, BUSY).values()} == {"nothing"}


def test_a_dropped_table_is_purged_when_its_time_is_over(lake: Lake) -> None:
    appends(lake, 2)
    lake.catalog.drop(main("t"))
    assert not list(upkeep(lake).dropped(Look()))
    (planned,) = upkeep(lake, dropped_days=0).dropped(Look(dry_run=True))
    assert planned.outcome == "planned" and lake.tree()
    (run,) = upkeep(lake, dropped_days=0).dropped(Look())
    assert (run.task, run.outcome, run.table) == ("purge", "done", "main.t")
    assert not lake.tree()


def test_a_table_that_is_gone_needs_nothing(lake: Lake) -> None:
    assert not list(upkeep(lake).table(lake.cursor, TableName("main", "none"), Look()))


def test_who_ends_the_work_ends_it(lake: Lake) -> None:
    appends(lake, 8)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tend(lake, upkeep(lake), Look(go_on=stop))
    assert len(lake.rows("t")) == 8


@pytest.mark.parametrize("harm", [b"{broken", None])
def test_a_damaged_table_says_so_in_its_row_and_the_others_are_kept(
    lake: Lake, harm: bytes | None
) -> None:
    appends(lake, 8)
    lake.write("hurt", "SELECT 1 AS id, 'a' AS name")
    path = lake.store.path(lake.store.key(lake.catalog.load(main("hurt")).location))
    path.write_bytes(harm) if harm else path.unlink()
    lake.catalog = lake.reopened()
    maintenance = Maintenance(lake.database, lake.catalog, lake.state, MaintenanceConfig())

    runs = asyncio.run(maintenance.run())

    (failed,) = (run for run in runs if run.table == "main.hurt")
    assert failed.outcome == "failed" and "main.hurt" in (failed.reason or "")
    assert failed in maintenance.runs(10)
    assert ("main.t", "compact", "done") in {(r.table, r.task, r.outcome) for r in runs}
    assert len(lake.data_files("t")) == 1


def test_a_sweep_leaves_a_row_also_when_nothing_was_worth_it(lake: Lake) -> None:
    appends(lake, 1)
    maintenance = Maintenance(lake.database, lake.catalog, lake.state, MaintenanceConfig())
    for _ in range(2):
        ran = asyncio.run(maintenance.run())
    assert {run.outcome for run in ran if run.task != "sweep"} == {"nothing"}
    (swept, *_) = maintenance.runs(10)
    assert (swept.task, swept.table, swept.item_count) == ("sweep", None, 1)
    assert swept == ran[-1]
    asyncio.run(maintenance.run(dry_run=True))
    assert maintenance.runs(1) == [swept]


def test_a_sweep_that_fails_is_followed_by_the_next(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.maintenance.maintenance.FIRST_SWEEP_S", 0.0)
    config = MaintenanceConfig(interval_s=0)
    maintenance = Maintenance(lake.database, lake.catalog, lake.state, config)
    looks: list[int] = []

    class LookedTwiceError(Exception): ...

    def busy() -> list[TableName]:
        looks.append(1)
        if len(looks) == 2:
            raise LookedTwiceError
        raise StateBusyError

    monkeypatch.setattr(lake.catalog, "names", busy)

    async def keep() -> None:
        async with asyncio.timeout(10):
            await maintenance.keep()

    with pytest.raises(LookedTwiceError):
        asyncio.run(keep())


@pytest.mark.parametrize("turns", range(5))
def test_an_end_that_comes_with_a_commit_is_an_end(lake: Lake, turns: int) -> None:
    """Of `wait_for` it was none: the cancel was lost, and the server never ended."""
    maintenance = Maintenance(lake.database, lake.catalog, lake.state, MaintenanceConfig())

    async def end() -> bool:
        task = asyncio.create_task(maintenance.keep())
        await asyncio.sleep(0.01)
        maintenance._event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=1)
        task.cancel()
        return bool(done)

    assert asyncio.run(end())


def test_a_row_that_cannot_be_written_does_not_stop_the_work(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    appends(lake, 8)
    it = upkeep(lake)

    def full(*args: object) -> MaintenanceRun:
        raise StateFullError

    monkeypatch.setattr(it._ledger, "add", full)
    done = tend(lake, it)["compact"]
    assert (done.outcome, done.run_id) == ("done", None)
    assert len(lake.data_files("t")) == 1


def test_a_table_rests_after_a_commit_of_another_engine() -> None:
    theirs, ours = {"operation": "append"}, {"operation": "append", "lakehouse.by": "anna"}

    def table(*commits: tuple[int, dict[str, str]]) -> LoadedTable:
        now_ms = time.time_ns() // 1_000_000
        snapshots = [
            {"snapshot-id": number, "timestamp-ms": now_ms - age_ms, "summary": summary}
            for number, (age_ms, summary) in enumerate(commits, 1)
        ]
        metadata = {"current-snapshot-id": len(commits), "snapshots": snapshots}
        return LoadedTable(TableName("main", "t"), "file:///x", metadata)

    assert was_of_others(table((1_000, theirs)))
    assert was_of_others(table((30_000, theirs), (1_000, ours)))
    assert not was_of_others(table((61_000, theirs)))
    assert not was_of_others(table((61_000, theirs), (1_000, ours)))
    assert not was_of_others(table((1_000, ours)))
    none = {"current-snapshot-id": -1, "snapshots": []}
    assert not was_of_others(LoadedTable(TableName("main", "t"), "file:///x", none))


def test_a_turn_leaves_a_table_alone_that_another_engine_writes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    appends(lake, 8)
    lake.write("t", "SELECT * FROM (VALUES (20, 'a'), (21, 'b')) v(id, name)", mode="append")
    their_delete(lake, "t")
    it = upkeep(lake, manifests_min=3)
    for number in (8, 9):  # the second time we have committed in between
        before = lake.metadata("t")["current-snapshot-id"]
        runs = tend(lake, it)
        assert [runs[task].outcome for task in ("compact", "merge")] == ["nothing", "nothing"]
        assert lake.metadata("t")["current-snapshot-id"] == before
        appends(lake, 1, start=number)
    rows = lake.rows("t")
    later = time.time_ns() + 61 * 1_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert tend(lake, it)["compact"].outcome == "done"
    assert len(lake.data_files("t")) == 1
    assert lake.rows("t") == rows


def test_who_asks_for_a_turn_does_not_wait_until_another_engine_is_done(lake: Lake) -> None:
    appends(lake, 1)
    lake.write("t", "SELECT * FROM (VALUES (20, 'a'), (21, 'b')) v(id, name)", mode="append")
    their_delete(lake, "t")
    assert tend(lake, upkeep(lake), Look(is_asked=True))["compact"].outcome == "done"
