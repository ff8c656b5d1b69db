"""Places where the crash test kills the process: nothing, unless a variable names one.

`LAKEHOUSE_FAILPOINT=after-pointer:3` ends the process with SIGKILL the third time it gets there.
"""

import os
import signal
import threading
from collections import Counter

VARIABLE = "LAKEHOUSE_FAILPOINT"
NAMES = ("after-data-file", "after-metadata", "after-pointer", "before-answer")
# Of maintenance: what was rewritten is not committed; what has expired is not deleted.
UPKEEP = ("after-rewrite", "after-expiry")

reached: Counter[str] = Counter()
counting = threading.Lock()


def reach(name: str) -> None:
    """Die here, without a word to anybody, if the variable says so."""
    wanted, _, nth = os.environ.get(VARIABLE, "").partition(":")
    if wanted != name:
        return
    with counting:
        reached[name] += 1
    if reached[name] >= int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)
