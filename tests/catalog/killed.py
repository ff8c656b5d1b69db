"""A change of a table by a process of its own, which is killed in the middle of it."""

import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from lakehouse.catalog.rules import rules_of
from lakehouse.config import MaintenanceConfig
from lakehouse.database import Database
from lakehouse.failpoints import VARIABLE
from tests.catalog.lake import Lake, main, open_lake, rows_of, settings_for

COMMITS = ("after-data-file", "after-metadata")
POINTS = {
    "append": COMMITS,
    "delete": COMMITS,
    "compact": ("after-rewrite", "after-metadata", "after-pointer"),
    "expire": ("after-metadata", "after-expiry", "amid-expiry"),
}
"""Where each change can be killed, in the order that it gets there."""
BEFORE = ("after-data-file", "after-rewrite", "after-metadata")
"""Where nothing has happened yet, for whoever looks."""


@dataclass(frozen=True)
class Change:
    """What is done to the table `t`."""

    kind: str
    rows: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    where: str = ""
    snapshot_ids: tuple[int, ...] = ()

    def do(self, lake: Lake) -> None:
        catalog, name = lake.catalog, main("t")
        if self.kind == "append":
            load = rows_of(self.rows, dict(self.columns))
            catalog.loading.write(lake.cursor, name, load, mode="append")
        elif self.kind == "delete":
            catalog.rows.delete(lake.cursor, name, self.where)
        elif self.kind == "compact":
            rules = rules_of(catalog.load(name).metadata, MaintenanceConfig())
            catalog.layout.compact(lake.cursor, name, rules, 2)
        else:
            catalog.expiry.expire(name, self.snapshot_ids)
            catalog.expiry.delete(name)


def has_happened(root: Path, change: Change, point: str) -> bool:
    """Make the change in a process that is killed at `point`, and return whether it is to be seen.

    A process that does not get there does all of it.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=dying, args=(str(root), change, point)
    )
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode == 0 or point not in BEFORE


def dying(root: str, change: Change, point: str) -> None:
    said = Path(root) / "failpoint"
    said.write_text(f"{point}:1")
    os.environ[VARIABLE] = str(said)
    with (
        Database.open(settings_for(Path(root))) as database,
        open_lake(Path(root), database) as lake,
    ):
        change.do(lake)
