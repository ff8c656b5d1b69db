"""Loads of a source: its objects are fetched into the spool, and then are files like any others."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from lakehouse.catalog import Catalog, TableState, check_may_write, check_table_name
from lakehouse.errors import LakehouseError, NotFoundError, OutcomeUnknownError
from lakehouse.ingest.errors import InvalidLoadError, UploadTooLargeError
from lakehouse.ingest.formats import Named, room_for
from lakehouse.ingest.ingest import Ingest
from lakehouse.ingest.loading import chosen_mode
from lakehouse.ingest.models import (
    CONTENT,
    FILES_MAX,
    DryRun,
    IngestAnswer,
    LoadOptions,
    SourceReport,
)
from lakehouse.ingest.several import naming
from lakehouse.ingest.sources import SourceObject, Sources
from lakehouse.ingest.spool import Upload, spooled
from lakehouse.ingest.sums import has_more, key_of, sum_of
from lakehouse.ingest.taken import ObjectsTakenError, Taken, content_of, not_taken, request_of
from lakehouse.jobs import Job, JobHandle, Jobs
from lakehouse.lanes import on_thread
from lakehouse.state import State
from lakehouse.storage import ObjectChangedError

LISTED_MAX = 100_000
"""Objects of one source that are looked at."""
ATTEMPTS_MAX = 3
ADDING = ("append", "upsert", "delete")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a source the next load of a job goes on."""

    after: str = ""
    """The object, by its `uri`, up to which the table has all that were there; at first none."""
    listed_count: int = 0
    """Objects up to there."""


BEGINNING = Place()


class NothingThereError(NotFoundError):
    def __init__(self, source: str) -> None:
        super().__init__(f"there is no object at {source[:200]!r}")


class SourceLoads:
    """The same load as of files in a request, but for where the files come from."""

    def __init__(self, ingest: Ingest, sources: Sources, catalog: Catalog, state: State) -> None:
        self._ingest = ingest
        self._sources = sources
        self._catalog = catalog
        self._state = state

    async def load(
        self, source: str, options: LoadOptions, key: str | None, job: JobHandle | None = None
    ) -> bytes:
        """Load what a source means into a table and return the answer, as JSON.

        The modes that add take what the table has no rows of yet, at most `FILES_MAX` objects and
        `ingest.max_bytes`, and say whether there is more. The others take all of it.

        Args:
            key: an idempotency key; a later request under it is answered as the first was,
                whatever came to the source meanwhile.
            job: what nobody waits for tells how far it is.

        Raises:
            As `Sources.batches` and `Ingest.load`.
            NothingThereError: there is nothing.
            InvalidLoadError: there is too much.
            ObjectChangedError, ObjectsTakenError: it changed meanwhile, again and again.
        """
        answer, _ = await self._load_from(BEGINNING, source, options, key, job)
        return answer

    async def _load_from(
        self,
        place: Place,
        source: str,
        options: LoadOptions,
        key: str | None,
        job: JobHandle | None,
    ) -> tuple[bytes, Place]:
        """Do what `load` does with what comes after `place`, and return where that ended."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                if job is not None:
                    job.progress(phase="looking at the source")
                taken, reached = await self._taken(place, source, options, key)
                if isinstance(taken, bytes):
                    return taken, reached
                return await self._load(taken, options, key, job), reached
            except (ObjectsTakenError, ObjectChangedError):
                if attempt == ATTEMPTS_MAX:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _load(
        self, taken: Taken, options: LoadOptions, key: str | None, job: JobHandle | None
    ) -> bytes:
        if job is not None:
            job.progress(0, taken.size_bytes, "fetching")
        with self._ingest.uploading() as path:
            files = await self._fetched(taken.objects, path, options)
            if job is None:
                return await self._ingest.load(files, options, key, taken)
            return await self._ingest.load_in_background(
                job, uploads=files, options=options, key=key, taken=taken
            )

    async def start(self, jobs: Jobs, source: str, options: LoadOptions, key: str | None) -> Job:
        """Queue `all` and return its job; what is wrong with the source is said at once."""
        subject = str(check_table_name(options.namespace, options.name))
        await self.check(source)
        work = partial(self._work, source, options, key)
        return await jobs.start("ingest", work, subject=subject, unit="bytes")

    async def all(
        self, source: str, options: LoadOptions, key: str | None, job: JobHandle
    ) -> AsyncGenerator[IngestAnswer]:
        """Do what `load` does until there is nothing more, and yield the sum after each load.

        The source is listed once: each load goes on behind the one before it. What comes meanwhile
        under a name that was passed is for the next job, which begins anew. Begun again, also under
        its key, it goes on where it ended: what was loaded stays.

        Raises:
            As `load`; what was loaded before stays then too.
        """
        total: IngestAnswer | None = None
        place = BEGINNING
        for number in itertools.count():
            job.check_cancelled()
            part = key_of(key, number)
            try:
                answer, place = await self._load_from(place, source, options, part, job)
            except NothingThereError:
                if total is None:
                    raise
                return  # somebody cleared away what was left
            last = msgspec.json.decode(answer, type=IngestAnswer)
            rows_max = self._ingest.config.bad_rows_reported_max
            total = last if total is None else sum_of(total, last, rows_max)
            yield total
            if not has_more(total):
                return

    async def _work(
        self, source: str, options: LoadOptions, key: str | None, job: JobHandle
    ) -> IngestAnswer:
        """Load all of a source; cancelled, it says what was loaded, and that there is more."""
        total: IngestAnswer | None = None
        try:
            async with aclosing(self.all(source, options, key, job)) as loads:
                async for done in loads:
                    total = done
        except OutcomeUnknownError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if total is None:
                raise
            if job.asked == "cancelled":
                return total
            if isinstance(error, LakehouseError) and isinstance(total.source, SourceReport):
                error.detail += (
                    f"; {total.source.object_count} objects before were loaded and stay so,"
                    " the next load goes on behind them"
                )
            raise
        assert total is not None, "it yields or raises"
        return total

    async def check(self, source: str) -> None:
        """Raise what `Sources.batches` has against a source; that there is nothing is fine."""
        async with aclosing(self._sources.batches(source)) as batches:
            await anext(batches, None)

    async def dry_run(self, source: str, options: LoadOptions) -> DryRun:
        """Return what `load` would do with the first `FILES_MAX` objects, loaded or not."""
        found: list[SourceObject] = []
        async with aclosing(self._sources.batches(source)) as batches:
            async for batch in batches:
                found += batch
                if len(found) >= FILES_MAX:
                    break
        if not found:
            raise NothingThereError(source)
        with self._ingest.uploading() as path:
            files = await self._fetched(found[:FILES_MAX], path, options)
            return await self._ingest.dry_run(files, options)

    async def _taken(
        self, place: Place, source: str, options: LoadOptions, key: str | None
    ) -> tuple[Taken | bytes, Place]:
        """Return what to load, or the answer where nothing is, and where that ends.

        Of an answer under a key nobody knows where it ended.
        """
        name = check_table_name(options.namespace, options.name)
        check_may_write(name)
        request = request_of(source, options)
        if key is not None:
            answer = await on_thread(partial(self._catalog.keys.find, key, request))
            if answer is not None:
                return answer, BEGINNING
        table = await on_thread(partial(self._catalog.find, name))
        chosen_mode(options.mode, table)  # refuses to create what is there, before it is fetched
        adds = options.mode in ADDING
        found, seen_count, more = await self._found(place, source, table if adds else None)
        if not seen_count:
            raise NothingThereError(source)
        if (len(found) > FILES_MAX or more) and not adds:
            raise InvalidLoadError(
                f"there are more than {FILES_MAX} objects at {source[:200]!r}, the most of one "
                "load; mode=append takes them a hundred at a time"
            )
        objects = self._fitting([each for _, each in found[:FILES_MAX]], adds)
        if objects:
            at, last = found[len(objects) - 1]
            place = Place(last.uri, at)
        taken = Taken(
            objects=objects,
            request=request,
            content=content_of(objects, options),
            adds=adds,
            skipped_count=seen_count - len(found),
            more=more or len(objects) < len(found),
        )
        is_there = table is not None and table.summary.get(CONTENT) == taken.content
        if table is not None and (not objects or (is_there and not adds)):
            return msgspec.json.encode(self._ingest.answer_existing(table, taken)), place
        return taken, place

    async def _found(
        self, place: Place, source: str, table: TableState | None
    ) -> tuple[list[tuple[int, SourceObject]], int, bool]:
        """Return the objects that `table` lacks, how many were looked at, and if that was not all.

        It begins behind `place`, ends once there are more than a load may have, and says of each
        object how many there are up to it.
        """
        found, seen_count = list[tuple[int, SourceObject]](), 0
        async with aclosing(self._sources.batches(source, place.after)) as batches:
            async for batch in batches:
                new = batch
                if table is not None:
                    new = await on_thread(partial(not_taken, self._state, table.uuid, batch))
                lacking = set(new)
                before = place.listed_count + seen_count
                found += [each for each in enumerate(batch, before + 1) if each[1] in lacking]
                seen_count += len(batch)
                if len(found) > FILES_MAX:
                    return found, seen_count, True
                if place.listed_count + seen_count >= LISTED_MAX:
                    raise InvalidLoadError(
                        f"there are {LISTED_MAX:,} objects or more at {source[:200]!r}; "
                        "name a narrower prefix"
                    )
        return found, seen_count, False

    def _fitting(self, found: Sequence[SourceObject], adds: bool) -> tuple[SourceObject, ...]:
        """Return as many as may be loaded at once: all of them, or the first of a load that adds.

        Raises:
            UploadTooLargeError: they are too large.
        """
        max_bytes, size = self._ingest.config.max_bytes, 0
        for number, each in enumerate(found):
            size += each.size_bytes
            if size > max_bytes:
                if adds and number:
                    return tuple(found[:number])
                raise UploadTooLargeError(f"the objects have {size} bytes or more", max_bytes)
        return tuple(found)

    async def _fetched(
        self, objects: Sequence[SourceObject], path: Path, options: LoadOptions
    ) -> list[Upload]:
        """Return the objects as files in the spool, beside `path`."""
        files: list[Upload] = []
        size = 0
        for number, each in enumerate(objects):
            label = each.filename if len(objects) > 1 else None
            named = Named(each.filename, None)
            with naming(label):
                async with aclosing(self._sources.chunks(each)) as chunks:
                    file = await spooled(
                        chunks,
                        path.with_name(f"{path.name}-{number}"),
                        self._ingest.limits.after(size),
                        partial(room_for, declared=options.format, named=named),
                    )
            size += file.size_bytes
            files.append(
                Upload(
                    path=file.path,
                    size_bytes=file.size_bytes,
                    sha256=file.sha256,
                    filename=each.filename,
                    content_type=None,
                    room_bytes=file.room_bytes,
                    label=label,
                )
            )
        return files
