"""Which form an answer takes, and which forms of a request are read."""

from collections.abc import Mapping

from litestar.exceptions import HTTPException

from lakehouse.errors import InvalidInputError, UnsupportedError


class NotAcceptableException(HTTPException):
    """406: RFC 9110 has it, and no error of ours outside HTTP means it."""

    status_code = 406


class CrossSiteBodyError(UnsupportedError):
    def __init__(self, content_type: str) -> None:
        super().__init__(
            f"a request with an Origin is sent as application/json, not {content_type[:80]!r}"
        )


def negotiated(accept: str | None, format_name: str | None, media_types: Mapping[str, str]) -> str:
    """Return the name of the format to answer in.

    Args:
        accept: the Accept header; absent means anything. Equal weights: the first in
            `media_types` wins.
        format_name: what `?format=` asks for; it goes before the header.
        media_types: name of each format to its media type, the default first.

    Raises:
        InvalidInputError: `format_name` is none of them.
        NotAcceptableException: the header allows none of them.
    """
    if format_name is not None:
        if format_name not in media_types:
            raise InvalidInputError(
                f"format is {format_name[:40]!r}; it is one of {', '.join(media_types)}",
                field="format",
            )
        return format_name
    if accept is None or accept.strip() in {"", "*/*"}:
        return next(iter(media_types))
    wanted = parsed(accept)
    weights = {name: weight(media, wanted) for name, media in media_types.items()}
    best = max(weights, key=lambda name: weights[name])  # of equals the first
    if weights[best] <= 0:
        raise NotAcceptableException(
            f"none of what Accept names is written here; we write {', '.join(media_types.values())}"
        )
    return best


def parsed(accept: str) -> list[tuple[str, float]]:
    """Return (media range, weight) for each entry of an Accept header (RFC 9110, 12.5.1)."""
    result = []
    for entry in accept.split(","):
        media, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    quality = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        result.append((media, quality))
    return result


def weight(media: str, wanted: list[tuple[str, float]]) -> float:
    """Return the weight of `media`: the most specific range that matches decides."""
    group = media.partition("/")[0]
    for pattern in (media, f"{group}/*", "*/*"):
        found = [quality for name, quality in wanted if name == pattern]
        if found:
            return max(found)
    return 0.0


def check_body_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that comes with an Origin and does not say that it is JSON.

    A page of another site can post a form here without being asked, but not JSON: for that the
    browser asks first. `curl -d` has no Origin; its body is read whatever it says it is.

    Raises:
        CrossSiteBodyError: it may be such a form.
    """
    content_type = headers.get("content-type", "")
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    if "origin" in headers and not is_json:
        raise CrossSiteBodyError(content_type)
