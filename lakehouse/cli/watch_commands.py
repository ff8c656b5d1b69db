"""The command for a directory that is watched, with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import (
    DIRECTORY,
    WHERE,
    after,
    json_option,
    key_option,
    reading_options,
    somewhere,
)


@lakehouse.command(
    epilog=after(
        "lakehouse watch ./inbox --table orders",
        "lakehouse watch ./inbox --table sales.orders --pattern '*.csv' --evolve",
        "lakehouse watch ./inbox --table orders --mode upsert --key id",
        "lakehouse watch ./inbox --table orders --once   for cron",
        closing=WHERE,
    ),
)
@click.argument("path", type=DIRECTORY, metavar="DIRECTORY")
@click.option("--table", required=True, help="`name` or `namespace.name`; made if not there.")
@click.option(
    "--pattern", default="*", show_default=True, metavar="GLOB", help="Names of files to load."
)
@click.option("--once", is_flag=True, help="Load what is there now, and end.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long size and time of a file must stay the same: it is being written until then.",
)
@click.option(
    "--mode",
    type=click.Choice(["append", "upsert", "delete"]),
    default="append",
    show_default=True,
    help="What the rows of a file do to the table.",
)
@key_option
@click.option(
    "--on-error",
    type=click.Choice(["fail", "reject"]),
    help="Of a file with bad rows: set it aside (default), or load the good ones.",
)
@reading_options
@somewhere
@json_option
def watch(**options: Any) -> None:
    """Load each file that comes into DIRECTORY, once.

    A file whose content was loaded under its name is not loaded again, whatever ends this command
    or the server in between. One that cannot be loaded is moved to .lakehouse/TABLE/failed in
    DIRECTORY, with the reason beside it, and the watch goes on. Names that begin with a dot or an
    underscore, or end as unfinished downloads do, are passed over; folders are looked into.
    """
    from lakehouse.cli import watching

    watching.watch(**options)
