"""Nothing acknowledged is lost, nothing is doubled, and the next start needs no hand.

The short form: one failpoint of each kind, and one kill at random; `just crash` does all for long.
"""

import os
import re
from pathlib import Path

import pytest

import lakehouse
from lakehouse.failpoints import POINTS
from tests.crash.rounds import Crash

OF_EACH_KIND = ("after-metadata", "after-group", "in-drop", "amid-purge", "before-erase-key")


@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="a quarter of a minute")
def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    with Crash(tmp_path, seed=3) as crash:
        for name in (*OF_EACH_KIND, "amid-expiry"):
            crash.at_failpoint(name, nth=1)
        crash.at_random()
        crash.read_by_others()

    assert crash.figures()["kills"] == len(OF_EACH_KIND) + 2
    assert crash.figures()["rows"] > 0


def test_every_failpoint_is_reached_somewhere() -> None:
    folder = Path(lakehouse.__file__).parent
    found = {
        name
        for path in folder.rglob("*.py")
        for name in re.findall(r'\breach\("([^"]*)"\)', path.read_text())
    }
    assert found == set(POINTS)
