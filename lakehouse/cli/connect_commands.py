"""The command for other engines, with its help."""

from collections.abc import Mapping
from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import after, json_option, somewhere

ENGINES: Mapping[str, str] = {
    "duckdb": "SQL for DuckDB's shell",
    "pyiceberg": "Python, tables as Arrow",
    "polars": "Python, data frames",
    "daft": "Python, data frames on one machine or on Ray",
    "spark": "Python, Spark on one machine or on a cluster",
    "trino": "the properties of a catalog; no test of ours has run it",
    "dbt": "profiles.yml for dbt-duckdb",
    "jupyter": "Python, the cells of a notebook",
}
WHICH = (
    "[b]Which server:[/b] the one at --url, or at $LAKEHOUSE_URL, or that holds --data DIR, or at "
    "the server.host and server.port of the configuration. Give --url as the engine reaches it: "
    "that is what the snippet names. With $LAKEHOUSE_TOKEN set the snippet takes the token from "
    "there, too: no secret stands in it. Engines read the files of a table themselves: of a "
    "folder on the host of the server, of a bucket with keys of their own."
)


@lakehouse.command(
    epilog=after(
        "lakehouse connect                                    list the engines",
        "lakehouse connect duckdb > lake.sql                  then: duckdb -init lake.sql",
        "lakehouse connect spark --table sales.orders > try.py",
        "lakehouse connect daft --url https://lake.example    as the workers reach it",
        closing=WHICH,
    ),
)
@click.argument("engine", type=click.Choice(list(ENGINES)), required=False)
@click.option(
    "--table",
    metavar="TABLE",
    help="What the snippet reads, in whose namespace it begins. Default: the first table of main.",
)
@somewhere
@json_option
def connect(**options: Any) -> None:
    """Print what another engine needs to open the tables of this server.

    The snippet lists the tables, reads one, and where the caller may write it makes at its end a
    table of its own: `trial_` and the name of the engine.
    """
    from lakehouse.cli import connecting

    connecting.connect(**options)
