"""A line of the log is one JSON document, or words that steer no terminal."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lakehouse.observability import trace_id
from lakehouse.observability.logs import JsonFormatter, WordsFormatter
from tests.services import environment


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO) -> Iterator[logging.Logger]:
    logger = logging.Logger("lakehouse.test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    yield logger


def test_a_record_is_one_document_with_its_fields(log: logging.Logger, stream: io.StringIO) -> None:
    token = trace_id.set("abc")
    log.warning("two\nlines of %s", "text", extra={"rows": 3})
    trace_id.reset(token)

    (line,) = stream.getvalue().splitlines()
    document = json.loads(line)
    assert document["message"] == "two\nlines of text"
    assert document["level"] == "WARNING"
    assert document["logger"] == "lakehouse.test"
    assert document["trace_id"] == "abc"
    assert document["rows"] == 3


def test_outside_of_a_request_there_is_no_trace_id(
    log: logging.Logger, stream: io.StringIO
) -> None:
    log.warning("x")

    assert "trace_id" not in json.loads(stream.getvalue())


def test_an_exception_is_a_field(log: logging.Logger, stream: io.StringIO) -> None:
    try:
        raise ValueError("so it is")
    except ValueError:
        log.exception("it failed")

    assert "ValueError: so it is" in json.loads(stream.getvalue())["exception"]


@pytest.mark.parametrize("odd", ["\ud800", 2**70, {1}, b"\xff", float("nan"), object()])
def test_whatever_is_logged_the_line_is_json(
    odd: object, log: logging.Logger, stream: io.StringIO
) -> None:
    log.warning("odd: %s", odd, extra={"odd": odd})

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["level"] == "WARNING"


def test_words_cannot_steer_the_terminal() -> None:
    record = logging.makeLogRecord(
        {"name": "n", "levelname": "INFO", "msg": "a \x1b[2J \x9b b", "path": "\x07x"}
    )

    words = WordsFormatter().format(record)

    assert "\x1b" not in words
    assert "\x9b" not in words
    assert "\x07" not in words
    assert "a \\x1b[2J" in words


def test_what_ends_the_process_or_a_thread_is_in_the_log_too() -> None:
    script = (
        "import threading\n"
        "from lakehouse.observability import configure_logs\n"
        "configure_logs('INFO')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='worker')\n"
        "thread.start(); thread.join()\n"
        "raise SystemError('the end')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )

    thread, process = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert thread["message"] == "the thread worker ended: division by zero"
    assert process["level"] == "CRITICAL"
    assert "SystemError: the end" in process["exception"]
