"""Requests share calls: none waits for others, none fails for another's fault."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from lakehouse.embedding.batches import Batches
from lakehouse.embedding.provider import Identity, Kind, Vectors


class Slow:
    """A model that takes its time; `bad` fails whatever is with it."""

    name = "slow"
    texts_max = 8
    calls_max = 1

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.may_go_on = asyncio.Event()

    def prepared(self, text: str, kind: Kind) -> str:
        return text

    async def identity(self) -> Identity:
        return Identity("test", "slow", "", 1)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(list(texts))
        await self.may_go_on.wait()
        if "bad" in texts:
            raise ValueError("bad")
        return np.array([[float(text)] for text in texts], dtype=np.float32)


async def test_what_comes_while_a_call_runs_goes_together_in_the_next() -> None:
    model = Slow()
    batches = Batches(model)
    asked = [asyncio.create_task(batches.embed([str(number)])) for number in range(12)]
    await asyncio.sleep(0.01)
    assert model.calls == [["0"]]
    model.may_go_on.set()
    found = await asyncio.gather(*asked)
    assert [float(each[0, 0]) for each in found] == list(range(12))
    assert [len(each) for each in model.calls] == [1, 8, 3]


async def test_a_request_of_more_texts_than_a_call_takes_several() -> None:
    model = Slow()
    model.may_go_on.set()
    found = await Batches(model).embed([str(number) for number in range(20)])
    assert found[:, 0].tolist() == list(range(20))
    assert [len(each) for each in model.calls] == [8, 8, 4]


async def test_a_request_that_fails_fails_alone() -> None:
    model = Slow()
    batches = Batches(model)
    first = asyncio.create_task(batches.embed(["0"]))
    await asyncio.sleep(0)
    asked = [asyncio.create_task(batches.embed([text])) for text in ("1", "bad", "2")]
    await asyncio.sleep(0.01)
    model.may_go_on.set()
    await first
    assert (await asked[0])[0, 0] == 1
    assert (await asked[2])[0, 0] == 2
    with pytest.raises(ValueError, match="bad"):
        await asked[1]
    assert model.calls[1:] == [["1", "bad", "2"], ["1"], ["bad"], ["2"]]


async def test_who_leaves_is_not_embedded_for() -> None:
    model = Slow()
    batches = Batches(model)
    first = asyncio.create_task(batches.embed(["0"]))
    await asyncio.sleep(0)
    leaving, staying = (asyncio.create_task(batches.embed([text])) for text in ("1", "2"))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.wait([leaving])
    model.may_go_on.set()
    await asyncio.gather(first, staying)
    assert model.calls == [["0"], ["2"]]
