"""Every command with its help. What they do lies in the modules beside this one.

Those are imported within the commands: `lakehouse --help` answers in 0.2 s, and httpx alone would
add 0.2 s to it, the server's own modules 1 s.
"""

import sys
from typing import Any

import rich_click as click

from lakehouse import __version__
from lakehouse.cli import exits
from lakehouse.cli.options import (
    DIRECTORY,
    FILE,
    WHERE,
    Guarded,
    after,
    config_option,
    json_option,
    key_option,
    output_option,
    parameter_option,
    reading_options,
    rows_option,
    somewhere,
)

click.rich_click.TEXT_MARKUP = "rich"
click.rich_click.COMMAND_GROUPS = {
    "*lakehouse": [
        {
            "name": "Run it",
            "commands": [
                "serve",
                "demo",
                "doctor",
                "config",
                "token",
                "maintenance",
                "schedule",
            ],
        },
        {
            "name": "Use it",
            "commands": [
                "ingest",
                "watch",
                "adopt",
                "connect",
                "sql",
                "tables",
                "describe",
                "export",
                "embed",
                "vectors",
                "jobs",
                "queries",
            ],
        },
        {"name": "Change it", "commands": ["update", "delete", "make", "schema", "properties"]},
        {"name": "See its past", "commands": ["history", "diff", "changes"]},
        {"name": "Undo it", "commands": ["rollback", "tag", "branch", "drop", "undrop"]},
        {"name": "Get it back", "commands": ["backup", "restore", "catalog"]},
    ]
}


@click.group(
    "lakehouse",
    cls=Guarded,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=after(
        "lakehouse demo                                     see it work, on data of its own",
        "lakehouse serve                                    run it, on ./lakehouse-data",
        "lakehouse ingest orders.csv                        load a file as the table orders",
        'lakehouse sql "SELECT count(*) FROM orders"        ask',
        closing=exits.HELP,
    ),
)
@click.version_option(__version__, "-V", "--version", message="lakehouse %(version)s")
def lakehouse() -> None:
    """A lakehouse in one process: files in, open Iceberg tables, SQL out."""


@lakehouse.command(
    epilog=after(
        "lakehouse serve",
        "lakehouse serve --data /srv/lake --port 8080",
        "lakehouse serve --config /etc/lakehouse/lakehouse.toml --check",
    ),
)
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    metavar="DIR",
    help="Where everything lies; made if missing, mode 0700. Default: $STATE_DIRECTORY, else "
    "./lakehouse-data.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Address to listen on; another than loopback takes server.external and a token. "
    "Default: 127.0.0.1.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="PORT", help="TCP port. Default: 3110."
)
@config_option
@click.option("--check", is_flag=True, help="Say what is wrong with the configuration, and stop.")
@json_option
def serve(**options: Any) -> None:
    """Run the server until it is told to stop.

    It finishes what it accepted when it gets SIGTERM or Ctrl-C, and exits 0.
    """
    from lakehouse.cli import serving

    serving.serve(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse demo                 serves until Ctrl-C",
        "lakehouse demo --exit",
        "lakehouse demo --data ./demo --port 8080",
    ),
)
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    metavar="DIR",
    help="An empty directory to keep it in. Default: a temporary one.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3110,
    show_default=True,
    help="TCP port; the next free one when it is taken.",
)
@click.option("--exit", "leave", is_flag=True, help="Stop at the end instead of serving on.")
@json_option
def demo(**options: Any) -> None:
    """See it work, on data of its own.

    Starts a server, loads two files, joins them, appends and reads at once: 4,000 orders of a
    coffee roaster and the 36 cities they went to.

    Every step is shown with the command and the curl that do the same.
    """
    from lakehouse.cli import demo as it

    it.demo(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse ingest orders.csv",
        "lakehouse ingest sales.orders orders-2026-*.csv.gz --mode append",
        "lakehouse ingest orders today.csv --mode upsert --key id",
        "lakehouse ingest orders more-columns.csv --mode append --evolve",
        "lakehouse ingest orders.csv --dry-run",
        "lakehouse ingest orders object:raw/orders.csv   what lies in the storage of the server",
        "lakehouse ingest orders 's3://exports/orders/*.csv' --mode append   what is new there",
        'lakehouse ingest orders.csv --types zip=string --partition-by "day(ordered_at)"',
        "zcat dump.gz | lakehouse ingest events - --format ndjson",
        "lakehouse ingest --data ./lake orders.csv",
        closing=WHERE,
    ),
)
@click.argument("arguments", nargs=-1, required=True, metavar="[TABLE] FILE|SOURCE...")
@click.option(
    "--mode",
    type=click.Choice(["create", "append", "overwrite", "upsert", "delete"]),
    help="What to do where the table exists. Default: the file replaces the rows, as one new "
    "snapshot. Upsert replaces the rows with the same key, delete takes them out.",
)
@key_option
@click.option(
    "--on-error",
    type=click.Choice(["fail", "reject", "string"]),
    help="What to do with bad rows: load nothing (default), load the others, or make the column "
    "a string.",
)
@click.option(
    "--partition-by",
    multiple=True,
    metavar="FIELD",
    help="Of a new table: a column, or day(c), month(c), bucket(16, c), truncate(3, c). May be "
    "repeated.",
)
@reading_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the schema, what differs from the table, and a sample; write nothing.",
)
@click.option(
    "--background",
    is_flag=True,
    help="Return once the file was sent; `lakehouse jobs wait ID` follows the load.",
)
@somewhere
@json_option
def ingest(**options: Any) -> None:
    """Load files as tables.

    CSV, TSV, NDJSON, JSON, Parquet, Arrow IPC, ORC or Avro, plain, gzip or zstd, or a workbook of
    Excel. Each file commits whole or not at all.

    TABLE is `name` or `namespace.name`; left out, each FILE becomes the table that it is named
    after. `-` is stdin. A loaded table is readable the moment this returns.
    """
    from lakehouse.cli import loading

    loading.ingest(**options)


@lakehouse.command(
    epilog=after(
        'lakehouse sql "SELECT city, count(*) FROM orders GROUP BY city"',
        "lakehouse sql 'SELECT * FROM orders WHERE city = $city' -p city=Oslo",
        "lakehouse sql -f report.sql --format csv > report.csv",
        'lakehouse sql "FROM orders" -o orders.parquet',
        'lakehouse sql "SELECT count(*) FROM orders" --as-of orders=2026-01-31T12:00:00Z',
        """lakehouse sql "FROM hits" --search hits='{"collection": "notes", "text": "ice"}'""",
        'echo "SHOW TABLES" | lakehouse sql --json',
        closing=WHERE,
    ),
)
@click.argument("statement", required=False, metavar="[SQL]")
@click.option(
    "-f",
    "--file",
    "file",
    type=FILE,
    metavar="FILE",
    help="Read the statement from this file; without SQL and FILE, from stdin.",
)
@parameter_option
@click.option(
    "--as-of",
    multiple=True,
    metavar="TABLE=WHEN",
    help="Read the table as it was: a snapshot id, a tag, a branch, or a time. May be repeated.",
)
@click.option(
    "--search",
    multiple=True,
    metavar="NAME=JSON",
    help="Search a collection (`collection`, `text`, `k`, `filter`): the statement reads what is "
    "found as NAME. May be repeated.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv", "ndjson", "arrow", "parquet", "orc", "avro"]),
    help="Default: table, or what the name of the output file says.",
)
@output_option
@rows_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long it may run; at most what the server allows.",
)
@somewhere
@json_option
def sql(**options: Any) -> None:
    """Run one SELECT and show its rows."""
    from lakehouse.cli import asking

    asking.sql(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse tables",
        "lakehouse tables --namespace sales --names",
        "lakehouse tables --data ./lake --json",
        closing=WHERE,
    ),
)
@click.option("--namespace", metavar="NAME", help="Only the tables of this namespace.")
@click.option("--names", is_flag=True, help="Only names, one a line.")
@click.option("--dropped", is_flag=True, help="Those that were dropped and can be brought back.")
@somewhere
@json_option
def tables(**options: Any) -> None:
    """List the tables with their rows and sizes."""
    from lakehouse.cli import showing

    showing.tables(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse describe orders",
        "lakehouse describe sales.orders --json",
        closing=WHERE,
    ),
)
@click.argument("table")
@somewhere
@json_option
def describe(**options: Any) -> None:
    """Show a table: columns, partitioning, rows, files, bytes."""
    from lakehouse.cli import showing

    showing.describe(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse history orders",
        "lakehouse history sales.orders --limit 1 --json",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Snapshots to show, the newest.",
)
@somewhere
@json_option
def history(**options: Any) -> None:
    """Show a table's snapshots, newest first.

    Each can be read again: `lakehouse sql ... --as-of TABLE=ID`.
    """
    from lakehouse.cli import showing

    showing.history(**options)


@lakehouse.group(
    epilog=after(
        "lakehouse config show",
        "lakehouse config check --config /etc/lakehouse/lakehouse.toml",
    ),
)
def config() -> None:
    """Show and check the settings."""


@config.command(
    "show",
    epilog=after(
        "lakehouse config show",
        "LAKEHOUSE_SERVER__PORT=8080 lakehouse config show --json",
    ),
)
@config_option
@json_option
def config_show(**options: Any) -> None:
    """Show every setting and where it comes from.

    Secrets are masked.
    """
    from lakehouse.cli import settings

    settings.show(**options)


@config.command(
    "check",
    epilog=after(
        "lakehouse config check --config lakehouse.toml",
    ),
)
@config_option
@json_option
def config_check(**options: Any) -> None:
    """Say everything that is wrong with the settings, or that nothing is."""
    from lakehouse.cli import settings

    settings.check(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse backup                                   to the server's backup.directories",
        "lakehouse backup /var/backups/lakehouse --verify",
        "lakehouse backup ./backups --data ./lake           without a server",
        closing=WHERE,
    ),
)
@click.argument("dest", required=False)
@click.option("--verify", is_flag=True, help="Read it all back, every byte.")
@somewhere
@json_option
def backup(**options: Any) -> None:
    """Back up everything into a new folder of DEST, while it is served.

    Files that the backup before has already are hard links. Of a server, DEST is one of its
    backup.directories, the first by default.
    """
    from lakehouse.cli import recovering

    recovering.backup(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse restore /var/backups/lakehouse --data ./lake     the newest one",
        "lakehouse restore /var/backups/lakehouse/2026-11-26T031500.000000Z --data ./lake",
        "lakehouse restore /var/backups/lakehouse --verify          restores nothing",
    ),
)
@click.argument("source", type=DIRECTORY, metavar="SRC")
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    metavar="DIR",
    help="The data directory to make; not there yet, or empty.",
)
@click.option("--verify", is_flag=True, help="Only read the backup back, every byte.")
@click.option(
    "--without",
    multiple=True,
    metavar="TABLE",
    help="Leave this table behind: one that cannot lie at another path. May be repeated.",
)
@json_option
def restore(**options: Any) -> None:
    """Make a data directory of a backup, wherever it is to lie.

    Every file is compared with the checksum that it was backed up with. A restore that fails
    leaves nothing.
    """
    from lakehouse.cli import recovering

    recovering.restore(**options)


@lakehouse.group(
    epilog=after(
        "lakehouse catalog rebuild --data ./lake",
    ),
)
def catalog() -> None:
    """Mend the catalog of a data directory that no server holds."""


@catalog.command(
    "rebuild",
    epilog=after(
        "lakehouse catalog rebuild --data ./lake             what it would do",
        "lakehouse catalog rebuild --data ./lake --apply",
    ),
)
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    required=True,
    metavar="DIR",
    help="The data directory; no server may hold it.",
)
@click.option("--apply", is_flag=True, help="Do it; without this it is only shown.")
@config_option
@json_option
def catalog_rebuild(**options: Any) -> None:
    """Make catalog.db anew, from the warehouse alone.

    Takes the copy of it that lies there, if one does, and moves every table forward to the last
    metadata file that was written. Names every fork. Deletes nothing: the catalog that was there
    stays beside the new one.
    """
    from lakehouse.cli import recovering

    recovering.rebuild(**options)


@catalog.command(
    "relocate",
    epilog=after(
        "lakehouse catalog relocate /srv/old/warehouse /srv/new/warehouse",
    ),
)
@click.argument("old")
@click.argument("new")
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    metavar="DIR",
    help="The data directory; no server may hold it. Default: the folder that NEW lies in.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="TABLE",
    help="Take this table out of the catalog instead; its files stay. May be repeated.",
)
@config_option
@json_option
def catalog_relocate(**options: Any) -> None:
    """Tell the tables that the warehouse was moved from OLD to NEW.

    Iceberg's metadata holds absolute paths. New metadata is written beside the old, then all
    tables move at once; data files are not touched. Killed on the way, it begins again.
    """
    from lakehouse.cli import recovering

    recovering.relocate(**options)


@catalog.command(
    "move",
    epilog=after(
        "lakehouse catalog move --data /var/lib/lakehouse --config /etc/lakehouse/lakehouse.toml",
    ),
)
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    metavar="DIR",
    help="The data directory; no server may hold it. Default: the configuration's.",
)
@config_option
@json_option
def catalog_move(**options: Any) -> None:
    """Put catalog.db into the PostgreSQL that catalog.uri names.

    Tables, tokens, keys, jobs and the audit log, in one transaction, into a database or schema
    that holds none yet. The file stays beside under another name.
    """
    from lakehouse.cli import recovering

    recovering.move(**options)


@lakehouse.command(
    epilog=after(
        "lakehouse doctor",
        "lakehouse doctor --config /etc/lakehouse/lakehouse.toml --json",
    ),
)
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    metavar="DIR",
    help="The data directory to look at. Default: the configuration's.",
)
@config_option
@json_option
def doctor(**options: Any) -> None:
    """Say what is missing, and how to mend it.

    Exits 0 when all that the configuration names is there, else 1.
    """
    from lakehouse.cli import doctor as it

    it.doctor(**options)


def main() -> None:
    """Run the command line of this process."""
    sys.exit(lakehouse(standalone_mode=True, prog_name="lakehouse"))
