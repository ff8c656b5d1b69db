"""The commands that go back: to dropped tables and to earlier snapshots, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, output_option, rows_option, somewhere


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


@lakehouse.command(
    epilog=after(
        "lakehouse rollback orders 4719273645120034",
        "lakehouse rollback orders month-end",
        "lakehouse rollback orders 2026-01-31T12:00:00Z",
        "lakehouse history orders          where it can go",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.argument("to")
@somewhere
@json_option
def rollback(**options: Any) -> None:
    """Make a table what it was.

    TO is a snapshot id, a tag or a time. Nothing is deleted: a rollback to what came after undoes
    this one, until that expires.
    """
    from lakehouse.cli import past

    past.rollback(**options)


at_option = click.option(
    "--at",
    metavar="WHEN",
    help="A snapshot id, a time, or another tag or branch. Default: the table as it is now.",
)
delete_option = click.option("--delete", "delete_it", is_flag=True, help="Remove it.")
keep_option = click.option(
    "--keep-days",
    type=click.FloatRange(0, min_open=True),
    metavar="DAYS",
    help="How long it is kept. Default: until it is removed.",
)


@lakehouse.command(
    epilog=after(
        "lakehouse tag orders                          list tags and branches",
        "lakehouse tag orders month-end",
        "lakehouse tag orders before-import --at 2026-01-31T12:00:00Z --keep-days 30",
        "lakehouse tag orders month-end --delete",
        'lakehouse sql "FROM orders" --as-of orders=month-end',
        closing=WHERE,
    ),
)
@click.argument("table")
@click.argument("name", required=False)
@at_option
@click.option("--move", is_flag=True, help="Move a tag that is there.")
@keep_option
@delete_option
@somewhere
@json_option
def tag(**options: Any) -> None:
    """Name a snapshot of a table; it is kept for as long as it has a name."""
    from lakehouse.cli import past

    past.name_snapshot("tag", **options)


@lakehouse.command(
    epilog=after(
        "lakehouse branch orders audit                 begin one at what the table is now",
        "lakehouse branch orders audit --at month-end",
        "lakehouse branch orders main --at audit       the table goes forward to the branch",
        "lakehouse branch orders audit --delete",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.argument("name", required=False)
@at_option
@keep_option
@delete_option
@somewhere
@json_option
def branch(**options: Any) -> None:
    """Name a line of snapshots of a table, for engines that write to branches."""
    from lakehouse.cli import past

    past.name_snapshot("branch", move=False, **options)


@lakehouse.command(
    epilog=after(
        "lakehouse diff orders                          what the last commit changed",
        "lakehouse diff orders month-end --rows 20      since a tag",
        "lakehouse diff orders 2026-01-01 2026-02-01 --json",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.argument("before", required=False, metavar="[FROM]")
@click.argument("to", required=False, metavar="[TO]")
@click.option(
    "--rows", "rows_max", type=click.IntRange(1), metavar="N", help="Show this many of them."
)
@somewhere
@json_option
def diff(**options: Any) -> None:
    """Show how many rows differ between two snapshots of a table, and which.

    FROM and TO are snapshot ids, tags, branches or times; left out they are the last snapshot but
    one, and the table as it is now.
    """
    from lakehouse.cli import past

    past.diff(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse changes orders --since month-end",
        "lakehouse changes orders --since 2026-01-31T12:00:00Z --rows 0",
        "lakehouse changes orders --since 4719273645120034 --json   with where to go on",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option(
    "--since", metavar="WHEN", help="A snapshot id, a tag or a time. Default: the beginning."
)
@click.option("--until", metavar="WHEN", help="The last snapshot. Default: the current one.")
@rows_option
@somewhere
@json_option
def changes(**options: Any) -> None:
    """Show the rows that were added and deleted, snapshot by snapshot."""
    from lakehouse.cli import past

    past.changes(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse export orders > orders.csv",
        "lakehouse export orders -o orders.parquet",
        "lakehouse export orders --as-of month-end -o orders.ndjson",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "ndjson", "json", "arrow", "parquet", "orc", "avro"]),
    help="Default: csv, or what the name of the output file says.",
)
@click.option("--as-of", metavar="WHEN", help="A snapshot id, a tag, a branch, or a time.")
@output_option
@somewhere
@json_option
def export(**options: Any) -> None:
    """Write a whole table as a file: CSV, NDJSON, JSON, Arrow, Parquet, ORC or Avro."""
    from lakehouse.cli import past

    past.export(**options)
