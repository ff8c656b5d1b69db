"""The commands for maintenance, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere


@lakehouse.group(
    epilog=after("lakehouse maintenance status", "lakehouse maintenance run --dry-run"),
)
def maintenance() -> None:
    """Look at what keeps tables fast and small, or have it done now.

    The server does it by itself.
    """


@maintenance.command(
    "status",
    epilog=after(
        "lakehouse maintenance status",
        "lakehouse maintenance status orders --json",
        closing=WHERE,
    ),
)
@click.argument("table", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Runs to show."
)
@somewhere
@json_option
def maintenance_status(**options: Any) -> None:
    """Show what was done, or could not be and why, the newest first."""
    from lakehouse.cli import maintenance as it

    it.status(**options)


@maintenance.command(
    "run",
    epilog=after(
        "lakehouse maintenance run --dry-run",
        "lakehouse maintenance run orders",
        closing=WHERE,
    ),
)
@click.argument("table", required=False)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@somewhere
@json_option
def maintenance_run(**options: Any) -> None:
    """Do all that is worth it now: to TABLE, or to all, dropped ones and orphans too."""
    from lakehouse.cli import maintenance as it

    it.run(**options)
