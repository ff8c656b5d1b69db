"""What is wrong with a field of a request, as a sentence that names it and what it may be."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

SHOWN_MAX = 200
LISTED_MAX = 12
STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


def in_words(kind: Any, path: str, message: str, part: str) -> dict[str, str]:
    """Return what msgspec says of a field, as `InvalidRequestError` takes it.

    Args:
        kind: the type that holds the field, or of the parameter of that name.
        path: of the field: `mode`, `changes[0].op`.
        part: of the request: `body`, `query`.
    """
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL)
    missing = re.fullmatch(r"Object missing required field `(.*)`", message, re.DOTALL)
    invalid = re.fullmatch(r"Invalid (?:enum )?value (.*)", message, re.DOTALL)
    if unknown:
        hint = "" if path else near_fields(kind, unknown[1])
        path = f"{path}.{unknown[1]}".lstrip(".")[:SHOWN_MAX]
        message = f"the field {path!r} is unknown{hint}"
    elif missing:
        path = f"{path}.{missing[1]}".lstrip(".")
        message = f"the field {path!r} is missing"
    elif invalid and (values := list(allowed(kind, path))):
        message = f"{path} is {invalid[1][:SHOWN_MAX]}; it is one of {', '.join(values)}"
    else:
        said = message.replace("`", "").replace("Expected", "expected", 1)
        message = f"{path or f'the {part}'}: {said}"
    return {"field": path, "message": message, "in": part}


def of_error(kind: Any, error: msgspec.ValidationError, part: str) -> dict[str, str]:
    """Return what is wrong with data that is no `kind`, as `in_words` does."""
    message, _, path = str(error).partition(" - at `$")
    return in_words(kind, path.rstrip("`").lstrip("."), message, part)


def near_fields(kind: Any, name: str) -> str:
    known = getattr(kind, "__struct_fields__", ())
    close = difflib.get_close_matches(name[:SHOWN_MAX], known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if 0 < len(known) <= LISTED_MAX else ""


def allowed(kind: Any, path: str) -> Iterator[str]:
    """Yield the values that a field may have, where its type lists them."""
    found = list(plain(inspect.type_info(kind)))
    if any(isinstance(each, inspect.LiteralType) for each in found):  # a parameter: it has no path
        path = ""
    for step in STEP.findall(path):
        found = [inner for each in found for inner in below(each, step)]
    for each in found:
        if isinstance(each, inspect.LiteralType):
            yield from map(str, each.values)


def plain(info: inspect.Type) -> Iterable[inspect.Type]:
    """Yield the types that a type is one of."""
    if isinstance(info, inspect.Metadata):
        return plain(info.type)
    if isinstance(info, inspect.UnionType):
        return [each for one in info.types for each in plain(one)]
    return [info]


def below(info: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """Yield the types of what lies under a name, or in a list."""
    if isinstance(info, inspect.ListType):
        yield from plain(info.item_type)
    elif isinstance(info, inspect.StructType):
        if step == info.tag_field:
            yield inspect.LiteralType((info.tag,))
        for field in info.fields:
            if step == field.encode_name:
                yield from plain(field.type)
