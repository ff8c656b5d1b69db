"""The commands that go back: to dropped tables and to earlier snapshots, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere


@lakehouse.command(
    epilog=after(
        "lakehouse drop orders",
        "lakehouse drop sales.orders --purge --yes",
        "lakehouse drop orders --purge --uuid 5b0e7c1e-...   one of those dropped earlier",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option("--purge", is_flag=True, help="Delete the files too, now: there is no way back.")
@click.option(
    "--uuid", metavar="UUID", help="With --purge: which one; see `lakehouse tables --dropped`."
)
@click.option("--yes", is_flag=True, help="Do not ask before a purge.")
@somewhere
@json_option
def drop(**options: Any) -> None:
    """Take a table out of the catalog.

    `lakehouse undrop` brings it back until it is purged.
    """
    from lakehouse.cli import past

    past.drop(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse undrop orders",
        "lakehouse undrop orders --as orders_before",
        "lakehouse tables --dropped          what can come back",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option("--uuid", metavar="UUID", help="Which one, of several of that name.")
@click.option("--as", "to", metavar="NAME", help="The name it gets. Default: the old one.")
@somewhere
@json_option
def undrop(**options: Any) -> None:
    """Bring a dropped table back, as it was."""
    from lakehouse.cli import past

    past.undrop(**options)
