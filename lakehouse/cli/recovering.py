"""`backup`, `restore`, and what `catalog` does: what they did, or would do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from lakehouse.cli import exits, output
from lakehouse.cli.jobs import bar
from lakehouse.cli.settings import settings
from lakehouse.cli.where import NothingToRecoverError, connected, on_directory
from lakehouse.client import Client
from lakehouse.config import data_directory, variable_of
from lakehouse.recovery import BackupReport, Rebuilt, relocate_directory, verify
from lakehouse.recovery import rebuild as rebuild_catalog
from lakehouse.recovery import restore as restore_backup
from lakehouse.state import move_catalog


def backup(
    dest: str | None,
    verify: bool,
    as_json: bool,
    data_dir: Path | None,
    config_file: Path | None,
    **where: Any,
) -> None:
    def work(lake: Client, directory: str | None = dest) -> BackupReport:
        job = lake.backup(directory, verify=verify)
        with bar() as told:
            ended = lake.jobs.wait(job.id, told)
        return msgspec.convert(ended.result, BackupReport)

    if data_dir is None:
        report = connected(work, data_dir=None, config_file=config_file, **where)
    else:
        if dest is None:
            raise click.UsageError("with --data, say where the backup goes: lakehouse backup DEST")
        config, target = settings(config_file), str(Path(dest).absolute())
        own = msgspec.structs.replace(config.backup, directories=(target,))
        config = msgspec.structs.replace(config, backup=own)
        report = on_directory(lambda lake: work(lake, target), config, data_dir, make=False)
    show_backup(report, as_json)
    if report.damaged:
        tables = output.plural(len(report.damaged), "damaged table")
        line = (
            f"error: the backup is made, but not whole: {tables}, older backups stay → "
            "`lakehouse restore` of an older one has the files, if it was made before"
        )
        output.stderr().print(line, style="red", soft_wrap=True)
        click.get_current_context().exit(exits.OTHER)


def show_backup(report: BackupReport, as_json: bool) -> None:
    if as_json:
        output.emit(report)
        return
    copied = f"{report.copied_files:,}, {output.size(report.copied_bytes)}"
    output.facts(
        [
            ("backup", report.directory),
            ("files", f"{report.file_count:,}, {output.size(report.size_bytes)}"),
            ("new", copied),
            *([("verified", "every byte")] if report.verified else []),
            *((name, f"damaged: {why}") for name, why in report.damaged.items()),
        ]
    )


def restore(
    source: Path, data_dir: Path | None, verify: bool, without: Sequence[str], as_json: bool
) -> None:
    if verify == (data_dir is not None):
        raise click.UsageError("give --data DIR to restore, or --verify to look only")
    if data_dir is None:
        verified(source, as_json)
        return
    done = restore_backup(source, data_dir, without=without)
    if as_json:
        output.emit(done)
        return
    output.facts(
        [
            ("restored", str(data_dir)),
            ("from", done.source),
            ("made", done.made_at),
            ("files", f"{done.file_count:,}, {output.size(done.size_bytes)}"),
            ("tables", done.tables),
            *((name, f"was damaged: {why}") for name, why in done.damaged.items()),
        ]
    )


def verified(source: Path, as_json: bool) -> None:
    folder, found = verify(source)
    size_bytes = sum(each.size_bytes for each in found.files)
    if as_json:
        files = len(found.files)
        output.emit({"backup": str(folder), "file_count": files, "size_bytes": size_bytes})
        return
    files_words = f"{output.plural(len(found.files), 'file')}, {output.size(size_bytes)}"
    output.facts([("backup", str(folder)), ("whole", files_words)])


def rebuild(data_dir: Path, config_file: Path | None, apply: bool, as_json: bool) -> None:
    if not data_dir.is_dir():
        raise NothingToRecoverError(data_dir)
    done = rebuild_catalog(data_dir, settings(config_file).storage, apply=apply)
    if as_json:
        output.emit(done)
        return
    show(done)
    note = "Nothing was changed: --apply does it."
    if done.applied:
        note = f"Done. The catalog before lies in {done.kept}." if done.kept else "Done."
    output.stderr().print(note, style="bold", soft_wrap=True)


def show(done: Rebuilt) -> None:
    report = done.report
    made = f", made {report.copied_at}" if report.copied_at else ""
    output.facts([("from", f"{done.copy}{made}")])
    output.show(
        [("table", ""), ("action", ""), ("commits", "long"), ("rows", "long"), ("note", "")],
        [
            (each.table, each.action, each.commits, count(each.row_count), each.note or "")
            for each in report.tables
        ],
    )
    if done.collections:
        output.show(
            [("collection", ""), ("action", ""), ("note", "")],
            [(each.collection, each.action, each.note or "") for each in done.collections],
        )
    for folder, reason in done.silent.items():
        output.facts([("no collection", f"{folder}: {reason}")])
    for fork in report.forks:
        output.facts(
            [
                ("fork in", fork.folder),
                ("after", fork.follow),
                ("chosen", f"{fork.chosen}: {fork.reason}"),
                *(("left", other) for other in fork.others),
            ]
        )
    for key, reason in report.unreadable.items():
        output.facts([("unreadable", f"{key}: {reason}")])


def count(rows: int | None) -> str:
    return "" if rows is None else f"{rows:,}"


def relocate(
    old: str,
    new: str,
    data_dir: Path | None,
    config_file: Path | None,
    without: Sequence[str],
    as_json: bool,
) -> None:
    config = settings(config_file)
    path = data_dir or Path(new.removeprefix("file://")).absolute().parent
    if not (path / ("catalog.db" if config.catalog.uri is None else "format")).exists():
        raise NothingToRecoverError(path)
    moved = relocate_directory(path, old, new, config, without=without)
    if as_json:
        output.emit({"tables": moved})
        return
    output.show(
        [("table", ""), ("snapshots", "long"), ("note", "")],
        [(each.table, each.snapshots, each.note or "") for each in moved],
    )


def move(data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    config = settings(config_file)
    if config.catalog.uri is None:
        raise click.UsageError(
            "say where it goes: set catalog.uri in the configuration, or"
            f" {variable_of('catalog.uri')}=postgresql://user@host/database"
        )
    path = (data_dir or data_directory(config)).absolute()
    count, kept = move_catalog(path, config.catalog)
    if as_json:
        output.emit({"tables": count, "uri": config.catalog.uri, "kept": str(kept)})
        return
    output.facts([("moved to", config.catalog.uri), ("tables", count), ("file before", str(kept))])
