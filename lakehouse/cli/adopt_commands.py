"""`lakehouse adopt`: what lies in the warehouse becomes a table."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere


@lakehouse.command(
    epilog=after(
        "lakehouse adopt orders --prefix landing/orders",
        "lakehouse adopt orders --files landing/a.parquet --files landing/b.parquet",
        "lakehouse adopt sales.orders --metadata spark/orders/metadata/00007-1f3a.metadata.json",
        closing=WHERE,
    ),
)
@click.argument("table")
@click.option("--files", multiple=True, metavar="PATH", help="A Parquet file; may be repeated.")
@click.option("--prefix", metavar="FOLDER", help="Every file *.parquet in a folder and below.")
@click.option(
    "--metadata", metavar="PATH", help="The current metadata file of an Iceberg table (format 2)."
)
@somewhere
@json_option
def adopt(**options: Any) -> None:
    """Make a table of files that lie in the warehouse already, without a copy.

    Paths begin below the warehouse. Parquet is added to a table that is there; an Iceberg table
    comes with all its snapshots. The files stay yours: maintenance never deletes them, and they
    must not change any more.
    """
    from lakehouse.cli import adopting

    adopting.adopt(**options)
