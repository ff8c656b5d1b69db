"""A lakehouse for tests of collections: in a directory, or where it is set in a bucket of MinIO."""

import os
import secrets
from collections.abc import AsyncIterator

import pytest

from lakehouse.app import Lakehouse, open_lakehouse
from lakehouse.config import Config, StorageConfig
from lakehouse.state import DataDirectory
from tests import object_store


def storage() -> StorageConfig:
    """Return the settings of a warehouse that nobody else has."""
    if object_store.IN_BUCKET not in os.environ:
        return StorageConfig()
    return object_store.below(object_store.of_this_run(), secrets.token_hex(6))


@pytest.fixture(scope="module")
async def lake(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lakehouse]:
    folder = tmp_path_factory.mktemp("lake")
    with DataDirectory.open(folder / "data") as directory:
        async with open_lakehouse(Config(storage=storage()), directory) as lakehouse:
            yield lakehouse
