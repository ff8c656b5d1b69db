"""The whole app in this process, without a socket: what is asked of it is what it would serve."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.config import Config, IngestConfig, MaintenanceConfig
from tests.ingest.served import Served, serving

LINE_MAX_BYTES = 256 * 1024


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    still = MaintenanceConfig(enabled=False)  # else other tables get files meanwhile
    config = Config(ingest=IngestConfig(line_max_bytes=LINE_MAX_BYTES), maintenance=still)
    with serving(tmp_path_factory.mktemp("lake") / "data", config) as served:
        yield served


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A table that no other test knows."""
    return f"t_{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
