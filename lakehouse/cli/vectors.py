"""`vectors`: collections, what goes into them, and what is near."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from lakehouse.cli import output
from lakehouse.cli.jobs import bar
from lakehouse.cli.reading_items import BATCH_ITEMS, Naming, items_of
from lakehouse.cli.sending_documents import is_document, send_documents
from lakehouse.cli.where import connected
from lakehouse.client import (
    Client,
    Collection,
    CollectionSource,
    Found,
    ItemsAdded,
    Optimized,
    Reembedded,
)
from lakehouse.errors import InvalidInputError


def create(
    name: str,
    dimension: int | None,
    model: str | None,
    distance: str,
    column: Sequence[str],
    from_table: str | None,
    id_: str,
    text: str,
    metadata: Sequence[str],
    as_json: bool,
    **where: Any,
) -> None:
    pairs = [each.partition("=") for each in column]
    if not all(key and type_ for key, _, type_ in pairs):
        raise click.UsageError("--column is NAME=TYPE, as year=integer")
    columns = {key: type_ for key, _, type_ in pairs}

    source = None
    if from_table is not None:
        source = {"table": from_table, "id": id_, "text": text, "metadata": [*metadata]}
    elif metadata:
        raise click.UsageError("--metadata names columns of a table: give --from-table too")

    def work(lake: Client) -> Collection:
        return lake.vectors.create(
            name,
            dimension=dimension,
            model=model,
            distance=distance,
            columns=columns,
            source=source,
        )

    tell(connected(work, **where), as_json)


def list_collections(as_json: bool, **where: Any) -> None:
    names = connected(lambda lake: lake.vectors.list(), **where)
    if as_json:
        output.emit({"collections": names})
        return
    output.show([("collection", "")], [(name,) for name in names])


def info(name: str, as_json: bool, **where: Any) -> None:
    tell(connected(lambda lake: lake.vectors.info(name), **where), as_json)


def tell(found: Collection, as_json: bool) -> None:
    if as_json:
        output.emit(found)
        return
    columns = ", ".join(f"{key}={type_}" for key, type_ in found.columns.items())
    recall = "not measured" if found.index.recall is None else found.index.recall
    output.facts(
        [
            ("collection", found.name),
            ("items", found.length),
            ("dimension", found.dimension),
            ("distance", found.distance),
            ("model", found.model or "none"),
            ("columns", columns or "none"),
            ("index", found.index.state),
            ("recall", recall),
            *(source_facts(found.source) if found.source else ()),
        ]
    )


def source_facts(source: CollectionSource) -> list[tuple[str, object]]:
    said = source.state if source.lag_s == 0 else f"{source.state}, {source.lag_s:.1f} s behind"
    return [
        ("from", f"{source.table} ({source.id}, {source.text})"),
        ("follows", said),
        *([("skipped", source.skipped)] if source.skipped else ()),
        *([("detail", source.detail)] if source.detail else ()),
    ]


def add(
    name: str,
    files: Sequence[Path],
    documents: bool,
    size: int,
    overlap: int,
    as_json: bool,
    naming: Mapping[str, str],
    **where: Any,
) -> None:
    for file in files:
        if not file.is_file():
            raise InvalidInputError(f"{file}: there is no such file")
    split = [documents or is_document(file) for file in files]
    if any(split) and not all(split):
        raise click.UsageError("rows and documents go in two commands; --documents makes all texts")
    if all(split):
        add_documents(name, files, {"size": size, "overlap": overlap}, as_json, where)
        return

    def work(lake: Client) -> ItemsAdded:
        told = lake.vectors.info(name)
        named = Naming(types=told.columns, **naming)
        done = [send(lake, name, file, named) for file in files]
        return ItemsAdded(sum(each.added for each in done), done[-1].length)

    done = connected(work, **where)
    if as_json:
        output.emit(done)
        return
    output.stdout().print(
        f"{output.plural(done.added, 'item')} added; {name} has {done.length:,}.", style="green"
    )


def add_documents(
    name: str, files: Sequence[Path], split: Mapping[str, int], as_json: bool, where: Any
) -> None:
    done = connected(lambda lake: send_documents(lake, name, files, split), **where)
    chunks = sum(each.chunks for each in done.added)
    if as_json:
        output.emit(done)
    else:
        output.stdout().print(
            f"{output.plural(len(done.added), 'document')} added in {chunks:,} chunks;"
            f" {name} has {output.plural(done.length, 'item')}.",
            style="green",
            soft_wrap=True,
        )
    if done.failed:
        first = done.failed[0]
        raise InvalidInputError(
            f"{output.plural(len(done.failed), 'document')} could not be added; the first is"
            f" {first.id}: {first.detail}"
        )


def send(lake: Client, name: str, file: Path, naming: Naming) -> ItemsAdded:
    size = file.stat().st_size
    added, rows, length = 0, 0, lake.vectors.info(name).length
    with output.transfer(file.name) as advance:
        items = items_of(file, naming, lambda done: advance(done, size))
        while batch := list(islice(items, BATCH_ITEMS)):
            try:
                done = lake.vectors.add(name, batch)
            except InvalidInputError as error:
                raise InvalidInputError(
                    f"{file}, of the rows {rows + 1:,} to {rows + len(batch):,}, of which none was "
                    f"added: {error}"
                ) from error
            rows += len(batch)
            added, length = added + done.added, done.length
    return ItemsAdded(added, length)


def search(
    name: str,
    words: str | None,
    vector: str | None,
    k: int,
    filter_: str | None,
    mode: str,
    as_json: bool,
    **where: Any,
) -> None:
    if (words is None) == (vector is None):
        raise click.UsageError("say what to search for: WORDS, or --vector")
    numbers = parsed("--vector", vector, list[float]) if vector is not None else None
    kept = parsed("--filter", filter_, dict[str, Any]) if filter_ is not None else None

    def work(lake: Client) -> Found:
        return lake.vectors.search(name, words, vector=numbers, k=k, filter=kept, mode=mode)

    found = connected(work, **where)
    if as_json:
        output.emit(found)
        return
    measure = "distance" if mode == "vector" else "score"
    output.show(
        [("id", ""), (measure, "double"), ("metadata", "")],
        [(hit.id, round(getattr(hit, measure), 4), hit.metadata) for hit in found.results],
        title="approximate" if found.approximate else None,
    )


def parsed(option: str, text: str, type_: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.DecodeError as error:
        raise click.UsageError(f"{option} is JSON: {error}") from error


def check(name: str, queries: int, k: int, as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: lake.vectors.check(name, queries=queries, k=k), **where)
    if as_json:
        output.emit(found)
        return
    output.facts(
        [
            ("recall", found.recall),
            ("queries", found.queries),
            ("k", found.k),
            ("items", found.items),
            ("approximate", found.approximate),
        ]
    )


def optimize(name: str, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> Optimized:
        with bar() as told:
            return lake.vectors.optimize(name, told=told)

    found = connected(work, **where)
    if as_json:
        output.emit(found)
        return
    output.facts(
        [
            ("indexes built", ", ".join(found.built) or "none"),
            ("pieces merged", found.merged),
            ("pieces now", found.fragments),
            ("versions removed", found.versions_removed),
            ("space freed", output.size(found.bytes_removed)),
            ("indexed", found.indexed),
            ("waiting", found.waiting),
        ]
    )


def reembed(name: str, model: str | None, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> Reembedded:
        with bar() as told:
            return lake.vectors.reembed(name, model, told=told)

    found = connected(work, **where)
    if as_json:
        output.emit(found)
        return
    done = f"{output.plural(found.embedded, 'text')} embedded by {found.model}."
    same = f"Nothing to do: {name} is embedded by {found.model} as it is now."
    output.stdout().print(done if found.embedded else same, style="green", soft_wrap=True)


def drop(name: str, as_json: bool, **where: Any) -> None:
    connected(lambda lake: lake.vectors.drop(name), **where)
    if as_json:
        output.emit({"dropped": name})
        return
    output.stdout().print(f"{name} is dropped.", style="green")
