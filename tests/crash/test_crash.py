"""Nothing acknowledged is lost, nothing is doubled, and the next start needs no hand.

The short form: one kill at each failpoint and one at random; `just crash` does it for long.
"""

from pathlib import Path

from lakehouse.failpoints import NAMES, UPKEEP
from tests.crash.rounds import Crash


def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    with Crash(tmp_path, seed=3) as crash:
        for nth, name in enumerate(NAMES, start=1):
            crash.at_failpoint(name, nth=nth)
        for name in UPKEEP:
            crash.at_failpoint(name, nth=1)
        crash.at_random()

    assert crash.figures()["kills"] == len(NAMES) + len(UPKEEP) + 1
    assert crash.figures()["rows"] > 0
