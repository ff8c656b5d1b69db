"""The commands for collections of vectors, each with its help."""

from typing import Any

import rich_click as click

from lakehouse.cli.commands import lakehouse
from lakehouse.cli.options import FILE, WHERE, after, json_option, somewhere


@lakehouse.group(
    epilog=after(
        "lakehouse vectors create notes --column year=integer",
        "lakehouse vectors add notes notes.jsonl",
        "lakehouse vectors search notes 'ice in winter' -k 3",
    ),
)
def vectors() -> None:
    """Keep texts and vectors, and find those that are near."""


@vectors.command(
    "create",
    epilog=after(
        "lakehouse vectors create notes --column year=integer",
        "lakehouse vectors create points --dimension 768 --distance euclidean",
        "lakehouse vectors create found --from-table reviews --id id --text comment",
        closing=WHERE,
    ),
)
@click.argument("name")
@click.option("--dimension", type=click.IntRange(1, 4096), help="Default: that of the model.")
@click.option("--model", metavar="MODEL", help="What embeds texts. Default: that of the server.")
@click.option(
    "--distance",
    type=click.Choice(["cosine", "euclidean"]),
    default="cosine",
    show_default=True,
    help="How far is measured.",
)
@click.option(
    "--column",
    multiple=True,
    metavar="NAME=TYPE",
    help="A key that filters will ask for: string, integer, float, boolean or timestamp. May be "
    "repeated.",
)
@click.option(
    "--from-table",
    metavar="TABLE",
    help="Hold the rows of a table: what is written there is found here, and nothing else.",
)
@click.option("--id", "id_", default="id", show_default=True, help="The table's column of ids.")
@click.option("--text", default="text", show_default=True, help="The table's column of texts.")
@click.option(
    "--metadata",
    multiple=True,
    metavar="COLUMN",
    help="A column of the table that becomes metadata. May be repeated.",
)
@somewhere
@json_option
def vectors_create(**options: Any) -> None:
    """Make a collection: an empty one, or one that follows a table."""
    from lakehouse.cli import vectors as it

    it.create(**options)


@vectors.command("list", epilog=after("lakehouse vectors list", closing=WHERE))
@somewhere
@json_option
def vectors_list(**options: Any) -> None:
    """List the collections."""
    from lakehouse.cli import vectors as it

    it.list_collections(**options)


@vectors.command("info", epilog=after("lakehouse vectors info notes", closing=WHERE))
@click.argument("name")
@somewhere
@json_option
def vectors_info(**options: Any) -> None:
    """Describe a collection: its items, its model, its index."""
    from lakehouse.cli import vectors as it

    it.info(**options)


@vectors.command(
    "add",
    epilog=after(
        "lakehouse vectors add notes notes.jsonl",
        "lakehouse vectors add reviews reviews.csv --id review_id --text comment",
        "lakehouse vectors add images embeddings.parquet --vector embedding",
        "lakehouse vectors add guides docs/*.md",
        closing=WHERE,
    ),
)
@click.argument("name", metavar="COLLECTION")
@click.argument("files", metavar="FILE...", type=FILE, nargs=-1, required=True)
@click.option("--id", "id_", default="id", show_default=True, help="The column of the ids.")
@click.option("--text", default="text", show_default=True, help="The column of the texts.")
@click.option("--vector", default="vector", show_default=True, help="The column of the vectors.")
@click.option(
    "--documents", is_flag=True, help="Each file is a text, whatever it is called: split it."
)
@click.option(
    "--size", default=1000, show_default=True, help="Characters of a chunk of a document, at most."
)
@click.option("--overlap", default=100, show_default=True, help="Characters that chunks may share.")
@somewhere
@json_option
def vectors_add(id_: str, text: str, vector: str, **options: Any) -> None:
    """Add the rows of files, JSON lines, CSV or Parquet by their names, or Markdown and texts.

    All columns besides the id, the text and the vector are metadata. Rows go in batches of 1,000,
    each whole or not at all; an id that is there is replaced, so a file can be sent again.

    Files that end in .md, .markdown or .txt are documents: they are split into chunks, Markdown by
    its headings, and each takes the place of the one that its path was given for before.
    """
    from lakehouse.cli import vectors as it

    it.add(naming={"id": id_, "text": text, "vector": vector}, **options)


@vectors.command(
    "search",
    epilog=after(
        "lakehouse vectors search notes 'ice in winter' -k 3",
        """lakehouse vectors search notes 'ice' --filter '{"year": {"$gte": 2020}}'""",
        "lakehouse vectors search points --vector '[0.1, 0.9]' --json",
        closing=WHERE,
    ),
)
@click.argument("name", metavar="COLLECTION")
@click.argument("words", required=False)
@click.option("--vector", metavar="JSON", help="A list of numbers, instead of WORDS.")
@click.option(
    "-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Items to find."
)
@click.option("--filter", "filter_", metavar="JSON", help="What an item must have.")
@click.option(
    "--mode",
    type=click.Choice(["vector", "text", "hybrid"]),
    default="vector",
    show_default=True,
    help="What is near in meaning, what has the words, or both.",
)
@somewhere
@json_option
def vectors_search(**options: Any) -> None:
    """Find the items nearest to WORDS or to a vector, nearest first."""
    from lakehouse.cli import vectors as it

    it.search(**options)


@vectors.command("check", epilog=after("lakehouse vectors check notes", closing=WHERE))
@click.argument("name")
@click.option(
    "--queries", type=click.IntRange(1, 1000), default=100, show_default=True, help="Searches."
)
@click.option("-k", type=click.IntRange(1, 100), default=10, show_default=True, help="Of each.")
@somewhere
@json_option
def vectors_check(**options: Any) -> None:
    """Measure recall: how many of the true nearest searches find."""
    from lakehouse.cli import vectors as it

    it.check(**options)


@vectors.command("optimize", epilog=after("lakehouse vectors optimize notes", closing=WHERE))
@click.argument("name")
@somewhere
@json_option
def vectors_optimize(**options: Any) -> None:
    """Write small files together and bring indexes up to date, now.

    The server does it by itself; reads and writes go on meanwhile.
    """
    from lakehouse.cli import vectors as it

    it.optimize(**options)


@vectors.command(
    "reembed",
    epilog=after(
        "lakehouse vectors reembed notes",
        "lakehouse vectors reembed notes --model nomic-embed-text",
        closing=WHERE,
    ),
)
@click.argument("name")
@click.option("--model", metavar="MODEL", help="Default: the one that the collection has.")
@somewhere
@json_option
def vectors_reembed(**options: Any) -> None:
    """Embed the texts again, after their model changed or to change it.

    Until all are embedded, searches and writes go on with the old vectors; then the new ones are in
    their place, all at once.
    """
    from lakehouse.cli import vectors as it

    it.reembed(**options)


@vectors.command("drop", epilog=after("lakehouse vectors drop notes", closing=WHERE))
@click.argument("name")
@somewhere
@json_option
def vectors_drop(**options: Any) -> None:
    """Drop a collection and all its items: it does not come back."""
    from lakehouse.cli import vectors as it

    it.drop(**options)
