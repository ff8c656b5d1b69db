"""What goes to the terminal: tables in colour, plain text into pipes, JSON for machines."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from lakehouse.names import TableName

PIPE_WIDTH = 10_000
"""Columns where nobody looks: lines into a file are never cut."""
CELL_MAX_CHARS = 200
NARROW = 8
"""What a column keeps at least; columns that then do not fit are left out, and named."""
BETWEEN = 3
"""What a border and its spaces take."""

NUMERIC = {
    "int", "long", "float", "double", "decimal",
    "tinyint", "smallint", "integer", "bigint", "hugeint", "real",
    "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint",
}  # fmt: skip


def stdout() -> Console:
    return console(stderr=False)


def stderr() -> Console:
    return console(stderr=True)


def console(*, stderr: bool) -> Console:
    """Return a console that obeys NO_COLOR, FORCE_COLOR and COLUMNS."""
    made = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
        made.soft_wrap = True
    return made


def emit(value: Any) -> None:
    """Write the one JSON document of a command that was asked for `--json`."""
    document = msgspec.json.encode(value)
    if sys.stdout.isatty():
        document = msgspec.json.format(document, indent=2)
    sys.stdout.buffer.write(document + b"\n")
    sys.stdout.buffer.flush()


class Named(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...


def named(found: Named) -> str:
    """Return the name of a table as commands take it."""
    return str(TableName(found.namespace, found.name))


def visible(text: str) -> str:
    """Return `text` with control characters spelled out: data must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else escaped(char) for char in text)


def escaped(char: str) -> str:
    return {"\n": "⏎", "\t": "⇥", "\r": "␍"}.get(char) or char.encode(
        "unicode_escape", "backslashreplace"
    ).decode()


def cell(value: Any) -> Text:
    """Return a value as a cell shows it: NULL is dim, so it is not mistaken for a text."""
    if value is None:
        return Text("NULL", style="dim italic")
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float):
        text = msgspec.json.encode(value).decode()
    elif isinstance(value, datetime):
        text = moment(value)
    else:
        text = msgspec.json.encode(value).decode()
    shown = visible(text[: CELL_MAX_CHARS + 1])
    if len(text) > CELL_MAX_CHARS:
        shown = shown[:CELL_MAX_CHARS] + "…"
    return Text(shown, overflow="ellipsis")


def grid(
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    width: int | None = None,
) -> Table:
    """Return rows as a table.

    Args:
        columns: name and type; numbers go to the right.
        rows: a value for each column.
        title: above it.
        width: columns of the terminal. The widest cells are shortened until the table fits; where
            that is not enough, the last columns are left out, and named.
    """
    cells = [[cell(value) for value in row] for row in rows]
    heads = [Text(visible(name), overflow="ellipsis") for name, _ in columns]
    natural = [
        max([head.cell_len, *(row[number].cell_len for row in cells)])
        for number, head in enumerate(heads)
    ]
    widths = fitted(natural, width) if width else natural
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        header_style="bold cyan",
        box=box.ROUNDED if width else box.MARKDOWN,
        border_style="dim" if width else "",
    )
    for head, (_, type_), column_width in zip(heads, columns, widths, strict=False):
        number = type_.partition("(")[0].lower() in NUMERIC
        table.add_column(
            head, justify="right" if number else "left", no_wrap=True, width=column_width
        )
    for row in cells:
        table.add_row(*row[: len(widths)])
    if left_out := [visible(name) for name, _ in columns[len(widths) :]]:
        names = ", ".join(left_out[:8]) + (", …" if len(left_out) > 8 else "")
        table.caption = f"{plural(len(left_out), 'more column')} left out: {names}"
    return table


def fitted(natural: Sequence[int], width: int) -> list[int]:
    """Return the widths that the first columns get in a terminal of `width`; at least one."""
    for count in range(min(len(natural), width // (BETWEEN + 1)), 0, -1):
        room = width - 1 - BETWEEN * count
        for cap in range(max(NARROW, *natural[:count]), NARROW - 1, -1):
            widths = [min(each, cap) for each in natural[:count]]
            if sum(widths) <= room:
                return widths
    return [max(width - 1 - BETWEEN, 1)]


def show(
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[Any]],
    title: str | None = None,
    on: Console | None = None,
) -> None:
    """Print rows as a table, fitted to the terminal; in full width into a pipe."""
    target = on or stdout()
    if target.is_terminal:
        target.print(grid(columns, rows, title=title, width=target.width), soft_wrap=False)
        return
    with target.capture() as captured:
        target.print(grid(columns, rows, title=title), soft_wrap=False)
    lines = (line.rstrip() for line in captured.get().splitlines())
    target.file.write("".join(f"{line}\n" for line in lines if line))


def facts(pairs: Sequence[tuple[str, Any]]) -> None:
    """Print names and values, one pair a line."""
    target = stdout()
    longest = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        target.print(Text.assemble((f"{name:<{longest}}  ", "cyan"), cell(value)))


def size(count: int | None) -> str:
    return "" if count is None else decimal(count)


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(" ", "seconds").replace("+00:00", "Z")


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@contextmanager
def transfer(label: str, *, then: str | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar of bytes, with their rate, on a terminal; nothing elsewhere.

    Yields a function that takes the bytes done so far and the bytes there are, where known. When
    all are done, a spinner with `then` takes the place of the bar.
    """
    target = stderr()
    if not target.is_terminal:
        yield lambda done, total: None
        return
    # 60 ms that small commands do without.
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    bar = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30))
    rate = (DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    progress = Progress(*bar, *rate, console=target, transient=True)
    waiting = target.status(f"{label}: {then}")
    task = progress.add_task(label, total=None)

    def advance(done: int, total: int | None) -> None:
        progress.update(task, completed=done, total=total)
        if then is not None and done == total:
            progress.stop()
            waiting.start()
        elif not progress.live.is_started:  # the file is sent a second time
            waiting.stop()
            progress.start()

    try:
        progress.start()
        yield advance
    finally:
        waiting.stop()
        progress.stop()
