"""What can go wrong with a statement that passed the gate, and what DuckDB's errors mean then."""

import re
from collections.abc import Mapping

import pyarrow as pa

from lakehouse.database import EngineError
from lakehouse.errors import (
    ConflictError,
    InsufficientStorageError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)


class StatementFailedError(InvalidInputError):
    """The statement itself is wrong, or met a value it cannot work with."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class NoTextError(StatementFailedError):
    """The engine writes a byte of its memory before a decimal(38, 38) that a sum brought to 1."""

    def __init__(self) -> None:
        super().__init__(
            "the engine made text that is none, as it does of a sum of DECIMAL(38,38) beyond its "
            "type: cast the numbers to a DECIMAL of a shorter scale, or to DOUBLE, before the sum"
        )


class BadRequestFieldError(InvalidInputError): ...


class StatementTimeoutError(UnprocessableError):
    """Not 408: clients and proxies repeat that by themselves."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the statement ran longer than {timeout_s:g} s and was stopped; let it read less, "
            "or ask for more with timeout_s, up to query.timeout_s",
            timeout_s=timeout_s,
        )


class ChangeTimeoutError(UnprocessableError):
    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the change took longer than {timeout_s:g} s and was stopped; nothing was changed: let"
            " it change less, or send it as a job (Prefer: respond-async), which may take longer",
            timeout_s=timeout_s,
        )


class StatementCancelledError(ConflictError):
    retryable = False

    def __init__(self, query_id: str) -> None:
        super().__init__(f"the statement {query_id!r} was cancelled", query_id=query_id)


class StatementNotFoundError(NotFoundError):
    def __init__(self, query_id: str) -> None:
        super().__init__(
            f"no statement {query_id!r} is running; it may have ended", query_id=query_id
        )


class QueryIdInUseError(ConflictError):
    retryable = False

    def __init__(self, query_id: str) -> None:
        super().__init__(
            f"a statement with the id {query_id!r} is still running", query_id=query_id
        )


class TooManyStatementsError(UnavailableError):
    retry_after_s = 1

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} statements are running, which is the most; retry in a moment")


class ThreadsStuckError(UnavailableError):
    """Statements that were stopped look at no interrupt; if they go on, the server starts again."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} statements that were stopped still hold their threads; retry in a while"
        )


class MemoryPressureError(UnavailableError):
    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__(
            "there was not enough memory for this statement beside what else runs, twice; "
            "retry in a moment, or let it read less at once"
        )


class SpillFullError(InsufficientStorageError):
    """What does not fit in memory goes to the disk, and there is no more room for it there.

    The room is `query.spill_max_bytes`, and never the reserve of the disk.
    """

    def __init__(self) -> None:
        super().__init__(
            "this sorts or joins more than fits in memory, and the disk has no room for the rest:"
            " let it read less at once, make room, or raise query.spill_max_bytes"
        )


class EngineDownError(UnavailableError):
    def __init__(self) -> None:
        super().__init__("the SQL engine has failed and the server is about to start again")


class TableUnreadableError(UnavailableError):
    """A file is gone or broken. The log has the engine's words; they name paths."""

    retryable = False
    retry_after_s = None

    def __init__(self, tables: list[str]) -> None:
        named = " or ".join(repr(name) for name in tables) or "the statement"
        super().__init__(f"a file of {named} could not be read", tables=tables)
        self.tables = tables


class ResultNotFoundError(NotFoundError):
    def __init__(self, result_id: str, kept_s: float) -> None:
        super().__init__(
            f"no result {result_id!r} is kept here: it is unknown, or was not read for "
            f"{kept_s / 60:g} minutes, or the server started again; run the statement again",
            result_id=result_id,
        )


class ResultTooLargeError(TooLargeError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the rows after the first page take more than {limit_bytes} bytes; ask for NDJSON, "
            "CSV, Arrow or Parquet, which stream without a limit, or add a LIMIT",
            limit_bytes=limit_bytes,
        )


class SpoolFullError(UnavailableError):
    retry_after_s = 60

    def __init__(self) -> None:
        super().__init__(
            "results that wait to be read fill their share of the disk; retry later, or ask for "
            "NDJSON, CSV, Arrow or Parquet, which stream"
        )


class UnencodableResultError(InvalidInputError):
    def __init__(self, format_name: str, reason: str) -> None:
        super().__init__(f"the result has no form in {format_name}: {reason}; cast it")


class TooManyDigitsError(UnprocessableError):
    """A HUGEINT, or a sum of decimals, that is more than the engine says of its type.

    Both are 128 bits to it, up to 1.7e38; the decimals of Arrow and of all files end at 38 digits.
    """

    def __init__(self, column: str, format_name: str) -> None:
        super().__init__(
            f"column {column[:80]!r} has a number of more than 38 digits, which {format_name}"
            " cannot hold: ask for JSON, NDJSON or CSV, or cast it to VARCHAR or DOUBLE",
            column=column,
        )


class InterruptedStatementError(Exception):
    """Inside only: `interrupt()` was called; who called it knows what to tell the client."""


# pyarrow turns DuckDB's errors inside a stream into OSError; the words before the colon stay.
ENGINE_ERRORS = (EngineError, pa.ArrowException, OSError, MemoryError, UnicodeDecodeError)
PREFIX = re.compile(r"^(?:[A-Za-z]+Exception: )?([A-Za-z ]{1,40}) Error: ", re.DOTALL)
CALLERS_FAULT = (
    "binder",
    "catalog",
    "constraint",
    "conversion",
    "decimal",
    "divide by zero",
    "expression",
    "invalid",
    "invalid input",
    "invalid type",
    "mismatch type",
    "not implemented",
    "out of range",
    "parameter not allowed",
    "parameter not resolved",
    "parser",
    "syntax",
)
TAILS = re.compile(r"\n+(?:LINE \d+:|Possible solutions|Did you mean).*", re.DOTALL)
PATHS = re.compile(r"(?:s3|file|https?)://[^\s'\"]+|(?<![\w/.-])/(?:[\w.@+-]+/)+[\w.@+-]*")


def clean_message(text: str, relations: Mapping[str, str] | None = None) -> str:
    """Return DuckDB's words without their kind, our relations' names and any path of the host."""
    text = TAILS.sub("", PREFIX.sub("", text))
    for relation, name in (relations or {}).items():
        text = text.replace(relation, name)
    return PATHS.sub("a file", text).strip() or "the statement failed"


def kind_of(error: BaseException) -> str:
    """Return the kind in DuckDB's words and lower case: `out of memory`, `interrupt`."""
    if isinstance(error, MemoryError):
        return "out of memory"
    found = PREFIX.match(str(error))
    return found[1].lower() if found else ""
