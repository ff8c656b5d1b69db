"""The commands that change rows, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, parameter_option, somewhere


@lakehouse.command(
    epilog=after(
        "lakehouse delete orders --where \"state = 'cancelled'\"",
        "lakehouse delete people --where 'email = $email' -p email=ada@example.com",
        "lakehouse delete orders --where true          every row",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option("--where", "condition", required=True, metavar="SQL", help="Which rows go.")
@parameter_option
@click.option(
    "--erase",
    is_flag=True,
    help="Also delete every file that holds such rows, with the older snapshots: no way back.",
)
@click.option(
    "--background",
    is_flag=True,
    help="Make it a job, and return at once; `lakehouse jobs wait ID` follows it.",
)
@somewhere
@json_option
def delete(**options: Any) -> None:
    """Delete rows of a table.

    The condition is one SQL expression over its columns. `lakehouse rollback` undoes it, until the
    older snapshots expire.
    """
    from lakehouse.cli import changing

    changing.delete(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse update orders --set \"state = 'sent'\" --where 'id = 7'",
        "lakehouse update items --set 'price = price * 2' --where 'city = $city' -p city=Bern",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option(
    "--set",
    "values",
    multiple=True,
    required=True,
    metavar="COLUMN=SQL",
    help="What a column becomes, from the row as it was. May be repeated.",
)
@click.option("--where", "condition", required=True, metavar="SQL", help="Which rows change.")
@parameter_option
@somewhere
@json_option
def update(**options: Any) -> None:
    """Set columns of rows of a table."""
    from lakehouse.cli import changing

    changing.update(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse properties orders                                   show them",
        "lakehouse properties orders gc.enabled=false user.owner=ada",
        "lakehouse properties orders --remove gc.enabled",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--remove", multiple=True, metavar="NAME", help="Take one away. May be repeated.")
@somewhere
@json_option
def properties(**options: Any) -> None:
    """Show or set the properties of a table: what maintenance does to it, and `user.` ones."""
    from lakehouse.cli import changing

    changing.properties(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse make cities 'SELECT city, count(*) AS orders FROM orders GROUP BY city'",
        "lakehouse make cities 'SELECT ...' --mode upsert --key city",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.argument("sql")
@click.option(
    "--mode",
    type=click.Choice(["create", "append", "overwrite", "upsert"]),
    default="create",
    help="What to do where the table exists. Default: create, which refuses.",
)
@click.option("--key", multiple=True, metavar="COLUMN", help="What upsert goes by.")
@somewhere
@json_option
def make(**options: Any) -> None:
    """Make a table from a query, or write a query's rows into one."""
    from lakehouse.cli import changing

    changing.make(**options)
