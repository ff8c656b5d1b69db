"""The rows of a statement: the first page is here, the others are fetched when they are read."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from lakehouse.client.models import Column, ResultPage

ROW = msgspec.json.Decoder(list[Any])


class Result:
    """Iterate over it to read its rows. Each pass holds one page (64 MiB of JSON) in memory.

    All pages are of the snapshots that the first one read. The server keeps the later ones 15
    minutes after they were last read; then reading on raises `NotFoundError`.
    """

    def __init__(
        self,
        first: ResultPage,
        fetch: Callable[[str], ResultPage],
        drop: Callable[[str], None],
    ) -> None:
        self._first = first
        self._fetch = fetch
        self._drop = drop

    @property
    def columns(self) -> list[Column]:
        return self._first.columns

    @property
    def query_id(self) -> str | None:
        return self._first.query_id

    @property
    def truncated(self) -> bool:
        """Whether there are more rows than those of the first page."""
        return self._first.next is not None

    def pages(self) -> Iterator[ResultPage]:
        """Yield the pages; their rows are JSON still."""
        page = self._first
        yield page
        while page.next is not None:
            page = self._fetch(page.next)
            yield page

    def __iter__(self) -> Iterator[list[Any]]:
        for page in self.pages():
            yield from map(ROW.decode, page.rows)

    @property
    def rows(self) -> list[list[Any]]:
        """All rows, in memory. Iterate over the result where they may be many."""
        return list(self)

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Yield each row by column name; of two columns of one name the last wins."""
        names = [column.name for column in self.columns]
        for row in self:
            yield dict(zip(names, row, strict=True))

    def close(self) -> None:
        """Let the server forget the later pages now, when nobody will read them."""
        if self._first.next is not None:
            self._drop(self._first.next.partition("?")[0])
