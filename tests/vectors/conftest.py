"""A lakehouse for tests of collections: in a directory, or where it is set in a bucket of MinIO."""

from collections.abc import AsyncIterator

import pytest

from lakehouse.app import Lakehouse, open_lakehouse
from lakehouse.config import Config
from lakehouse.state import DataDirectory
from tests import object_store


@pytest.fixture(scope="module")
async def lake(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lakehouse]:
    folder = tmp_path_factory.mktemp("lake")
    config = Config(storage=object_store.chosen(folder / "data"))
    with DataDirectory.open(folder / "data") as directory:
        async with open_lakehouse(config, directory) as lakehouse:
            yield lakehouse
