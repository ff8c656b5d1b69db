"""Places where the crash test kills the process: nothing, unless a variable names one.

`LAKEHOUSE_FAILPOINT` is the path of a file. As soon as that says `after-pointer:3`, the process
ends itself with SIGKILL the third time it gets there.
"""

import os
import signal
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

VARIABLE = "LAKEHOUSE_FAILPOINT"
POINTS = {
    # Every commit of rows; the two in the middle of a view, too.
    "after-data-file": "the rows are on disk, no metadata is",
    "after-metadata": "the metadata is written, the pointer has not moved",
    "after-pointer": "the pointer has moved, nobody knows yet",
    "before-answer": "all is done, nobody was answered",
    # Rows of several requests in one commit.
    "after-group-file": "the rows of a group are in a file, none is committed",
    "after-group": "a group is committed, none of its members was answered",
    # Tables that go and come back.
    "in-drop": "the pointer is gone and the row is there, in a transaction that is open",
    "after-drop": "the table is dropped, nobody was answered",
    "in-undrop": "the pointer is back and the row is gone, in a transaction that is open",
    "after-undrop": "the table is back, nobody was answered",
    "before-purge": "the purge is decided, every file is there",
    "amid-purge": "the data files are deleted, the metadata is not",
    "after-purge": "every file is deleted, the catalog still knows the table",
    # Rows that leave for good.
    "after-erase-commit": "the rows are out of the table, older snapshots hold them",
    "before-erase-key": "the files are gone, the request is not yet known as done",
    # Maintenance; what expires by an erasure too.
    "after-rewrite": "files or manifests are written together, not committed",
    "after-expiry": "snapshots are forgotten, their files are there",
    "amid-expiry": "a file of an expired snapshot is deleted, others are not yet",
}
"""Each by its name: what is true there."""

reached: Counter[str] = Counter()
counting = threading.Lock()


def reach(name: str) -> None:
    """Die here, without a word to anybody, if the file says so."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    said = ""
    with suppress(FileNotFoundError):
        said = Path(path).read_text()
    wanted, _, nth = said.partition(":")
    if wanted != name:
        return
    with counting:
        reached[name] += 1
    if reached[name] >= int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
