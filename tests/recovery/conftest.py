"""One DuckDB for all tests of recovery; a data directory for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.database import Database
from tests.catalog.lake import settings_for


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(settings_for(tmp_path_factory.getbasetemp())) as database:
        yield database


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Database]:
    """A DuckDB that never saw the tables: the next process, on another machine."""
    with Database.open(settings_for(tmp_path)) as database:
        yield database
