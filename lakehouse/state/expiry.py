"""Rows of `catalog.db` that have served their time."""

import logging
import time
from functools import partial

import anyio

from lakehouse.lanes import on_thread
from lakehouse.state.state import State
from lakehouse.state.transactions import Transaction

log = logging.getLogger(__name__)

DAY_S = 86_400
BATCH_ROWS = 1_000
EXPIRE_EVERY_S = 3_600.0


def expire_idempotency_keys(state: State, keep_days: int) -> int:
    """Delete the idempotency keys older than `keep_days`, and return how many there were.

    A thousand a transaction, so that no commit waits for long.
    """
    before = time.time() - keep_days * DAY_S

    def work(tx: Transaction) -> int:
        return tx.execute(
            "DELETE FROM idempotency_key WHERE key IN"
            " (SELECT key FROM idempotency_key WHERE created_at <= ? LIMIT ?)",
            (before, BATCH_ROWS),
        ).rowcount

    total = 0
    while deleted := state.write(work):
        total += deleted
    return total


async def keep_expiring(state: State, keep_days: int) -> None:
    """Delete expired rows now and every `EXPIRE_EVERY_S`, until cancelled."""
    work = partial(expire_idempotency_keys, state, keep_days)
    while True:
        try:
            if count := await on_thread(work):
                log.info("%d idempotency keys have expired", count)
        except Exception:
            log.exception("idempotency keys could not be expired")
        await anyio.sleep(EXPIRE_EVERY_S)
