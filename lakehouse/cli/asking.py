"""`sql`: a statement, and its rows as a table, as JSON or as a file."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import rich_click as click

from lakehouse.cli import output
from lakehouse.cli.where import connected
from lakehouse.client import Client, Result
from lakehouse.errors import InvalidInputError, NotFoundError

SUFFIXES = {
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".parquet": "parquet",
    ".orc": "orc",
    ".avro": "avro",
}
BINARY = {"arrow", "parquet", "orc", "avro"}


def sql(
    statement: str | None,
    file: Path | None,
    parameters: Sequence[str],
    as_of: Sequence[str],
    search: Sequence[str],
    format_: str | None,
    path: Path | None,
    rows_max: int,
    timeout_s: float | None,
    as_json: bool,
    **where: Any,
) -> None:
    text = statement_text(statement, file)
    chosen = format_of(format_, path, as_json)
    asked: dict[str, Any] = {
        "parameters": parameters_of(parameters),
        "as_of": dict(pair(each, "--as-of") for each in as_of),
        "search": dict(search_of(each) for each in search),
        "timeout_s": timeout_s,
    }

    def work(lake: Client) -> None:
        if chosen == "table":
            show(lake.sql(text, **asked), rows_max)
        elif chosen == "json":
            with target(path) as out:
                write_json(lake.sql(text, **asked), out)
        else:
            export(lake, text, chosen, asked, path)

    connected(work, **where)


def statement_text(statement: str | None, file: Path | None) -> str:
    """Return the statement: given, in a file, or on stdin."""
    if statement is not None and file is not None:
        raise click.UsageError("give SQL or --file, not both")
    if statement is not None and statement != "-":
        return statement
    try:
        if file is not None:
            return file.read_text("utf-8")
        if sys.stdin.isatty():
            raise click.UsageError('give a statement: lakehouse sql "SELECT 1"')
        return sys.stdin.buffer.read().decode()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {file}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file or 'stdin'} cannot be read as UTF-8: {error}") from error


def format_of(format_: str | None, path: Path | None, as_json: bool) -> str:
    if as_json:
        if format_ not in {None, "json"}:
            raise click.UsageError(f"--json and --format {format_} exclude each other")
        return "json"
    if path is not None and format_ in {None, "table"}:
        chosen = SUFFIXES.get(path.suffix.lower())
        if chosen is None or format_ == "table":
            raise click.UsageError(
                f"--format says how to write {path}: json, csv, ndjson, arrow, parquet, orc or avro"
            )
        return chosen
    if path is None and format_ in BINARY and sys.stdout.isatty():
        raise click.UsageError(f"{format_} is not for a terminal: add -o FILE, or a pipe")
    return format_ or "table"


def parameters_of(given: Sequence[str]) -> list[Any] | dict[str, Any] | None:
    """Return `name=value` as values by name, bare values as a list in order."""
    if not given:
        return None
    named = [each for each in given if named_parameter(each)]
    if not named:
        return [value_of(each) for each in given]
    if len(named) < len(given):
        raise click.UsageError("give all parameters names, or none of them")
    pairs = [each.split("=", 1) for each in given]
    return {name: value_of(value) for name, value in pairs}


def named_parameter(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and name.isidentifier()


def value_of(text: str) -> Any:
    """Return the JSON value that `text` is, or itself where it is none."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    # 1e400 and a number of 60 digits stay as they were written.
    if isinstance(value, float) and json.dumps(value) in {"Infinity", "-Infinity"}:
        return text
    return value


def pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not name or not value:
        raise click.UsageError(f"{option} is NAME=VALUE, not {text!r}")
    return name, value


def search_of(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a search and what it asks for."""
    name, equals, said = text.partition("=")
    try:
        asked = json.loads(said)
    except ValueError as error:
        asked = error
    if not equals or not name or not isinstance(asked, dict):
        shape = """NAME={"collection": "notes", "text": "ice", "k": 5}"""
        raise click.UsageError(f"--search is {shape}, not {text!r}")
    return name, asked


def show(result: Result, rows_max: int) -> None:
    """Print the rows as a table, at most `rows_max` (0: all), and how many there are."""
    columns = [(column.name, column.type) for column in result.columns]
    rows = list(islice(result, rows_max + 1)) if rows_max else result.rows
    result.close()
    shown = rows[:rows_max] if rows_max else rows
    output.show(columns, shown)
    note = output.plural(len(shown), "row")
    if len(shown) < len(rows):
        note = f"the first {note}; --rows 0 shows all, -o FILE keeps them"
    output.stderr().print(note, style="dim", soft_wrap=True)


def write_json(result: Result, out: BinaryIO) -> None:
    """Write one document with all rows, a page in memory at a time."""
    out.write(b'{"columns":' + msgspec.json.encode(result.columns) + b',"rows":[')
    count = 0
    for page in result.pages():
        for row in page.rows:
            out.write((b",\n" if count else b"\n") + row)
            count += 1
    out.write(b'\n],"row_count":%d}\n' % count)


def as_document(result: Result) -> dict[str, Any]:
    """Return all rows, in memory, as `write_json` writes them."""
    rows = result.rows
    return {"columns": result.columns, "rows": rows, "row_count": len(rows)}


def export(
    lake: Client, text: str, format_: Any, asked: Mapping[str, Any], path: Path | None
) -> None:
    with lake.export(text, format_, **asked) as pieces:
        save(pieces, path)


def save(pieces: Iterable[bytes], path: Path | None) -> int:
    """Write the pieces to a file, or to stdout, and return how many bytes they were."""
    with target(path) as out:
        if path is None:
            return copy(pieces, out, lambda done, total: None)
        with output.transfer(f"writing {path}") as advance:
            return copy(pieces, out, advance)


def copy(pieces: Iterable[bytes], out: BinaryIO, advance: Callable[[int, None], None]) -> int:
    done = 0
    for piece in pieces:
        out.write(piece)
        done += len(piece)
        advance(done, None)
    return done


@contextmanager
def target(path: Path | None) -> Iterator[BinaryIO]:
    """Open the file to write, or stdout. A file appears whole or not at all."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
