"""`ingest`: files on their way into tables, with a bar, and a report of what became of them."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli.jobs import check_background, tell_job
from lakehouse.cli.where import connected
from lakehouse.client import Client, DryRun, IngestReport, Job, Rejected, SourceReport
from lakehouse.errors import ConflictError, LakehouseError, NotFoundError
from lakehouse.names import split_name

STDIN = "-"
OBJECT, BUCKET = "object:", "s3://"
ENDINGS = re.compile(
    r"(\.(csv|tsv|txt|tab|ndjson|jsonl|json|parquet|arrows?|feather|ipc|orc|avro|xlsx|xlsm|zip|gz|gzip|zst|zstd))+$",
    re.I,
)


def ingest(
    arguments: Sequence[str],
    mode: str | None,
    on_error: str | None,
    partition_by: Sequence[str],
    key: Sequence[str],
    dry_run: bool,
    background: bool,
    as_json: bool,
    **others: Any,
) -> None:
    read_as, where = reading(others)
    if background and dry_run:
        raise click.UsageError("--background and --dry-run exclude each other")
    check_background(background, where["data_dir"])
    loads = loads_of(arguments)
    options: dict[str, Any] = {
        **read_as,
        "on_error": on_error,
        "partition_by": list(partition_by),
        "key": list(key),
        "dry_run": dry_run,
        "background": background,
    }
    reports: list[IngestReport | DryRun | Job] = []

    def work(lake: Client) -> None:
        if not dry_run:
            make_namespaces(lake, [table for table, _ in loads])
        for number, (table, file) in enumerate(loads):
            # Of several files into one table, the later ones add to what the first one made.
            later = number and table == loads[0][0] and not key
            mode_now = "append" if later else mode
            there_is_more = True
            while there_is_more:  # of a source that has too many objects for one load
                report = load(lake, table, file, mode=mode_now, **options)
                reports.append(report)
                if not as_json:
                    tell(report)
                source = report.source if isinstance(report, IngestReport) else None
                there_is_more = source is not None and source.more

    connected(work, **where, make=not dry_run)
    if as_json:
        output.emit({"loads": reports})


def reading(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `reading_options` say as arguments of `Client.ingest`, and the other options."""
    others = dict(options)
    types, widths = others.pop("types"), others.pop("widths")
    read_as = {
        "types": dict(type_of(each) for each in types),
        "widths": widths.split(",") if widths else [],
        "format": others.pop("format_"),
    }
    same = ("evolve", "delimiter", "sheet", "header_row", "encoding")
    return {**read_as, **{name: others.pop(name) for name in same}}, others


def loads_of(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Return (table, file) for `[TABLE] FILE...`: what is no file, and comes first, is the table.

    Raises:
        NotFoundError: a file is not there.
    """
    first, rest = arguments[0], list(arguments[1:])
    if rest and first != STDIN and not is_source(first) and not Path(first).is_file():
        if looks_like_file(first):
            raise NotFoundError(f"there is no file {first}")
        table, files = first, rest
    elif first == STDIN:
        raise click.UsageError("of stdin the table must be named: lakehouse ingest TABLE -")
    else:
        table, files = None, list(arguments)
    for file in files:
        if file != STDIN and not is_source(file) and not Path(file).exists():
            raise NotFoundError(f"there is no file {file}")
    return [(table or table_named_after(file), file) for file in files]


def is_source(text: str) -> bool:
    """Whether the server reads it by itself."""
    return text.startswith((OBJECT, BUCKET))


def looks_like_file(text: str) -> bool:
    return "/" in text or ENDINGS.search(text) is not None


def table_named_after(file: str) -> str:
    """Return a name that SQL takes without quotes: `Orders 2026.csv.gz` becomes orders_2026."""
    if file == STDIN:
        raise click.UsageError("of stdin the table must be named: lakehouse ingest TABLE -")
    if is_source(file) and ("*" in file or "?" in file):
        raise click.UsageError("of a pattern the table must be named: lakehouse ingest TABLE ..")
    stem = ENDINGS.sub("", Path(file.removeprefix(OBJECT)).name)
    name = re.sub(r"\W+", "_", stem.lower()).strip("_")
    if not name:
        raise click.UsageError(f"{file} gives no name to the table: lakehouse ingest TABLE {file}")
    return f"t_{name}" if name[0].isdigit() else name


def type_of(text: str) -> tuple[str, str]:
    name, equals, type_ = text.rpartition("=")
    if not equals or not name or not type_:
        raise click.UsageError(f"--types is COLUMN=TYPE, not {text!r}")
    return name, type_


def make_namespaces(lake: Client, tables: Sequence[str]) -> None:
    """Make the namespaces that the tables name and that are not there, as a load makes tables.

    Those of several levels are made by other engines, by the protocol.
    """
    named = [namespace for namespace, name in map(split_name, tables) if name is not None]
    wanted = {each for each in named if "." not in each}
    if not wanted:
        return
    for name in sorted(wanted - set(lake.namespaces())):
        try:
            lake.create_namespace(name)
        except ConflictError:  # somebody else was quicker
            continue
        output.stderr().print(f"made the namespace {output.visible(name)}", style="dim")


def load(
    lake: Client, table: str, file: str, dry_run: bool, background: bool, **options: Any
) -> IngestReport | DryRun | Job:
    if is_source(file):
        return load_source(lake, table, file, dry_run, background, options)
    source = sys.stdin.buffer if file == STDIN else Path(file)
    label = f"{'stdin' if file == STDIN else Path(file).name} → {table}"
    with output.transfer(label, then="the server commits") as progress:
        send: Callable[..., IngestReport | DryRun | Job] = (
            lake.try_ingest if dry_run else lake.ingest_later if background else lake.ingest
        )
        try:
            return send(source, table, progress=progress, **options)
        except LakehouseError as error:
            error.detail = f"{Path(file).name}: {error.detail}" if file != STDIN else error.detail
            raise


def load_source(
    lake: Client, table: str, source: str, dry_run: bool, background: bool, options: dict[str, Any]
) -> IngestReport | DryRun | Job:
    sources = lake.sources
    with output.stderr().status(f"{output.visible(source)} → {output.visible(table)}"):
        if dry_run:
            return sources.try_load(source, table, **options)
        if background:
            return sources.load_later(source, table, **options)
        return sources.load(source, table, **options)


def tell(report: IngestReport | DryRun | Job) -> None:
    if isinstance(report, DryRun):
        foretell(report)
        return
    if isinstance(report, Job):
        tell_job(report, "is loaded by", as_json=False)
        return
    name = output.named(report)
    line = Text("")
    if report.existing:
        line.append(f"{name} has these rows already; nothing was written", "yellow")
    else:
        line.append(name, "bold green")
        line.append(f": {what_happened(report)}")
    line.append(f"; {output.plural(report.row_count, 'row')} in all")
    if report.snapshot_id is not None:
        line.append(f", snapshot {report.snapshot_id}", "dim")
    if report.source is not None:
        line.append(f"; {what_was_there(report.source)}", "dim")
    output.stdout().print(line, soft_wrap=True)
    if report.rejected.count:
        tell_rejected(report.rejected)


def what_was_there(source: SourceReport) -> str:
    words = output.plural(source.object_count, "object")
    if source.skipped_count:
        words += f", {source.skipped_count:,} loaded before"
    return f"{words}, more to come" if source.more else words


def what_happened(report: IngestReport) -> str:
    if report.deleted_rows:
        return f"{output.plural(report.deleted_rows, 'row')} deleted"
    updated = f", {report.updated_rows:,} updated" if report.updated_rows else ""
    return f"{output.plural(report.added_rows, 'row')} loaded{updated}"


def tell_rejected(rejected: Rejected) -> None:
    shown = len(rejected.rows)
    title = f"{output.plural(rejected.count, 'row')} rejected"
    if shown < rejected.count:
        title += f", the first {shown} of them"
    output.show(
        [
            (rejected.rows[0].unit if rejected.rows else "line", "long"),
            ("column", ""),
            ("reason", ""),
        ],
        [(row.line, row.column, row.reason) for row in rejected.rows],
        title=title,
    )


def foretell(report: DryRun) -> None:
    """Show what a load would do: the columns, what differs from the table, and a sample."""
    name = output.named(report)
    state = "a table that is there" if report.exists else "a new table"
    output.stdout().print(f"Nothing was written. {name} is {state}; the file has:")
    output.show(
        [("column", ""), ("type", "")], [(column.name, column.type) for column in report.columns]
    )
    if report.differences:
        output.show(
            [("column", ""), ("in the file", ""), ("in the table", "")],
            [(each.column, each.in_file, each.in_table) for each in report.differences],
            title="What differs from the table",
        )
    names = [column.name for column in report.columns]
    output.show(
        [(column.name, column.type) for column in report.columns],
        [[row.get(name) for name in names] for row in report.sample],
        title=f"The first {output.plural(len(report.sample), 'row')}",
    )
