"""Requests that come while a model is busy are embedded together in its next call.

Nobody waits for others to come: 32 clients with a text each take the calls of one with 32.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lakehouse.embedding.provider import Provider, Vectors


@dataclass(eq=False, slots=True)
class Waiting:
    texts: Sequence[str]
    vectors: "asyncio.Future[Vectors]"


class Batches:
    """The calls of one model. All of it runs on the event loop."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._waiting: deque[Waiting] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, as `Provider.embed` does, however many those are."""
        most = self._provider.texts_max
        parts = [texts[start : start + most] for start in range(0, len(texts), most)]
        loop = asyncio.get_running_loop()
        asked = [Waiting(part, loop.create_future()) for part in parts]
        self._waiting.extend(asked)
        self._call()
        try:
            found = [await each.vectors for each in asked]
        finally:
            for each in asked:  # of who left, or of whom a part failed: nobody needs the others
                each.vectors.cancel()
        return np.concatenate(found)

    def _call(self) -> None:
        """Begin as many calls as may run."""
        while self._waiting and len(self._calls) < self._provider.calls_max:
            together = self._next()
            if not together:
                return
            task = asyncio.create_task(self._embed(together))
            self._calls.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._calls.discard(task)
        self._call()

    def _next(self) -> list[Waiting]:
        """Return the requests of the next call, in their order; those who left are passed over."""
        together: list[Waiting] = []
        room = self._provider.texts_max
        while self._waiting and len(self._waiting[0].texts) <= room:
            first = self._waiting.popleft()
            if not first.vectors.done():
                together.append(first)
                room -= len(first.texts)
        return together

    async def _embed(self, together: Sequence[Waiting]) -> None:
        texts = [text for each in together for text in each.texts]
        try:
            vectors = await self._provider.embed(texts)
        except Exception as error:
            if len(together) > 1:  # one of them may be the reason, and fails alone
                for each in together:
                    await self._embed([each])
            elif not together[0].vectors.done():
                together[0].vectors.set_exception(error)
            return
        start = 0
        for each in together:
            if not each.vectors.done():
                each.vectors.set_result(vectors[start : start + len(each.texts)])
            start += len(each.texts)
