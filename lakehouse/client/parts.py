"""Large files in parts: one that broke off goes on from where it was, also after a restart."""

import time
from functools import partial
from typing import Any

import msgspec

from lakehouse.client.transport import Transport
from lakehouse.client.uploads import Progress, Upload
from lakehouse.errors import UnavailableError

FROM_BYTES = 64 * 1024 * 1024
"""Smaller files are sent again from the start: that costs less than the questions."""
PART_BYTES = 64 * 1024 * 1024
AWAY_MAX_S = 60.0
"""How long the server may be away, or take nothing, before the upload ends with an error."""
LOOK_S = 0.5
CONFLICT = 409


def send_in_parts(transport: Transport, upload: Upload, progress: Progress) -> str:
    """Send a file, or what the server does not have of it yet, and return the upload's id.

    Raises:
        UnavailableError: the server was away for too long; a later call goes on from there.
        InvalidInputError: the file changed meanwhile.
    """
    size = upload.size_bytes
    assert size is not None, "only of a regular file"
    asked = {
        "size_bytes": size,
        "key": upload.key,
        "filename": upload.name,
        "content_type": upload.media_type(),
    }
    state = answered(transport.send("POST", "/v1/uploads", json=asked).content)
    upload_id, offset, since = str(state["id"]), int(state["offset"]), time.monotonic()
    progress(offset, size)
    while offset < size:
        before = offset
        try:
            offset = after_part(transport, upload, f"/v1/uploads/{upload_id}", offset, progress)
        except UnavailableError:
            if time.monotonic() - since > AWAY_MAX_S:
                raise
        if offset > before:
            since = time.monotonic()
        elif time.monotonic() - since > AWAY_MAX_S:
            raise UnavailableError(f"the server took nothing of {upload.name} for {AWAY_MAX_S:g} s")
        else:
            time.sleep(LOOK_S)
    return upload_id


def after_part(
    transport: Transport, upload: Upload, path: str, offset: int, progress: Progress
) -> int:
    """Send one part and return where the next one begins, as the server says."""
    size = upload.size_bytes or 0
    length = min(PART_BYTES, size - offset)
    answer = transport.send(
        "PUT",
        path,
        params={"offset": offset},
        body=partial(upload.part, offset, length, progress),
        headers={"Content-Type": "application/octet-stream", "Content-Length": str(length)},
        accepted=frozenset([CONFLICT]),
    )
    if answer.status_code == CONFLICT:  # one that broke off came further than we know
        answer = transport.send("GET", path)
    return int(answered(answer.content)["offset"])


def answered(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(body)
    return found
