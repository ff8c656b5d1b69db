"""The files of a multipart body, taken from the stream as they arrive.

Litestar's own parser spools elsewhere and caps at 10 MB.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from lakehouse.ingest.errors import InvalidUploadError
from lakehouse.ingest.models import FILES_MAX

HEADER_MAX_BYTES = 8 * 1024
AROUND_MAX_BYTES = 64 * 1024
"""What a body may hold besides its files: boundaries, headers, what comes before and behind."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """What the body says of a file."""

    filename: str | None
    content_type: str | None


async def files_of(stream: AsyncIterator[bytes], boundary: str) -> AsyncIterator[FilePart | bytes]:
    """Yield each file of a multipart body: what is said of it, then its bytes.

    Raises:
        InvalidUploadError: the body is malformed, cut off, or has no file, or too many.
    """
    inside = False
    around_bytes = count = 0
    parser = PushMultipartParser(boundary, max_header_size=HEADER_MAX_BYTES)
    try:
        async for chunk in stream:
            around_bytes += len(chunk)
            # An epilogue says nothing, and an empty piece would mean the end.
            for event in parser.parse(chunk) if chunk and not parser.closed else ():
                if isinstance(event, MultipartSegment):
                    count += 1
                    yield part_of(event, count)
                    inside = True
                elif event is None:
                    inside = False
                elif inside:
                    around_bytes -= len(event)
                    yield bytes(event)
            if around_bytes > AROUND_MAX_BYTES:
                raise InvalidUploadError(
                    f"the multipart body has over {AROUND_MAX_BYTES:,} bytes around its files"
                )
    except MultipartError as error:
        raise InvalidUploadError(f"the multipart body is malformed: {error}") from error
    try:
        parser.close()
    except MultipartError as error:
        raise InvalidUploadError("the multipart body ends before its closing boundary") from error
    if not count:
        raise InvalidUploadError("the multipart body has no file; send one as `-F file=@FILE`")


def part_of(segment: MultipartSegment, number: int) -> FilePart:
    if segment.filename is None:
        raise InvalidUploadError(
            f"the form field {segment.name!r} is no file; parameters belong in the query string"
        )
    if number > FILES_MAX:
        raise InvalidUploadError(f"the multipart body has over {FILES_MAX} files")
    return FilePart(segment.filename, segment.content_type)
