"""One DuckDB for all tests of the catalog; a warehouse and a `catalog.db` for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.database import Database
from tests.catalog.lake import Lake, open_lake, settings_for


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(settings_for(tmp_path_factory.getbasetemp())) as database:
        yield database


@pytest.fixture
def lake(tmp_path: Path, database: Database) -> Iterator[Lake]:
    with open_lake(tmp_path, database) as lake:
        yield lake


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory: pytest.TempPathFactory, database: Database) -> Iterator[Lake]:
    """For tests that make many tables under names of their own."""
    with open_lake(tmp_path_factory.mktemp("lake"), database) as lake:
        yield lake
