"""Bodies of items have a budget of memory: no number of clients makes the server grow past it."""

import asyncio

import httpx
import pytest

from lakehouse.app import Lakehouse
from lakehouse.vectors.errors import NoRoomForItemsError, TooManyBytesError
from lakehouse.vectors.room import BYTES_EACH, Room


async def test_who_finds_no_room_waits_until_somebody_has_ended() -> None:
    room = Room(10 * BYTES_EACH, wait_s=5)
    order = []

    async def ask(name: str, size: int, hold: asyncio.Event) -> None:
        async with room.taken(size):
            order.append(name)
            await hold.wait()

    first, second = asyncio.Event(), asyncio.Event()
    one = asyncio.create_task(ask("one", 8, first))
    await asyncio.sleep(0)
    two = asyncio.create_task(ask("two", 8, second))
    await asyncio.sleep(0.02)
    assert order == ["one"]
    first.set()
    await one
    second.set()
    await two
    assert order == ["one", "two"]


async def test_who_waits_too_long_is_refused_and_takes_nothing() -> None:
    room = Room(10 * BYTES_EACH, wait_s=0.05)
    async with room.taken(10):
        with pytest.raises(NoRoomForItemsError):
            async with room.taken(1):
                raise AssertionError("it has no room")
    async with room.taken(10):
        pass


async def test_who_leaves_while_waiting_takes_nothing() -> None:
    room = Room(10 * BYTES_EACH, wait_s=5)

    async def ask() -> None:
        async with room.taken(10):
            raise AssertionError("it has no room")

    async with room.taken(10):
        task = asyncio.create_task(ask())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with room.taken(10):
        pass


async def test_a_body_beyond_the_whole_room_is_told_to_come_in_parts() -> None:
    room = Room(10 * BYTES_EACH)
    with pytest.raises(TooManyBytesError, match="in parts"):
        async with room.taken(11):
            raise AssertionError("it is too large")


async def test_the_route_answers_413_and_503_by_it(
    lake: Lakehouse, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/vectors/index", json={"name": "roomy", "dimension": 2})
    items = {"items": [{"id": "a", "vector": [1, 0]}]}
    kept, place = lake.vectors.room, "/v1/vectors/index/roomy/add"
    try:
        lake.vectors.room = Room(10 * BYTES_EACH)
        assert (await client.post(place, json=items)).status_code == 413
        lake.vectors.room = Room(200 * BYTES_EACH, wait_s=0.05)
        async with lake.vectors.room.taken(190):
            refused = await client.post(place, json=items)
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "2"
        assert (await client.post(place, json=items)).status_code == 200
    finally:
        lake.vectors.room = kept
