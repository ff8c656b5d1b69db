"""The last part of where an object lies: another one after each PUT, the newest sorts last."""

import re
import secrets
import time
from collections.abc import Sequence

VERSION = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")


def version_after(older: Sequence[str]) -> str:
    """Return a name that was never used and sorts last, whatever the clock says."""
    number = time.time_ns()
    if older:
        number = max(number, int(older[-1].partition("-")[0], 16) + 1)
    return f"{number:016x}-{secrets.token_hex(4)}"
