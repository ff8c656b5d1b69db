"""What is worth doing is done, leaves a row, and says why when it is not."""

import pytest

from lakehouse.catalog import TableName
from lakehouse.config import MaintenanceConfig
from lakehouse.maintenance.ledger import Ledger
from lakehouse.maintenance.models import MaintenanceRun
from lakehouse.maintenance.upkeep import Look, Upkeep
from tests.catalog.lake import Lake, main
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
