"""`embed`: texts in, vectors or their nearness out."""

import sys
from collections.abc import Sequence
from typing import Any

import rich_click as click

from lakehouse.cli import output
from lakehouse.cli.where import connected
from lakehouse.client import Client, Embedded, EmbeddingModel

NUMBERS_SHOWN = 4


def embed(
    texts: Sequence[str], model: str | None, models: bool, as_json: bool, **where: Any
) -> None:
    if models:
        show_models(connected(lambda lake: lake.embedding.models(), **where), as_json)
        return
    asked = [*read(texts)]
    if not asked:
        raise click.UsageError("say a TEXT, or - and give one a line on standard input")

    def work(lake: Client) -> Embedded:
        return lake.embedding.embed(asked, model)

    found = connected(work, **where)
    if as_json:
        output.emit(found)
        return
    first = found.vectors[0]
    output.show(
        [("text", ""), ("near the first", "double"), (f"of {found.dimension} numbers", "")],
        [
            (
                text,
                round(sum(a * b for a, b in zip(first, vector, strict=True)), 3),
                ", ".join(f"{number:.3f}" for number in vector[:NUMBERS_SHOWN]) + ", ...",
            )
            for text, vector in zip(asked, found.vectors, strict=True)
        ],
        title=found.model,
    )


def read(texts: Sequence[str]) -> Sequence[str]:
    if list(texts) != ["-"]:
        return texts
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


def show_models(models: Sequence[EmbeddingModel], as_json: bool) -> None:
    if as_json:
        output.emit({"models": models})
        return
    output.show(
        [("model", ""), ("of", ""), ("numbers", "long"), ("default", ""), ("what is wrong", "")],
        [
            (
                each.name,
                each.provider,
                each.dimension,
                "yes" if each.is_default else "",
                each.error or "",
            )
            for each in models
        ],
    )
