"""JSON bodies: read whatever their Content-Type, refused by name and position."""

from typing import Any

import msgspec
from litestar import Request

from lakehouse.api.negotiation import check_body_type
from lakehouse.errors import InvalidInputError

DECODER = msgspec.json.Decoder()


class MalformedJsonError(InvalidInputError):
    """The body is not JSON; the detail says at which byte, counted from 0."""


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body, where a route asks for JSON, is JSON or a 400."""

    async def json(self) -> Any:
        """Return the body as plain data.

        Raises:
            MalformedJsonError: it is not JSON, or nested beyond what anybody means.
            CrossSiteBodyError: it may be a form that a page of another site posted.
        """
        check_body_type(self.headers)
        return decoded(await self.body())


def decoded(body: bytes) -> Any:
    """Return JSON as plain data; `MalformedJsonError` when it is none."""
    try:
        return DECODER.decode(body)
    except RecursionError:
        raise MalformedJsonError("the body is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"the body is not UTF-8: {error.reason}") from error
    except msgspec.DecodeError as error:
        said = str(error).removeprefix("JSON is malformed: ")
        raise MalformedJsonError(
            f"the body is not JSON: {said[:1].lower()}{said[1:]}", size_bytes=len(body)
        ) from error
