"""Apache's compatibility kit for REST catalogs, unmodified, against a server that is all its own.

It names files that are nowhere (`/path/to/data-a.parquet`) and places that are not ours
(`file:/tmp/ns/tbl`): for it alone, what commits name is not looked at. What is looked at
otherwise has tests of its own beside this one.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import postgres
from tests.engines import jars
from tests.services import ServerProcess, lakehouse_server

TIMEOUT_S = 280
"""It takes 10 s where it has two cores to itself."""
SUITE = "org.apache.iceberg.rest.RESTCompatibilityKitSuite"
OPTIONS = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
    "-Drck.local=false",
    "-Drck.requires-namespace-create=true",
    "-Drck.overrides-requested-location=true",
)
LAUNCHER = (
    "org.junit.platform.console.ConsoleLauncher",
    "execute",
    "--disable-banner",
    "--disable-ansi-colors",
    "--details=tree",
)
COUNT = re.compile(r"^\[ +(\d+) tests (\w+) +\]$", re.MULTILINE)
FAILED = re.compile(r"^[ │├└─╷]+(\S.*) ✘ ?(.*)$", re.MULTILINE)

UNCHECKED = {"LAKEHOUSE_ICEBERG__CHECKS_COMMITS": "false"}


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with an empty catalog: the kit begins on none other."""
    with ExitStack() as stack:
        variables = dict(UNCHECKED)
        if request.param == "postgresql":
            if postgres.ON_POSTGRES not in os.environ:
                pytest.skip(f"{postgres.ON_POSTGRES} is not set")
            variables["LAKEHOUSE_CATALOG__URI"] = stack.enter_context(postgres.schema()).uri
        data = tmp_path / "data"
        yield stack.enter_context(lakehouse_server(data, port=None, **variables))


@pytest.mark.slow
def test_the_kit_of_the_protocol_passes(server: ServerProcess, tmp_path: Path) -> None:
    said = kit(server, tmp_path)
    counts = {what: int(count) for count, what in COUNT.findall(said)}
    assert dict(FAILED.findall(said)) == {}
    assert (counts["found"], counts["failed"]) == (149, 0), said[-2000:]
    assert counts["successful"] >= 141  # the others end themselves: their assumptions do not hold


def kit(server: ServerProcess, folder: Path) -> str:
    """Return what the kit prints: a line for each test, and the counts at the end."""
    path = os.pathsep.join(map(str, jars("rck")))
    # A view of it asks to lie in a temporary folder: one that is in the warehouse it gets.
    within = server.data_dir / "warehouse" / "kit"
    within.mkdir()
    where = (f"-Duri={server.url}/iceberg", f"-Djava.io.tmpdir={within}")
    done = subprocess.run(
        ["java", *OPTIONS, *where, "-cp", path, *LAUNCHER, "-c", SUITE],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "tests found" in done.stdout, done.stderr[-2000:]
    return done.stdout
