"""`adopt`: one request, and a line that says what the table has now."""

from collections.abc import Sequence
from typing import Any

import rich_click as click
from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli.where import connected


def adopt(
    table: str,
    files: Sequence[str],
    prefix: str | None,
    metadata: str | None,
    as_json: bool,
    **where: Any,
) -> None:
    if sum(map(bool, (files, prefix, metadata))) != 1:
        raise click.UsageError("say one of --files, --prefix and --metadata")

    found = connected(
        lambda lake: lake.adopt(table, files=files, prefix=prefix, metadata=metadata), **where
    )
    if as_json:
        output.emit(found)
        return
    line = Text(output.visible(output.named(found)), style="bold green")
    rows, count = output.plural(found.row_count, "row"), output.plural(found.file_count, "file")
    line.append(f" has {rows} in {count}", "default")
    output.stdout().print(line, soft_wrap=True)
