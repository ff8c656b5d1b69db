"""What a setting may be: read from plain data, written as plain data, said in words."""

from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec import inspect


def converted(value: Any, type_: Any, *, is_text: bool) -> Any:
    """Return `value` as the setting's type.

    Args:
        is_text: it came as text, from a variable; a list is written `a, b`.

    Raises:
        ValueError: it is none.
    """
    if is_text and get_origin(type_) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    return msgspec.convert(value, type_, strict=not is_text, dec_hook=path_of)


def path_of(type_: type, value: Any) -> Path:
    if type_ is not Path or not isinstance(value, str) or not value:
        raise ValueError(value)
    return Path(value).expanduser()


def builtin(value: Any) -> Any:
    """Return `value` as TOML and JSON know it."""
    return msgspec.to_builtins(value, enc_hook=str)


def described(type_: Any) -> str:
    """`Port` -> `a whole number from 1 to 65,535`."""
    found = inspect.type_info(type_)
    if isinstance(found, inspect.UnionType):
        found = next(each for each in found.types if not isinstance(each, inspect.NoneType))
    match found:
        case inspect.IntType(ge=least, le=most):
            words = "a whole number"
            if least is not None and most is not None:
                return f"{words} from {least:,} to {most:,}"
            return f"{words} from {least:,} on" if least is not None else words
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return f"one of {', '.join(get_args(type_))}"  # msgspec would sort them
        case inspect.VarTupleType():
            return "a list of texts"
        case inspect.CustomType():
            return "a path"
    return "a text"
