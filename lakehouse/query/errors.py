"""Why a statement is refused before it runs."""

from collections.abc import Sequence

from lakehouse.catalog import TableName
from lakehouse.errors import InvalidInputError, TooLargeError, UnprocessableError


class SqlError(InvalidInputError):
    """The statement is not one that runs here."""


class SqlSyntaxError(SqlError):
    """The text is not SQL, or a name or a type in it is wrong."""


class StatementNotAllowedError(SqlError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; one SELECT, DESCRIBE, SHOW TABLES, SUMMARIZE or EXPLAIN runs")


class FunctionNotAllowedError(SqlError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the function {name[:80]!r} is refused: {reason}", function=name)


class UnknownTableError(SqlError):
    def __init__(self, name: str, near: str | None) -> None:
        hint = f"; did you mean {near}?" if near else ""
        super().__init__(f"no table is named {name[:300]!r}{hint}", table=name)


class ViewRefusedError(SqlError):
    """A view that a statement reads cannot be read in it."""

    def __init__(self, view: TableName, reason: str) -> None:
        super().__init__(f"the view {str(view)!r} cannot be read: {reason}", view=str(view))


class InvalidSearchError(SqlError):
    """A search in a statement has a name that no relation can have, or there are too many."""


class StatementTooLongError(TooLargeError):
    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"the statement has more than {limit} {what}", limit=limit)


class ColumnTakenError(UnprocessableError):
    """A table has a column of the name that the answer gives to one of its own."""

    def __init__(self, table: TableName, columns: Sequence[str]) -> None:
        super().__init__(
            f"{table} has the column {columns[0]!r}, as changes and differences call one of theirs;"
            f" rename it (POST /v1/tables/{table}/schema), or read both snapshots with `as_of`",
            columns=list(columns),
        )
