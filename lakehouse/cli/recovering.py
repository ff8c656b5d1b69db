"""`catalog rebuild` and `catalog relocate`: what they did, or would do, as tables."""

from collections.abc import Sequence
from pathlib import Path

from lakehouse.cli import output
from lakehouse.cli.where import NoDataDirectoryError
from lakehouse.recovery import Rebuilt, relocate_directory
from lakehouse.recovery import rebuild as rebuild_catalog


def rebuild(data_dir: Path, apply: bool, as_json: bool) -> None:
    if not data_dir.is_dir():
        raise NoDataDirectoryError(data_dir)
    done = rebuild_catalog(data_dir, apply=apply)
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
    old: str, new: str, data_dir: Path | None, without: Sequence[str], as_json: bool
) -> None:
    path = data_dir or Path(new.removeprefix("file://")).absolute().parent
    if not (path / "catalog.db").exists():
        raise NoDataDirectoryError(path)
    moved = relocate_directory(path, old, new, without=without)
    if as_json:
        output.emit({"tables": moved})
        return
    output.show(
        [("table", ""), ("snapshots", "long"), ("note", "")],
        [(each.table, each.snapshots, each.note or "") for each in moved],
    )
