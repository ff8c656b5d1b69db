"""The commands for statements that run, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere


@lakehouse.group(epilog=after("lakehouse queries list", "lakehouse queries kill 4f1c..."))
def queries() -> None:
    """Show and stop the statements that run on the server."""


@queries.command("list", epilog=after("lakehouse queries list --json", closing=WHERE))
@somewhere
@json_option
def queries_list(**options: Any) -> None:
    """List your statements; as an admin, or the owner of the data directory, everybody's."""
    from lakehouse.cli import queries as it

    it.list_queries(**options)


@queries.command("kill", epilog=after("lakehouse queries kill 4f1c...", closing=WHERE))
@click.argument("query_id", metavar="ID")
@somewhere
@json_option
def queries_kill(**options: Any) -> None:
    """Stop a statement, and wait until its thread has come back."""
    from lakehouse.cli import queries as it

    it.kill(**options)
