"""What a request says beside its body: a route's signature lists it, and nothing else is ignored.

A parameter that nobody reads is a filter that does not filter and a page that is the first one
again, so it is refused, by name, before the route is called.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from litestar import Litestar, Request

from lakehouse.api.problems import InvalidRequestError
from lakehouse.api.words import SHOWN_MAX
from lakehouse.errors import InvalidInputError

QUERY = "query"
"""In a handler's `opt`: names of parameters that it reads from the query by itself."""
TAKES = "takes"
KEY_HEADER = "Idempotency-Key"
SAFE = frozenset(["GET", "HEAD", "OPTIONS"])

AnyRequest: TypeAlias = Request[Any, Any, Any]


class Takes(NamedTuple):
    """What a route reads of a request, beside its path and its body."""

    query: tuple[str, ...]
    lists: frozenset[str]
    """Of these parameters, those that may be there more than once."""
    key: bool
    """Whether it reads `Idempotency-Key`."""


class InvalidEncodingError(InvalidInputError):
    """A percent escape of the path or of the query is no UTF-8; no name here has such bytes."""

    def __init__(self, part: str, text: bytes) -> None:
        super().__init__(
            f"the {part} is not UTF-8: {ascii(text[:SHOWN_MAX])[2:-1]}; escape the bytes of UTF-8"
        )


class KeyNotTakenError(InvalidInputError):
    """The route keeps no answers, so an Idempotency-Key would promise what nobody does."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"{method} {path[:SHOWN_MAX]} takes no {KEY_HEADER}; send it without one",
            header=KEY_HEADER,
        )


def read_signatures(app: Litestar) -> None:
    """Note for each handler what it and its dependencies take of a request."""
    for route in app.routes:
        for handler, model in getattr(route, "route_handler_map", {}).values():
            own = handler.opt.get(QUERY, ())
            declared = {each.field_alias for each in model.expected_query_params}
            headers = {each.field_alias.lower() for each in model.expected_header_params}
            handler.opt[TAKES] = Takes(
                query=(*own, *sorted(declared)),
                lists=frozenset(model.sequence_query_parameter_names),
                key=KEY_HEADER.lower() in headers,
            )


async def check_request(request: AnyRequest) -> None:
    """Refuse what the route would ignore. Called before every route.

    Raises:
        InvalidEncodingError: the path or the query is not UTF-8.
        InvalidRequestError: a parameter is unknown, or there twice.
        KeyNotTakenError: there is an Idempotency-Key, and the route reads none.
    """
    check_utf8("path", request.scope["raw_path"].partition(b"?")[0])
    takes: Takes = request.route_handler.opt[TAKES]
    if request.scope["query_string"]:
        check_utf8("query", request.scope["query_string"])
        names = [name for name, _ in request.query_params.multi_items()]
        if wrong := list(wrong_parameters(names, takes)):
            raise InvalidRequestError(wrong)
    if not takes.key and request.method not in SAFE and KEY_HEADER.lower() in request.headers:
        raise KeyNotTakenError(request.method, request.url.path)


def check_utf8(part: str, text: bytes) -> None:
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise InvalidEncodingError(part, text) from error


def wrong_parameters(names: Iterable[str], takes: Takes) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for name in names:
        shown = name[:SHOWN_MAX]
        if name not in takes.query:
            message = f"the parameter {shown!r} is unknown{nearest(name, takes.query)}"
            yield {"field": shown, "message": message, "in": "query"}
        elif name in seen and name not in takes.lists:
            yield {"field": name, "message": f"the parameter {name!r} is twice", "in": "query"}
        seen.add(name)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what to say of the parameters there are, after one that is not."""
    close = difflib.get_close_matches(name[:SHOWN_MAX], known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else "; this route takes none"
