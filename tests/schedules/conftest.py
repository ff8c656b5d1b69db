"""An empty state, in `catalog.db` and in PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.state import SqliteState, State
from lakehouse.state.postgres import PostgresState
from tests import postgres


@pytest.fixture(params=["sqlite", "postgres"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    if request.param == "sqlite":
        with SqliteState.open(tmp_path / "catalog.db") as catalog_file:
            yield catalog_file
        return
    with postgres.schema() as place, PostgresState.open(place) as state:
        yield state
