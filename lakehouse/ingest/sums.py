"""Loads one after the other that are one to who asked for them: their keys, and their sum."""

import hashlib

import msgspec

from lakehouse.ingest.models import IngestAnswer, Rejected, SourceReport


def key_of(key: str | None, number: int) -> str | None:
    """Return the idempotency key of the load `number`, from 0, under the key of all of them.

    The first has that key itself: what was loaded as one load is the beginning of many.
    """
    if key is None or number == 0:
        return key
    return f"part-{hashlib.sha256(f'{number} {key}'.encode()).hexdigest()}"


def sum_of(before: IngestAnswer, last: IngestAnswer, rows_max: int) -> IngestAnswer:
    """Return what was done together by loads of one source, as an answer says it.

    Args:
        rows_max: how many bad rows are told.
    """
    told, source = before.source, last.source
    assert isinstance(told, SourceReport) and isinstance(source, SourceReport), "both had one"
    rejected = [*before.rejected.rows, *last.rejected.rows]
    return msgspec.structs.replace(
        last,
        existing=before.existing and last.existing,
        added_rows=before.added_rows + last.added_rows,
        updated_rows=before.updated_rows + last.updated_rows,
        deleted_rows=before.deleted_rows + last.deleted_rows,
        objects=[*before.objects, *last.objects],
        rejected=Rejected(before.rejected.count + last.rejected.count, rejected[:rows_max]),
        source=SourceReport(
            object_count=told.object_count + source.object_count,
            size_bytes=told.size_bytes + source.size_bytes,
            skipped_count=told.skipped_count,
            more=source.more,
        ),
    )


def has_more(answer: IngestAnswer) -> bool:
    """Whether another load of the same source has something to do."""
    return isinstance(answer.source, SourceReport) and answer.source.more
