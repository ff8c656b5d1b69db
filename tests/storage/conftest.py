"""A warehouse, its objects and an app with the storage routes alone, all real."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import AsyncTestClient

from lakehouse.api.problems import EXCEPTION_HANDLERS
from lakehouse.config import StorageConfig
from lakehouse.state import SqliteState, State
from lakehouse.storage import LocalObjects, LocalStore, Objects
from lakehouse.storage.routes import StorageController

CONFIG = StorageConfig(put_max_bytes=11_000_000, vectors_put_max_bytes=12_000_000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "warehouse")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with SqliteState.open(tmp_path / "catalog.db") as state:
        yield state


@pytest.fixture
def local(store: LocalStore) -> LocalObjects:
    return LocalObjects(store)


@pytest.fixture
def objects(local: LocalObjects, state: State) -> Objects:
    return Objects(local, state, CONFIG)


@pytest.fixture
def app(objects: Objects) -> Litestar:
    return Litestar(
        route_handlers=[StorageController],
        dependencies={"objects": Provide(lambda: objects, sync_to_thread=False)},
        exception_handlers=EXCEPTION_HANDLERS,
    )


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[AsyncTestClient[Litestar]]:
    async with AsyncTestClient(app) as client:
        yield client
