"""One JSON line a log record, with the trace id of the request that it belongs to."""

import json
import logging
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

import orjson

from lakehouse.redaction import redacted

trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""Of the request that is being answered. Work on another thread takes it along (anyio does)."""

log = logging.getLogger("lakehouse")

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
QUIET = ("httpx", "httpcore", "_granian", "granian")
CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if chr(code) != "\n"}


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return what a record carries besides its message."""
    own = {key: value for key, value in vars(record).items() if key not in STANDARD}
    trace = trace_id.get()
    return own if trace is None else {"trace_id": trace, **own}


class JsonFormatter(logging.Formatter):
    """For machines: a line is one JSON document, whatever is in the message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return redacted(orjson.dumps(line, default=str).decode())
        except TypeError:  # half a surrogate pair, a number beyond 64 bits
            return redacted(json.dumps(line, default=str))


class WordsFormatter(logging.Formatter):
    """For people: what a client sent cannot steer the terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        words = super().format(record)
        fields = " ".join(f"{key}={value}" for key, value in fields_of(record).items())
        return redacted(f"{words} {fields}".rstrip().translate(CONTROL))


def configure_logs(level: str) -> None:
    """Send all logs to stderr: JSON lines, or words when a person looks.

    What ends a thread or the process goes the same way.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WordsFormatter() if sys.stderr.isatty() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Nobody asks for them, and finding them out is a third of what a line costs (20 of 60 µs).
    # Source: https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.excepthook = log_last_words
    threading.excepthook = log_thread_end


def log_last_words(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("the process ends: %s", error, exc_info=(kind, error, trace))


def log_thread_end(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "unknown"
    if ended.exc_value is not None:
        log.error("the thread %s ended: %s", name, ended.exc_value, exc_info=ended.exc_value)
