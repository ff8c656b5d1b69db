"""`lakehouse schema`: what columns a table has, and their evolution, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere

first_option = click.option("--first", is_flag=True, help="Put it before all others.")
after_option = click.option("--after", metavar="COLUMN", help="Put it after this one.")


@lakehouse.group(
    epilog=after(
        "lakehouse schema show orders",
        "lakehouse schema add orders note string",
        "lakehouse schema rename orders address.zip code",
    ),
)
def schema() -> None:
    """Show the columns of a table, add, widen, rename, drop and move them.

    No file is rewritten, and snapshots keep the columns that they had. A name leads into a column:
    `address.zip`, `tags.element`, `scores.value`.
    """


@schema.command("show", epilog=after("lakehouse schema show orders --json", closing=WHERE))
@click.argument("table")
@somewhere
@json_option
def schema_show(**options: Any) -> None:
    """Show the columns with their field ids; with --json also all earlier schemas."""
    from lakehouse.cli import schema as it

    it.show(**options)


@schema.command("add", epilog=after("lakehouse schema add orders note string", closing=WHERE))
@click.argument("table")
@click.argument("name")
@click.argument("type")
@first_option
@after_option
@somewhere
@json_option
def schema_add(**options: Any) -> None:
    """Add a column, or a field of a struct. It is null in the rows that are there."""
    from lakehouse.cli import schema as it

    it.change("add", **options)


@schema.command(
    "widen", epilog=after('lakehouse schema widen orders price "decimal(18,2)"', closing=WHERE)
)
@click.argument("table")
@click.argument("name")
@click.argument("type")
@somewhere
@json_option
def schema_widen(**options: Any) -> None:
    """Give a column a wider type: int to long, float to double, a decimal more digits."""
    from lakehouse.cli import schema as it

    it.change("widen", **options)


@schema.command("rename", epilog=after("lakehouse schema rename orders zip code", closing=WHERE))
@click.argument("table")
@click.argument("name")
@click.argument("to")
@somewhere
@json_option
def schema_rename(**options: Any) -> None:
    """Give a column another name."""
    from lakehouse.cli import schema as it

    it.change("rename", **options)


@schema.command("drop", epilog=after("lakehouse schema drop orders note", closing=WHERE))
@click.argument("table")
@click.argument("name")
@somewhere
@json_option
def schema_drop(**options: Any) -> None:
    """Take a column out. A new one of that name begins empty."""
    from lakehouse.cli import schema as it

    it.change("drop", **options)


@schema.command("move", epilog=after("lakehouse schema move orders note --first", closing=WHERE))
@click.argument("table")
@click.argument("name")
@first_option
@after_option
@somewhere
@json_option
def schema_move(**options: Any) -> None:
    """Put a column first, or after another one."""
    from lakehouse.cli import schema as it

    it.change("move", **options)
