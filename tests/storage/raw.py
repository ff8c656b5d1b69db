"""Requests as a hostile client sends them: paths as they are, bodies that break off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import anyio
from litestar import Litestar


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def send(
    app: Litestar,
    method: str,
    raw_path: bytes,
    pieces: Sequence[bytes] = (b"",),
    *,
    headers: dict[str, str] | None = None,
    breaks_off: bool = False,
    wait: anyio.Event | None = None,
) -> Answer:
    """Send one request to the app, as an ASGI server would.

    Args:
        pieces: of the body.
        breaks_off: the client leaves after the last piece.
        wait: the last piece is held back until this is set.
    """
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path.decode("latin-1"), errors="replace"),
        "raw_path": raw_path,
        "query_string": b"",
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        "client": ("test", 1),
        "server": ("test", 80),
    }
    waiting = list(pieces)
    events: list[Any] = []

    async def receive() -> Any:
        if not waiting:
            if not breaks_off:
                await anyio.sleep_forever()
            return {"type": "http.disconnect"}
        if len(waiting) == 1 and wait:
            await wait.wait()
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting) or breaks_off}

    async def record(event: Any) -> None:
        events.append(event)

    await app(scope, receive, record)
    start, *rest = events
    return Answer(
        start["status"],
        {name.decode().lower(): value.decode() for name, value in start["headers"]},
        b"".join(event.get("body", b"") for event in rest),
    )
