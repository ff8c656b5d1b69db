"""JSON bodies: read whatever their Content-Type, refused by name and position."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from litestar import Request

from lakehouse.api.negotiation import check_body_type
from lakehouse.api.problems import InvalidRequestError
from lakehouse.api.words import SHOWN_MAX, of_error
from lakehouse.errors import InvalidInputError
from lakehouse.json_text import fault, key_count, keys_most, repeated, repeated_in, with_repeats

T = TypeVar("T")

DECODER = msgspec.json.Decoder()


class MalformedJsonError(InvalidInputError):
    """The body is not JSON; the detail says at which byte, counted from 0."""


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body, where a route asks for JSON, is JSON or a 400."""

    async def json(self) -> Any:
        """Return the body as plain data.

        Raises:
            MalformedJsonError: it is not JSON, or nested beyond what anybody means.
            InvalidRequestError: a field is there twice: which one holds would be chance.
            CrossSiteBodyError: it may be a form that a page of another site posted.
        """
        check_body_type(self.headers)
        return decoded(await self.body())


def decoded(body: bytes) -> Any:
    """Return JSON as plain data.

    Raises:
        MalformedJsonError: it is none.
        InvalidRequestError: an object in it has a name twice.
    """
    try:
        value = DECODER.decode(body)
        if keys_most(body) != key_count(value):  # more in the text, unless a text is like a name
            refuse(repeated(with_repeats(body)))
        return value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJsonError(
            f"the body is not JSON: {fault(error, body)}", size_bytes=len(body)
        ) from error


def typed(body: bytes, kind: type[T]) -> T:
    """Return a large JSON body as what a route takes; on a worker thread.

    Raises:
        MalformedJsonError: it is no JSON.
        InvalidRequestError: a field is unknown, missing, wrong, or there twice.
    """
    try:
        value = msgspec.json.decode(body, type=kind)
        refuse(repeated_in(body))
        return value
    except msgspec.ValidationError as error:
        raise InvalidRequestError([of_error(kind, error, "body")]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJsonError(
            f"the body is not JSON: {fault(error, body)}", size_bytes=len(body)
        ) from error


def refuse(repeats: Iterable[str]) -> None:
    """Raise for the first path of a field that is there twice."""
    for path in repeats:
        shown = path[:SHOWN_MAX]
        message = f"the field {shown!r} is twice"
        raise InvalidRequestError([{"field": shown, "message": message, "in": "body"}])
