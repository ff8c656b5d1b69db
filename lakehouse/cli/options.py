"""What the commands share: options, the layout of their help, and their last resort."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from rich.text import Text

from lakehouse.cli import exits

C = TypeVar("C", bound=Callable[..., Any])

DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

WHERE = (
    "[b]Which lakehouse:[/b] the server at --url, or at $LAKEHOUSE_URL, or at the server.host and "
    "server.port of the configuration; with --data DIR none is needed: the server that holds the "
    "directory is asked by its socket, and without one this command opens it alone. "
    "$LAKEHOUSE_TOKEN is sent where a server asks for a token."
)

parameter_option = click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value for $NAME; for ? just VALUE, in order. Numbers, true, false and null are what "
    'they look like, all else is a text; so is "5" in double quotes. May be repeated.',
)
output_option = click.option(
    "-o", "--output", "path", type=FILE, metavar="FILE", help="Write the rows to this file."
)
rows_option = click.option(
    "--rows",
    "rows_max",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    metavar="N",
    help="Rows that are shown; 0 is all of them.",
)


key_option = click.option(
    "--key", multiple=True, metavar="COLUMN", help="What upsert and delete go by. May be repeated."
)
READING = (
    click.option(
        "--evolve",
        is_flag=True,
        help="Add columns that the table lacks, leave null what the file lacks, and widen types "
        "where Iceberg allows it. Not with --mode upsert and delete.",
    ),
    click.option(
        "--types",
        multiple=True,
        metavar="COLUMN=TYPE",
        help="The type of a column, instead of the inferred one. May be repeated.",
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(
            ["csv", "tsv", "ndjson", "json", "parquet", "arrow", "orc", "avro", "xlsx"]
        ),
        help="Of the file, where its name does not say.",
    ),
    click.option(
        "--delimiter",
        help="Of CSV, where it is neither comma, semicolon, tab nor bar: 1 to 4 bytes.",
    ),
    click.option(
        "--widths",
        metavar="NAME:N,..",
        help="Of a text without a delimiter: the characters of each column, as id:8,city:20; "
        "without names where the first line has them.",
    ),
    click.option(
        "--sheet", metavar="NAME", help="Of a workbook: its name or number, else the first."
    ),
    click.option(
        "--header-row",
        type=click.IntRange(1),
        metavar="N",
        help="Of a workbook: the row of the names, else the first that is not empty.",
    ),
    click.option("--encoding", help="Of text that is not UTF-8: latin-1, cp1252, utf-16."),
)
"""How a file is read, in the order that the help shows them."""


def reading_options(command: C) -> C:
    """Add the options that say how a file is read; `loading.reading` makes arguments of them."""
    for option in reversed(READING):
        command = option(command)
    return command


class Guarded(click.RichGroup):
    """A group whose commands end with a line and an exit code, not with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        return exits.guarded(ctx, lambda: super(Guarded, self).invoke(ctx))


def after(*examples: str, closing: str | None = None) -> Any:
    """Return the end of a command's help: examples, one a line, and what else there is to know.

    Of an example, what follows three spaces is a remark. Typed as click wants a text; rich-click
    prints a `Text` as it is, where it would fold the lines of a string.
    """
    text = Text()
    text.append("Examples\n", style="bold")
    for example in examples:
        command, gap, remark = example.partition("   ")
        text.append(f"  {command}", style="cyan")
        text.append(f"{gap}{remark}\n", style="dim")
    if closing:
        text.append("\n")
        text.append_text(Text.from_markup(closing))
    text.rstrip()
    return text


def remember_json(context: click.Context, _: click.Parameter, value: bool) -> bool:
    context.meta[exits.JSON] = value
    return value


def remember_url(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    context.meta[exits.TAKES_URL] = True
    return value


def json_option(command: C) -> C:
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,
        callback=remember_json,
        help="One JSON document on stdout, errors too; nothing else goes there.",
    )(command)


def config_option(command: C) -> C:
    return click.option(
        "--config",
        "config_file",
        type=FILE,
        metavar="FILE",
        help="A lakehouse.toml. Variables LAKEHOUSE_<SECTION>__<KEY> go before it.",
    )(command)


def somewhere(command: C) -> C:
    """Add the options that say which lakehouse is meant."""
    command = config_option(command)
    command = click.option(
        "--data",
        "data_dir",
        type=DIRECTORY,
        metavar="DIR",
        help="Work on this data directory: by the server that holds it, else without one.",
    )(command)
    return click.option(
        "--url",
        envvar="LAKEHOUSE_URL",
        show_envvar=True,
        metavar="URL",
        callback=remember_url,
        help="The server, such as http://127.0.0.1:3110.",
    )(command)
