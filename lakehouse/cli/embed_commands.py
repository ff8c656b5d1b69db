"""The command for vectors of texts, with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import WHERE, after, json_option, somewhere


@lakehouse.command(
    epilog=after(
        "lakehouse embed 'a dog barks' 'the hound is barking' 'a mountain lake'",
        "lakehouse embed --json 'a dog barks'",
        "lakehouse embed --model nomic-embed-text - < sentences.txt",
        "lakehouse embed --models",
        closing=WHERE,
    ),
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--model", metavar="MODEL", help="Which model. Default: that of the server.")
@click.option("--models", is_flag=True, help="List the models, the default first.")
@somewhere
@json_option
def embed(**options: Any) -> None:
    """Turn each TEXT into a vector; - reads one a line from standard input.

    With --json all numbers are printed; without, how near each text is to the first one: 1 is the
    same, 0 has nothing to do with it.
    """
    from lakehouse.cli import embedding as it

    it.embed(**options)
