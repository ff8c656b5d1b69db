"""What a transaction of the catalog is given: SQL that SQLite and PostgreSQL both understand."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement answered."""

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""

    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int, /) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Transaction(Protocol):
    """One transaction. Parameters stand as `?`; text, numbers, bytes and None go in and out."""

    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> Rows:
        """Run one statement.

        Raises:
            UniqueViolationError: a row with that key is there; the transaction is lost.
        """

    def executemany(self, sql: str, rows: Iterable[Sequence[object]], /) -> object:
        """Run one statement for each of `rows`."""
