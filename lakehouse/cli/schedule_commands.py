"""The commands for schedules, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import FILE, WHERE, after, json_option, somewhere


@lakehouse.group(
    epilog=after(
        "lakehouse schedule create hourly '0 * * * *' orders --source s3://exports/orders",
        "lakehouse schedule list",
        "lakehouse schedule show hourly",
    ),
)
def schedule() -> None:
    """Have the server load sources and run queries by itself.

    Runs are jobs of the token that made the schedule; each leaves a row.
    """


@schedule.command(
    "create",
    epilog=after(
        "lakehouse schedule create hourly '0 * * * *' orders --source s3://exports/orders",
        "lakehouse schedule create inbox '*/5 * * * *' arrivals --source object:inbox/",
        "lakehouse schedule create daily '0 3 * * *' totals --file totals.sql",
        closing=WHERE,
    ),
)
@click.argument("name")
@click.argument("cron")
@click.argument("table")
@click.option(
    "--source", metavar="SOURCE", help="What to load: object:PREFIX/ or s3://bucket/prefix."
)
@click.option("--sql", metavar="SQL", help="One SELECT whose rows are written.")
@click.option("-f", "--file", "file", type=FILE, metavar="FILE", help="A file with the SELECT.")
@click.option(
    "--mode",
    type=click.Choice(["append", "overwrite", "upsert", "delete"]),
    help="What the rows do to the table. Default: those of a source are appended, each object "
    "once; those of a query replace what is there.",
)
@click.option(
    "--key", multiple=True, metavar="COLUMN", help="What upsert and delete go by. May be repeated."
)
@click.option(
    "--option",
    multiple=True,
    metavar="NAME=VALUE",
    help="How a source is read, by the names of POST /v1/ingest: evolve=true, format=csv, "
    "types=zip:string. May be repeated.",
)
@somewhere
@json_option
def schedule_create(**options: Any) -> None:
    """Keep a schedule: five CRON words in UTC, and what goes into TABLE.

    Minute, hour, day of the month, month, day of the week. A run that was missed while the server
    was away comes once when it is back; there are never two of one schedule at a time.
    """
    from lakehouse.cli import schedules as it

    it.create(**options)


@schedule.command(
    "list",
    epilog=after("lakehouse schedule list", "lakehouse schedule list --json", closing=WHERE),
)
@somewhere
@json_option
def schedule_list(**options: Any) -> None:
    """List schedules: when each runs next, and how it went last."""
    from lakehouse.cli import schedules as it

    it.list_schedules(**options)


@schedule.command("show", epilog=after("lakehouse schedule show hourly --limit 5", closing=WHERE))
@click.argument("name")
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Runs to show."
)
@somewhere
@json_option
def schedule_show(**options: Any) -> None:
    """Show a schedule and its runs, the newest first."""
    from lakehouse.cli import schedules as it

    it.show(**options)


@schedule.command("run", epilog=after("lakehouse schedule run hourly", closing=WHERE))
@click.argument("name")
@somewhere
@json_option
def schedule_run(**options: Any) -> None:
    """Begin a run now; `lakehouse jobs wait ID` follows it."""
    from lakehouse.cli import schedules as it

    it.run(**options)


@schedule.command("pause", epilog=after("lakehouse schedule pause hourly", closing=WHERE))
@click.argument("name")
@somewhere
@json_option
def schedule_pause(**options: Any) -> None:
    """Let it not run by itself until it is resumed."""
    from lakehouse.cli import schedules as it

    it.pause(**options)


@schedule.command("resume", epilog=after("lakehouse schedule resume hourly", closing=WHERE))
@click.argument("name")
@somewhere
@json_option
def schedule_resume(**options: Any) -> None:
    """Let it run again, from its next time on."""
    from lakehouse.cli import schedules as it

    it.resume(**options)


@schedule.command("delete", epilog=after("lakehouse schedule delete hourly", closing=WHERE))
@click.argument("name")
@somewhere
@json_option
def schedule_delete(**options: Any) -> None:
    """Forget a schedule and its runs; its tables stay."""
    from lakehouse.cli import schedules as it

    it.delete(**options)
