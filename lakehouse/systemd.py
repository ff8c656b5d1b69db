"""What the manager of services is told: that we are ready, that we stop, that we are alive.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import asyncio
import os
import socket
from contextlib import suppress

PATS_PER_PERIOD = 3
"""One that comes late, or is lost, does not end the process."""

SAY_MAX_S = 0.5
"""It reads at once; who does not is not waited for, as it is the loop that says it."""


def notify(state: str) -> None:
    """Tell systemd, if it started us."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SAY_MAX_S)
            sender.sendto(state.encode(), path.replace("@", "\0", 1))


def watchdog_s() -> float | None:
    """Return after how many silent seconds systemd ends us; None: it does not watch us."""
    ours = os.environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
    try:
        period_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return period_us / 1e6 if ours and period_us > 0 else None


async def keep_patting() -> None:
    """Pat the watchdog, until cancelled. It is the loop that does: if it stands still, none comes.

    `WatchdogSec=` in the unit is the period. systemd then sends SIGABRT, of which the log gets
    what each thread was at, and starts the server again.
    """
    while (period_s := watchdog_s()) is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s / PATS_PER_PERIOD)
