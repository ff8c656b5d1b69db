"""The one file of a multipart body, taken from the stream as it arrives.

Litestar's own parser spools elsewhere and caps at 10 MB.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from lakehouse.ingest.errors import InvalidUploadError

HEADER_MAX_BYTES = 8 * 1024
AROUND_MAX_BYTES = 64 * 1024
"""What a body may hold besides its file: boundaries, headers, what comes before and behind."""


@dataclass(slots=True)
class FilePart:
    """What the body says of its file; filled in when the file's part begins."""

    filename: str | None = None
    content_type: str | None = None
    found: bool = False


async def file_of(
    stream: AsyncIterator[bytes], boundary: str, part: FilePart
) -> AsyncIterator[bytes]:
    """Yield the bytes of the one file in a multipart body and fill in `part`.

    Raises:
        InvalidUploadError: the body is malformed, cut off, or has no file, or more than that.
    """
    inside = False
    around_bytes = 0
    parser = PushMultipartParser(boundary, max_header_size=HEADER_MAX_BYTES)
    try:
        async for chunk in stream:
            around_bytes += len(chunk)
            # An epilogue says nothing, and an empty piece would mean the end.
            for event in parser.parse(chunk) if chunk and not parser.closed else ():
                if isinstance(event, MultipartSegment):
                    begin(event, part)
                    inside = True
                elif event is None:
                    inside = False
                elif inside:
                    around_bytes -= len(event)
                    yield bytes(event)
            if around_bytes > AROUND_MAX_BYTES:
                raise InvalidUploadError(
                    f"the multipart body has over {AROUND_MAX_BYTES:,} bytes around its file"
                )
    except MultipartError as error:
        raise InvalidUploadError(f"the multipart body is malformed: {error}") from error
    try:
        parser.close()
    except MultipartError as error:
        raise InvalidUploadError("the multipart body ends before its closing boundary") from error
    if not part.found:
        raise InvalidUploadError("the multipart body has no file; send one as `-F file=@FILE`")


def begin(segment: MultipartSegment, part: FilePart) -> None:
    if segment.filename is None:
        raise InvalidUploadError(
            f"the form field {segment.name!r} is no file; parameters belong in the query string"
        )
    if part.found:
        raise InvalidUploadError("the multipart body has two files; send one a request")
    part.found = True
    part.filename = segment.filename
    part.content_type = segment.content_type
