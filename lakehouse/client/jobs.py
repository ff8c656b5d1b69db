"""Long work on the server: listed, followed, cancelled, waited for."""

import builtins
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote

import msgspec

from lakehouse.client.answers import raised_of, value_of
from lakehouse.client.models import Job, JobPage, JobState
from lakehouse.client.transport import (
    AnswerEndedEarlyError,
    BrokenConnectionError,
    SilentServerError,
    Transport,
)

END = "end"
BREAKS_MAX = 10
"""Streams that may break in a row before a follower gives up."""


class Jobs:
    """`lake.jobs`: what runs, how far it is, and how it ended."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, state: JobState | None = None, kind: str | None = None) -> Iterator[Job]:
        """Yield the jobs, the newest first: all, or those in a state or of a kind."""
        cursor: str | None = None
        while True:
            params = {"state": state, "kind": kind, "cursor": cursor}
            page = value_of(self._transport.send("GET", "/v1/jobs", params=params), JobPage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def get(self, job_id: str) -> Job:
        """Return the job as it is now; `NotFoundError` when there is none."""
        return value_of(self._transport.send("GET", job_path(job_id)), Job)

    def cancel(self, job_id: str) -> Job:
        """Ask the job to stop and return it as it is then; one that has ended stays as it is."""
        return value_of(self._transport.send("POST", f"{job_path(job_id)}/cancel"), Job)

    def follow(self, job_id: str) -> Iterator[Job]:
        """Yield the job at each change; in the last one it has ended.

        A stream that breaks is opened again: nothing is told twice, and the end is never missed.

        Raises:
            NotFoundError: there is no such job.
            UnavailableError: the server is gone.
        """
        seen, breaks = "", 0
        while True:
            headers = {"Last-Event-ID": seen} if seen else {}
            try:
                path = f"{job_path(job_id)}/events"
                with self._transport.stream("GET", path, headers=headers) as pieces:
                    for seen, data in events(pieces):
                        breaks = 0
                        yield msgspec.json.decode(data, type=Job)
                        if seen == END:
                            return
                raise BrokenConnectionError(self._transport.url, "the stream ended too early")
            except (AnswerEndedEarlyError, BrokenConnectionError, SilentServerError):
                breaks += 1
                if breaks > BREAKS_MAX:
                    raise

    def wait(self, job_id: str, told: Callable[[Job], object] = lambda job: None) -> Job:
        """Return the job once it has succeeded.

        Args:
            job_id: of `ingest_later`, or of `list`.
            told: called with the job at each change.

        Raises:
            RemoteError: it did not succeed; the kind is that of the request it stands for.
        """
        for job in self.follow(job_id):
            told(job)
        if job.error is not None:
            raise raised_of(job.error)
        return job


def job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def events(pieces: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the id and the data of each server-sent event; comments are passed over."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n\n")
        for block in whole:
            fields = dict(fields_of(block.split(b"\n")))
            if b"data" in fields:
                yield fields.get(b"id", b"").decode(), fields[b"data"]


def fields_of(lines: builtins.list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for line in lines:
        name, _, value = line.partition(b":")
        yield name, value.removeprefix(b" ")
