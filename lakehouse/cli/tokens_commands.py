"""The commands for tokens, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere


@lakehouse.group(
    epilog=after(
        "lakehouse token create ops --role admin",
        "lakehouse token create etl --role writer --on sales",
        "lakehouse token list",
    ),
)
def token() -> None:
    """Say who may do what: tokens, and what they were granted.

    With the first token the server asks everybody for one, but for the owner of the data
    directory on its own machine.
    """


@token.command(
    "create",
    epilog=after(
        "lakehouse token create ops --role admin",
        "lakehouse token create etl --role writer --on sales --on raw.events",
        "lakehouse token create report --on sales --expires 90d --from 10.0.0.0/8",
        "lakehouse token create both --grant writer:sales --grant reader:*",
        closing=WHERE,
    ),
)
@click.argument("name", metavar="NAME")
@click.option(
    "--role",
    type=click.Choice(["reader", "writer", "admin"]),
    default="reader",
    show_default=True,
    help="What it may do to all that --on names.",
)
@click.option(
    "--on",
    multiple=True,
    metavar="WHAT",
    help="A namespace, a namespace.table, or objects: and the beginning of keys. Default: all.",
)
@click.option(
    "--grant",
    "more",
    multiple=True,
    metavar="ROLE:WHAT",
    help="Another role on something else. Alone it stands for --role and --on.",
)
@click.option("--expires", metavar="WHEN", help="After 12h or 90d, or on a date. Default: never.")
@click.option(
    "--from",
    "addresses",
    multiple=True,
    metavar="NETWORK",
    help="Where it may be used: 10.0.0.0/8. Default: everywhere.",
)
@click.option(
    "--per-minute", type=click.IntRange(1), metavar="N", help="Requests a minute. Default: no end."
)
@click.option("--at-once", type=click.IntRange(1), metavar="N", help="Requests at once, and jobs.")
@click.option("--per-day", type=click.IntRange(1), metavar="N", help="Requests a day, in UTC.")
@click.option("--rows-per-day", type=click.IntRange(1), metavar="N", help="Rows a day, in UTC.")
@click.option(
    "--texts-per-day", type=click.IntRange(1), metavar="N", help="Texts embedded a day, in UTC."
)
@somewhere
@json_option
def token_create(**options: Any) -> None:
    """Create a token and show its secret, this once."""
    from lakehouse.cli import tokens as it

    it.create(**options)


@token.command("list", epilog=after("lakehouse token list", closing=WHERE))
@somewhere
@json_option
def token_list(**options: Any) -> None:
    """List tokens, those that ended too. Nobody can show their secrets."""
    from lakehouse.cli import tokens as it

    it.list_tokens(**options)


@token.command("rotate", epilog=after("lakehouse token rotate etl --overlap 1d", closing=WHERE))
@click.argument("name", metavar="NAME")
@click.option(
    "--overlap",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How long the secret before stays valid: 0, 10m, 1h, 7d.",
)
@somewhere
@json_option
def token_rotate(**options: Any) -> None:
    """Give a token a new secret; both are valid for a while, so nothing stops."""
    from lakehouse.cli import tokens as it

    it.rotate(**options)


@token.command("revoke", epilog=after("lakehouse token revoke etl", closing=WHERE))
@click.argument("name", metavar="NAME")
@somewhere
@json_option
def token_revoke(**options: Any) -> None:
    """End a token, by name or id. What it has under way stops within a second."""
    from lakehouse.cli import tokens as it

    it.revoke(**options)
