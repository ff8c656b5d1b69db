"""The commands for long work, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere


@lakehouse.group(
    epilog=after(
        "lakehouse ingest big.csv --background     begins one",
        "lakehouse jobs list",
        "lakehouse jobs wait 0199c1f2a7d3...",
    ),
)
def jobs() -> None:
    """Show, follow and cancel long work on the server."""


@jobs.command(
    "list",
    epilog=after(
        "lakehouse jobs list",
        "lakehouse jobs list --state running",
        "lakehouse jobs list --kind ingest --json",
        closing=WHERE,
    ),
)
@click.option(
    "--state",
    type=click.Choice(["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]),
    help="Only jobs in this state.",
)
@click.option("--kind", metavar="KIND", help="Only jobs of this kind: ingest.")
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Jobs to show."
)
@somewhere
@json_option
def jobs_list(**options: Any) -> None:
    """List jobs, the newest first."""
    from lakehouse.cli import jobs as it

    it.list_jobs(**options)


@jobs.command("show", epilog=after("lakehouse jobs show 0199c1f2a7d3...", closing=WHERE))
@click.argument("job_id", metavar="ID")
@somewhere
@json_option
def jobs_show(**options: Any) -> None:
    """Show a job: its state, how far it is, and what it gave."""
    from lakehouse.cli import jobs as it

    it.show(**options)


@jobs.command("cancel", epilog=after("lakehouse jobs cancel 0199c1f2a7d3...", closing=WHERE))
@click.argument("job_id", metavar="ID")
@somewhere
@json_option
def jobs_cancel(**options: Any) -> None:
    """Ask a job to stop, and wait until it has.

    What it committed by then stays; a job that has ended stays as it is.
    """
    from lakehouse.cli import jobs as it

    it.cancel(**options)


@jobs.command("wait", epilog=after("lakehouse jobs wait 0199c1f2a7d3...", closing=WHERE))
@click.argument("job_id", metavar="ID")
@somewhere
@json_option
def jobs_wait(**options: Any) -> None:
    """Follow a job with a bar until it has ended.

    Exits as the command itself would have: 0 when it succeeded, else the code of its error.
    Ctrl-C leaves the job alone.
    """
    from lakehouse.cli import jobs as it

    it.wait(**options)
