"""`watch`: the files that come into a directory become rows, each of them once."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import rich_click as click
from rich.text import Text

from lakehouse.cli import exits, output
from lakehouse.cli.loading import make_namespaces, reading, tell
from lakehouse.cli.watched import Directory, Stillness, Waiting, mark_of, sha256_of
from lakehouse.cli.where import connected
from lakehouse.client import Client
from lakehouse.errors import (
    BusyError,
    InsufficientStorageError,
    InvalidInputError,
    LakehouseError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UpstreamError,
)
from lakehouse.names import parse_table_name

PAUSE_MAX_S = 30.0
PASSING = (
    *(UnavailableError, BusyError, InsufficientStorageError),
    *(UpstreamError, OutcomeUnknownError),
)
"""No fault of the file: what is sent again under the same key has one effect."""
HOPELESS = (UnauthenticatedError, PermissionDeniedError, NotFoundError)
"""The next file would meet the same."""


class FilesSetAsideError(InvalidInputError):
    def __init__(self, count: int, place: Path) -> None:
        super().__init__(f"{output.plural(count, 'file')} set aside, with the reasons, in {place}")


@dataclass
class Watch:
    """What one run of the command does, and what it did."""

    directory: Directory
    options: Mapping[str, Any]
    quiet: bool
    loaded: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def load(self, lake: Client, file: Waiting) -> None:
        """Load one file, or set it aside.

        Raises:
            LakehouseError: neither, for a reason that is not the file's; it stays where it is.
        """
        try:
            with self.directory.opened(file) as opened:
                sha256 = sha256_of(opened)
                if self.directory.is_known(file, sha256):
                    self.directory.loaded(file, sha256, 0)
                    return
                self._send(lake, file, opened, sha256)
        except FileNotFoundError:
            return  # taken away since, or another is there
        except HOPELESS:
            raise
        except LakehouseError as error:
            if is_passing(error):
                raise
            self._set_aside(file, exits.document(error)["error"])
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "its name is not UTF-8"
            self._set_aside(file, {"type": "unreadable-file", "detail": reason})

    def _send(self, lake: Client, file: Waiting, opened: BinaryIO, sha256: str) -> None:
        name, key = file.name, self.directory.key(file, sha256)
        label = f"{name} → {self.directory.table}"
        # A bar goes to stderr and only on a terminal, so it stands beside --json too.
        with output.transfer(label, then="the server commits") as progress:
            report = lake.ingest(
                opened,
                self.directory.table,
                idempotency_key=key,
                progress=progress,
                **self.options,
            )
        if mark_of(os.fstat(opened.fileno())) != file.mark:
            say(f"{name} changed while it was loaded; it is looked at again", "yellow")
        self.directory.loaded(file, sha256, report.added_rows)
        self.loaded.append({"file": name, "report": report})
        if not self.quiet:
            output.stdout().print(Text(f"{output.visible(name)}: ", "dim"), end="")
            tell(report)

    def _set_aside(self, file: Waiting, reason: dict[str, object]) -> None:
        target = self.directory.set_aside(file, {"file": file.name, **reason})
        self.failed.append({"file": file.name, "now": str(target), **reason})
        if not self.quiet:
            say(f"{file.name} is set aside: {reason['detail']}", "red")


def is_passing(error: LakehouseError) -> bool:
    """Whether the same file may be loaded by the same request later."""
    problem = getattr(error, "problem", None)
    return isinstance(error, PASSING) or bool(problem is not None and problem.retryable)


def watch(
    path: Path,
    table: str,
    pattern: str,
    once: bool,
    interval_s: float,
    settle_s: float,
    key: tuple[str, ...],
    as_json: bool,
    mode: str,
    on_error: str | None,
    **others: Any,
) -> None:
    if as_json and not once:
        raise click.UsageError("--json goes with --once: a watch has no end to tell of")
    parse_table_name(table)  # else each file would be set aside for it
    read_as, where = reading(others)
    options = {**read_as, "mode": mode, "key": list(key), "on_error": on_error}
    with Directory.hold(path, table, pattern) as directory:
        it = Watch(directory, options, quiet=as_json)
        if once:
            left = connected(lambda lake: look_once(lake, it, settle_s), **where, make=True)
            if as_json:
                output.emit({"loaded": it.loaded, "failed": it.failed, "left": left})
        else:
            connected(lambda lake: keep(lake, it, interval_s, settle_s), **where, make=True)
        if it.failed and as_json:
            sys.exit(exits.REFUSED)  # the document has all of them
        if it.failed:
            raise FilesSetAsideError(len(it.failed), directory.failed)


def look_once(lake: Client, it: Watch, settle_s: float) -> list[str]:
    """Load what is there and does not change; return the names of what does."""
    still, directory = Stillness(settle_s), it.directory
    found = directory.waiting()
    still.of(found)
    if not found:
        return []
    time.sleep(settle_s)
    make_namespaces(lake, [directory.table])
    waiting = directory.waiting()
    ready = still.of(waiting)
    for file in ready:
        it.load(lake, file)
    left = [each.name for each in waiting if each not in ready]
    if left and not it.quiet:
        say(
            f"{output.plural(len(left), 'file')} still being written, left for the next time", "dim"
        )
    return left


def keep(lake: Client, it: Watch, interval_s: float, settle_s: float) -> None:
    """Load what comes until somebody ends the process. Killed at any point, it goes on there."""
    still, pause_s, namespaces_made = Stillness(settle_s), 0.0, False
    say(f"watching {it.directory.path}; Ctrl-C ends it", "dim")
    while True:
        try:
            if not namespaces_made:
                make_namespaces(lake, [it.directory.table])
                namespaces_made = True
            for file in still.of(it.directory.waiting()):
                it.load(lake, file)
            pause_s = 0.0
        except HOPELESS:
            raise
        except LakehouseError as error:
            if not is_passing(error):
                raise
            if not pause_s:
                say(f"{exits.detail_of(error)}; it is tried again", "yellow")
            pause_s = min(max(2 * pause_s, 1.0), PAUSE_MAX_S)
        time.sleep(max(interval_s, pause_s))


def say(words: str, style: str) -> None:
    output.stderr().print(output.visible(words), style=style, markup=False, soft_wrap=True)
