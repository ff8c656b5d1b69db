"""An app on an event loop of its own, and plain calls to it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.config import Config, StorageConfig
from lakehouse.state import DataDirectory
from tests import object_store

T = TypeVar("T")
TIMEOUT_S = 60


@dataclass
class Served:
    """A running app."""

    lakehouse: Lakehouse
    app: Any
    client: httpx.AsyncClient
    data_dir: Path
    storage: StorageConfig
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT_S)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.run(self.client.request(method, path, **options))

    def ingest(
        self,
        name: str | None,
        body: bytes | str | AsyncIterator[bytes],
        content_type: str | None = "text/csv",
        headers: Mapping[str, str] | None = None,
        **params: str,
    ) -> httpx.Response:
        """Send a body as a load; `name` is the table."""
        content = body.encode() if isinstance(body, str) else body
        known = {"Content-Type": content_type} if content_type else {}
        asked = {"name": name, **params} if name is not None else params
        return self.send(
            "POST",
            "/v1/ingest",
            params=asked,
            content=content,
            headers={**known, **(headers or {})},
        )

    def loaded(self, name: str, body: bytes | str, *args: Any, **params: Any) -> dict[str, Any]:
        answer = self.ingest(name, body, *args, **params)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def rows(self, name: str, order: str = "ALL") -> list[list[Any]]:
        """Return the rows of a table as SQL answers them."""
        sql = f'SELECT * FROM "{name}" ORDER BY {order}'
        answer = self.send("POST", "/v1/sql", json={"sql": sql})
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows

    def types(self, name: str) -> dict[str, str]:
        answer = self.send("GET", f"/v1/tables/{name}")
        assert answer.status_code == 200, answer.text
        return {column["name"]: column["type"] for column in answer.json()["columns"]}

    def files(self) -> set[str]:
        """Return every file of tables, and every upload that lies in the spool."""
        uploads = (self.data_dir / "spool").glob("upload-*")
        if self.storage.warehouse is not None:
            return {*object_store.files(self.storage, "tables"), *map(str, uploads)}
        tables = (self.data_dir / "warehouse" / "tables").rglob("*")
        return {str(path) for path in (*tables, *uploads) if path.is_file()}


@contextmanager
def serving(data_dir: Path, config: Config) -> Iterator[Served]:
    """Run the app until the block ends; in a bucket where it is set and `config` names none."""
    if config.storage == StorageConfig():
        config = msgspec.structs.replace(config, storage=object_store.chosen(data_dir))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ready: asyncio.Queue[Served] = asyncio.Queue()
    stop = asyncio.Event()

    async def live() -> None:
        with DataDirectory.open(data_dir) as directory:
            async with open_lakehouse(config, directory) as lakehouse:
                app: Any = create_app(lakehouse)
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                base = "http://127.0.0.1:3110"
                async with httpx.AsyncClient(
                    transport=transport, base_url=base, timeout=TIMEOUT_S
                ) as client:
                    await ready.put(Served(lakehouse, app, client, data_dir, config.storage, loop))
                    await stop.wait()

    living = asyncio.run_coroutine_threadsafe(live(), loop)
    try:
        waiting = asyncio.run_coroutine_threadsafe(ready.get(), loop)
        while not waiting.done():
            if living.done():
                living.result()
            threading.Event().wait(0.01)
        yield waiting.result()
    finally:
        loop.call_soon_threadsafe(stop.set)
        living.result(TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        loop.close()
