"""The copy of `catalog.db` in the warehouse: what a catalog is rebuilt from."""

import logging
import shutil
import threading
import uuid
from functools import partial
from pathlib import Path

import anyio

from lakehouse.lanes import on_thread
from lakehouse.state import State
from lakehouse.storage.store import Store

log = logging.getLogger(__name__)

COPY_KEY = "_catalog/catalog.db"
COPYING = threading.Lock()


def copy_catalog(state: State, store: Store, spool: Path) -> None:
    """Replace the copy by one consistent state of the database, while others write to it.

    Args:
        spool: a folder on this machine for the copy on its way.
    """
    # A stop starts the last copy, and an erasure its own, while one may be under way: the last that
    # was begun is the one that stays.
    with COPYING:
        path = spool / f"catalog-{uuid.uuid4().hex}.db"
        try:
            state.copy_to(path)
            with path.open("rb") as source, store.writing(COPY_KEY) as target:
                shutil.copyfileobj(source, target, 1024 * 1024)
        finally:
            path.unlink(missing_ok=True)


async def keep_copies(state: State, store: Store, spool: Path, *, interval_s: float) -> None:
    """Copy now, for the last stop may have been a kill, and every `interval_s` after a change.

    When it is cancelled it copies once more if need be: cancel it after the last write.
    """
    copied: int | None = None

    async def copy_if_changed() -> None:
        nonlocal copied
        revision = state.revision  # before the copy: what comes during it is copied next time
        if revision == copied:
            return
        try:
            await on_thread(partial(copy_catalog, state, store, spool))
        except Exception:
            log.exception("catalog.db could not be copied to the warehouse")
        else:
            copied = revision

    try:
        while True:
            await copy_if_changed()
            await anyio.sleep(interval_s)
    finally:
        with anyio.CancelScope(shield=True):
            await copy_if_changed()
