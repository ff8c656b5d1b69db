"""Files that are sent in parts: what came stays when a connection breaks, or either side restarts.

Each lies in a folder of its own in `<data_dir>/uploads/`, outside of the spool, which every start
empties. The length of the file is how far it is: nothing else could say otherwise after a crash.
"""

import asyncio
import hashlib
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import msgspec

from lakehouse.catalog import IdempotencyMismatchError, owner
from lakehouse.disk import Disk, Quota
from lakehouse.errors import BusyError, ConflictError, NotFoundError, UnavailableError
from lakehouse.ingest.errors import UploadTooLargeError
from lakehouse.ingest.formats import Named, room_for
from lakehouse.ingest.models import LoadOptions, UploadBegin, UploadState
from lakehouse.ingest.spool import BUFFER_BYTES, SpoolLimits, Upload, filling_the_disk, spooled
from lakehouse.lanes import on_thread
from lakehouse.state import sync_directory, write_whole

log = logging.getLogger(__name__)

DATA, ABOUT = "data", "about.json"
KEPT_S = 24 * 3_600
"""After the last byte of one that is not finished, or not loaded."""
EXPIRE_EVERY_S = 3_600.0
UPLOADS_MAX, OWN_MAX = 1_000, 100
READ_BYTES = 1024 * 1024


class About(msgspec.Struct, frozen=True):
    """What is known of an upload beside its bytes."""

    owner: str
    key: str | None
    size_bytes: int
    filename: str | None
    content_type: str | None
    loaded_by: str | None = None
    """The idempotency key of the load that it ended in."""
    request: str | None = None
    """What that load was asked for."""
    answer: str | None = None
    """Of that load: whoever lost it asks again, and the bytes are gone."""
    job_id: str | None = None
    """The job that the load was."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An upload that a job loads: its bytes stay until that has ended."""

    job_id: str
    request: str


class UploadNotFoundError(NotFoundError):
    def __init__(self, upload_id: str) -> None:
        super().__init__(
            f"there is no upload {upload_id[:80]!r}: it was loaded, given up, or a day went by"
        )


class OffsetError(ConflictError):
    """Bytes for another place than the end: the answer says where that is."""

    retryable = False

    def __init__(self, offset: int, given: int) -> None:
        super().__init__(
            f"{offset:,} bytes are here, so the next part begins there, not at {given:,}",
            offset=offset,
        )


class UploadBusyError(ConflictError):
    def __init__(self, upload_id: str) -> None:
        super().__init__(f"another part of the upload {upload_id} is being received")


class UploadIncompleteError(ConflictError):
    retryable = False

    def __init__(self, state: UploadState) -> None:
        super().__init__(
            f"{state.offset:,} of {state.size_bytes:,} bytes are here; send the rest, then load it",
            offset=state.offset,
        )


class OtherUploadError(ConflictError):
    retryable = False

    def __init__(self, key: str) -> None:
        super().__init__(f"the upload with the key {key[:80]!r} is of another file")


class UploadTakenError(ConflictError):
    retryable = False

    def __init__(self, upload_id: str, job_id: str) -> None:
        super().__init__(
            f"the job {job_id} loads the upload {upload_id}: wait for it, or cancel it",
            job=job_id,
        )


class TooManyUploadsError(UnavailableError):
    def __init__(self) -> None:
        super().__init__(
            f"{UPLOADS_MAX:,} uploads are open; finish some, or delete them (DELETE /v1/uploads/ID)"
        )


class TooManyOwnUploadsError(BusyError):
    """One caller leaves room for the others."""

    def __init__(self) -> None:
        super().__init__(
            f"{OWN_MAX} uploads of this caller are open; finish some, or delete them"
            " (DELETE /v1/uploads/ID)"
        )


class Uploads:
    """The uploads of all callers. Each sees their own alone."""

    def __init__(self, folder: Path, disk: Disk, limits: SpoolLimits) -> None:
        self._folder = folder
        quota = Quota(folder, f"*/{DATA}", limits.quota.max_bytes)
        self._limits = SpoolLimits(limits.file_max_bytes, disk, quota)
        self._receiving: set[str] = set()
        self._beginning = asyncio.Lock()
        self._taken: dict[str, Taken] = {}
        self.finishing = asyncio.Lock()
        """Held by who looks for the job of an upload and starts one where there is none."""

    async def begin(self, asked: UploadBegin) -> UploadState:
        """Return a new upload, or the one that was begun under the same key.

        Raises:
            UploadTooLargeError, DiskFullError: it would never fit.
            OtherUploadError: that one is of a file of another size.
            TooManyOwnUploadsError, TooManyUploadsError: as many as there may be are open.
        """
        if asked.size_bytes > self._limits.file_max_bytes:
            raise UploadTooLargeError("the file is too large", self._limits.file_max_bytes)
        async with self._beginning:  # two with one key are one
            return await on_thread(partial(self._begin, owner(), asked))

    async def own(self) -> list[UploadState]:
        """Return the caller's own, the oldest first."""
        return await on_thread(partial(self._own, owner()))

    async def find(self, upload_id: str) -> UploadState:
        """Return one; `UploadNotFoundError` when the caller has none of that id."""
        return await on_thread(partial(self._find, owner(), upload_id))

    async def append(
        self, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> UploadState:
        """Write what comes to the end; on disk when this returns.

        What came before an error stays: ask where the end is, and go on from there.

        Args:
            offset: where the part begins; the end, or nothing is written.

        Raises:
            OffsetError: the end is elsewhere.
            UploadBusyError: another part is on its way.
            UploadNotFoundError: there is none, or it was deleted meanwhile.
            UploadTooLargeError: more comes than was announced.
            DiskFullError, QuotaUsedError: there is no room.
        """
        state = await self.find(upload_id)
        if upload_id in self._receiving:
            raise UploadBusyError(upload_id)
        self._receiving.add(upload_id)
        try:
            state = await self.find(upload_id)  # as it is now that it is ours
            if offset != state.offset:
                raise OffsetError(state.offset, offset)
            await self._receive(state, chunks)
            return await self.find(upload_id)
        finally:
            self._receiving.discard(upload_id)

    async def delete(self, upload_id: str) -> None:
        """Give one up; `UploadTakenError` when a job loads it."""
        await self.free(upload_id)
        await on_thread(partial(shutil.rmtree, self._folder / upload_id, ignore_errors=True))

    async def answer(self, upload_id: str, key: str, request: str) -> bytes | None:
        """Return what the load of an upload under an idempotency key was answered, if it ended.

        Raises:
            IdempotencyMismatchError: it was another request.
        """
        about = await on_thread(partial(self._about, owner(), upload_id))
        if about is None or about.answer is None or about.loaded_by != key:
            return None
        if about.request != request:
            raise IdempotencyMismatchError(key)
        return about.answer.encode()

    async def end(
        self,
        upload_id: str,
        request: str,
        answer: bytes,
        *,
        key: str | None,
        job_id: str | None = None,
    ) -> None:
        """Let go of an upload that was loaded; one that is deleted was all the same.

        For a day `answer` tells under its key how that ended, and `job` which job it was.
        """
        if key is None and job_id is None:
            with suppress(UploadNotFoundError):
                await self.delete(upload_id)
            return
        kept = {
            "loaded_by": key,
            "request": request,
            "answer": answer.decode(),
            "job_id": job_id,
        }
        await on_thread(partial(self._end, owner(), upload_id, kept))

    def take(self, upload_id: str, job_id: str, request: str) -> None:
        """Keep an upload for the job that loads it, until `give_back`."""
        self._taken[upload_id] = Taken(job_id, request)

    def give_back(self, upload_id: str) -> None:
        self._taken.pop(upload_id, None)

    async def free(self, upload_id: str) -> UploadState:
        """Return an upload of the caller's; `UploadTakenError` when a job loads it."""
        state = await self.find(upload_id)
        if (taken := self._taken.get(upload_id)) is not None:
            raise UploadTakenError(upload_id, taken.job_id)
        return state

    async def job(self, upload_id: str, request: str) -> str | None:
        """Return the id of the job that loads an upload, or has; None when there is none.

        Raises:
            UploadTakenError: one loads it that was asked for something else.
        """
        about = await on_thread(partial(self._about, owner(), upload_id))
        if about is None:
            return None
        if (taken := self._taken.get(upload_id)) is None:
            return about.job_id if about.request == request else None
        if taken.request != request:
            raise UploadTakenError(upload_id, taken.job_id)
        return taken.job_id

    async def whole(self, upload_id: str) -> UploadState:
        """Return an upload of which nothing is missing; `UploadIncompleteError` where it is."""
        state = await self.find(upload_id)
        if state.offset < state.size_bytes:
            raise UploadIncompleteError(state)
        return state

    async def chunks(self, upload_id: str) -> AsyncIterator[bytes]:
        """Yield the bytes of an upload that is whole.

        Raises:
            UploadIncompleteError: it is not.
        """
        await self.whole(upload_id)
        with none_without(upload_id):
            file = await on_thread(lambda: (self._folder / upload_id / DATA).open("rb"))
        try:
            while piece := await on_thread(partial(file.read, READ_BYTES)):
                yield piece
        finally:
            file.close()

    async def keep_expiring(self) -> None:
        """Delete what nobody went on with for a day, now and every hour, until cancelled."""
        while True:
            try:
                if count := await on_thread(self._expire):
                    log.info("%d uploads that nobody went on with are given up", count)
            except OSError:
                log.exception("old uploads could not be deleted")
            await anyio.sleep(EXPIRE_EVERY_S)

    async def _receive(self, state: UploadState, chunks: AsyncIterator[bytes]) -> None:
        path = self._folder / state.id / DATA
        waiting, size, there = list[bytes](), 0, state.offset
        try:
            async for chunk in chunks:
                if there + size + len(chunk) > state.size_bytes:
                    raise UploadTooLargeError("more comes than was announced", state.size_bytes)
                waiting.append(chunk)
                size += len(chunk)
                if size >= BUFFER_BYTES:
                    pieces, waiting = waiting, []
                    there, size = there + size, 0
                    await on_thread(partial(self._write, path, pieces, there))
        finally:
            # What came of a connection that broke is worth keeping too.
            await on_thread(partial(self._write, path, waiting, there + size, sync=True))

    # Below: on a thread.

    def _begin(self, who: str, asked: UploadBegin) -> UploadState:
        self._limits.disk.check(asked.size_bytes)
        about = About(who, asked.key, asked.size_bytes, asked.filename, asked.content_type)
        upload_id = uuid.uuid4().hex
        if asked.key is not None:
            upload_id = hashlib.sha256(f"{who}\0{asked.key}".encode()).hexdigest()[:32]
            with suppress(UploadNotFoundError):
                found = self._find(who, upload_id)
                if found.size_bytes != asked.size_bytes:
                    raise OtherUploadError(asked.key)
                return found
        if len(self._own(who)) >= OWN_MAX:
            raise TooManyOwnUploadsError
        if self._folder.is_dir() and sum(1 for _ in self._folder.iterdir()) >= UPLOADS_MAX:
            raise TooManyUploadsError
        folder = self._folder / upload_id
        shutil.rmtree(folder, ignore_errors=True)  # loaded, or killed before it was begun
        with filling_the_disk():
            folder.mkdir(mode=0o700, parents=True)
            (folder / DATA).touch()
            write_whole(folder / ABOUT, msgspec.json.encode(about).decode())
        for each in (folder, self._folder, self._folder.parent):
            sync_directory(each)
        return self._find(who, upload_id)

    def _about(self, who: str, upload_id: str) -> About | None:
        """Return what is known of the caller's own upload; None without one."""
        if not re.fullmatch("[0-9a-f]{32}", upload_id):
            return None
        try:
            text = (self._folder / upload_id / ABOUT).read_bytes()
        except FileNotFoundError:
            return None
        about = msgspec.json.decode(text, type=About)
        return about if about.owner == who else None

    def _find(self, who: str, upload_id: str) -> UploadState:
        about = self._about(who, upload_id)
        if about is None or about.answer is not None:
            raise UploadNotFoundError(upload_id)
        with none_without(upload_id):
            data = (self._folder / upload_id / DATA).stat()
        return UploadState(
            id=upload_id,
            size_bytes=about.size_bytes,
            offset=data.st_size,
            filename=about.filename,
            content_type=about.content_type,
            expires_at=datetime.fromtimestamp(data.st_mtime + KEPT_S, UTC),
        )

    def _own(self, who: str) -> list[UploadState]:
        found = []
        for folder in self._all():
            with suppress(UploadNotFoundError):
                found.append(self._find(who, folder.name))
        return sorted(found, key=lambda each: (each.expires_at, each.id))

    def _end(self, who: str, upload_id: str, kept: Mapping[str, str | None]) -> None:
        about = self._about(who, upload_id)
        if about is None:
            return
        ended = msgspec.structs.replace(about, **kept)
        write_whole(self._folder / upload_id / ABOUT, msgspec.json.encode(ended).decode())
        (self._folder / upload_id / DATA).write_bytes(b"")

    def _write(self, path: Path, pieces: list[bytes], end: int, *, sync: bool = False) -> None:
        size = sum(map(len, pieces))
        self._limits.take(end, size)
        # Not made anew: it was begun, and may have been deleted since.
        with filling_the_disk(), none_without(path.parent.name), path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            for piece in pieces:
                file.write(piece)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def _expire(self) -> int:
        before, count = time.time() - KEPT_S, 0
        for folder in self._all():
            in_use = folder.name in self._receiving or folder.name in self._taken
            if not in_use and changed_at(folder) < before:
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
        return count

    def _all(self) -> Iterator[Path]:
        return self._folder.iterdir() if self._folder.is_dir() else iter(())


async def put_together(
    uploads: Uploads, upload_id: str, path: Path, options: LoadOptions, limits: SpoolLimits
) -> Upload:
    """Return a file that was sent in parts, copied to `path`."""
    sent = await uploads.find(upload_id)
    named = Named(sent.filename, sent.content_type)
    chunks = uploads.chunks(upload_id)
    file = await spooled(chunks, path, limits, lambda head: room_for(head, options.format, named))
    return Upload(
        path, file.size_bytes, file.sha256, sent.filename, sent.content_type, file.room_bytes
    )


@contextmanager
def none_without(upload_id: str) -> Iterator[None]:
    """Say that there is no upload where its bytes are not there: it is deleted, or half of it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UploadNotFoundError(upload_id) from error


def changed_at(folder: Path) -> float:
    try:
        return (folder / DATA).stat().st_mtime
    except FileNotFoundError:
        return folder.stat().st_mtime
