"""An empty `catalog.db`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.state import State


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "catalog.db") as state:
        yield state
