"""Names of namespaces, tables, collections and columns: checked here, quoted in `database`."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lakehouse.errors import InvalidInputError

NAME_MAX_BYTES = 255
DEFAULT_NAMESPACE = "main"
RESERVED_NAMESPACES = frozenset(
    "memory system temp information_schema pg_catalog lake ledger lakehouse vectors".split()  # noqa: SIM905 - one line
)
SQL_SCHEMAS = frozenset(["information_schema", "pg_catalog"])
"""As the name of a table each would read as the schema that every SQL client asks."""
UNSEEN = frozenset(["Cf", "Zl", "Zp", "Zs"])
"""Unicode categories of what nobody sees, or takes for a plain space."""
FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and a symbol, by their category, that are blank."""
QUOTED = re.compile(r'"((?:[^"]|"")+)"(?:\.(.+))?', re.DOTALL)
"""A namespace of several levels, and perhaps a table in it, as SQL names them too: `"a.b".t`."""
JOINED = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
"""Joiners between what is not ASCII: there Persian, Indic scripts and emoji differ by them."""


class InvalidNameError(InvalidInputError):
    def __init__(self, what: str, name: str, reason: str) -> None:
        super().__init__(f"the {what} {name[:80]!r} is refused: {reason}", reason=reason)


class TableName(NamedTuple):
    """Where a table or a collection is found: `namespace.name`, unique ignoring (ASCII) case."""

    namespace: str
    name: str

    def __str__(self) -> str:
        is_plain = "." not in self.namespace and not self.namespace.startswith('"')
        quoted = self.namespace if is_plain else '"' + self.namespace.replace('"', '""') + '"'
        return f"{quoted}.{self.name}"


def shown(name: TableName) -> str:
    """Return a name as requests write it: without its namespace where that goes without saying."""
    is_plain = name.namespace == DEFAULT_NAMESPACE and "." not in name.name
    return name.name if is_plain else str(name)


def parse_table_name(text: str) -> TableName:
    """Return the table that `namespace.name`, `"a.b".name` or `name` (in `main`) means.

    Raises:
        InvalidNameError: it cannot be the name of a table.
    """
    namespace, name = split_name(text)
    if name is None:
        return check_table_name(DEFAULT_NAMESPACE, text)
    return check_table_name(namespace, name)


def split_name(text: str) -> tuple[str, str | None]:
    """Return the namespace that a text names, and the table in it, if it names one.

    Everything before the first dot is the namespace; one of several levels stands in quotes, since
    a table may have dots in its name.
    """
    if quoted := QUOTED.fullmatch(text):
        return quoted[1].replace('""', '"'), quoted[2]
    namespace, dot, name = text.partition(".")
    return namespace, name if dot else None


def check_table_name(namespace: str, name: str) -> TableName:
    """Return both as a `TableName`; `InvalidNameError` when one of them is refused."""
    levels = check_levels(namespace.split("."), slashes=False)
    return TableName(levels, check_name("table name", name))


def check_namespace(name: str, *, slashes: bool = False) -> str:
    check_name("namespace", name, slashes=slashes)
    if "." in name:
        raise InvalidNameError("namespace", name, "it has a dot; take another name")
    if name.lower() in RESERVED_NAMESPACES:
        raise InvalidNameError("namespace", name, "it is reserved; take another name")
    return name


def check_levels(levels: Sequence[str], *, slashes: bool = True) -> str:
    """Return a namespace of several levels, as PyIceberg's `SqlCatalog` keeps it: joined by dots.

    Args:
        slashes: whether there may be a `/`: paths of the protocol can say it, ours cannot.

    Raises:
        InvalidNameError: there is none, or one of them is refused.
    """
    if not levels:
        raise InvalidNameError("namespace", "", "it has no level")
    check_namespace(levels[0], slashes=slashes)
    for each in levels[1:]:
        check_name("namespace", each, slashes=slashes)
        if "." in each:
            raise InvalidNameError("namespace", each, "it has a dot; take another name")
    return ".".join(levels)


def check_name(what: str, name: str, *, slashes: bool = False) -> str:
    """Return `name` when it is 1 to 255 bytes of UTF-8 in NFC, without control characters or `/`.

    Args:
        slashes: whether there may be a `/`: paths of our own routes cannot say it.

    Source: `architecture.md`, Names. Lone surrogates are refused: they are not UTF-8.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidNameError(what, name, "it is not valid Unicode") from None
    if not name.strip():
        raise InvalidNameError(what, name, "it is empty")
    if size > NAME_MAX_BYTES:
        raise InvalidNameError(what, name, f"it has {size} bytes; {NAME_MAX_BYTES} are the most")
    if ("/" in name and not slashes) or any(unicodedata.category(char) == "Cc" for char in name):
        raise InvalidNameError(what, name, "it has a `/` or a control character")
    if not unicodedata.is_normalized("NFC", name):
        raise InvalidNameError(what, name, "it is not in Unicode form NFC; normalise it")
    return name


def check_new_name(what: str, name: str) -> str:
    """Refuse, when something is made, a name that misleads whoever reads it.

    What has such a name already can still be read, renamed and dropped. Who calls this has looked
    for a `/` where that is not said.
    """
    check_name(what, name, slashes=True)
    check_readable(what, name)
    if name.strip(".") != name:
        better = name.strip(". ") or "another one"
        raise InvalidNameError(what, name, f"it begins or ends with a dot; take {better[:80]!r}")
    if name.lower() in SQL_SCHEMAS:
        raise InvalidNameError(what, name, f"SQL knows a schema {name!r}; take another name")
    return name


def check_readable(what: str, name: str) -> None:
    """Refuse what looks like another name: with a space at an end, or a character unseen.

    Letters of two scripts that look alike are left alone: both are how somebody writes.
    """
    if name.strip() != name:
        better = name.strip()[:80]
        raise InvalidNameError(what, name, f"it begins or ends with a space; take {better!r}")
    for char in JOINED.sub("", name):
        if char in FILLERS or (char != " " and unicodedata.category(char) in UNSEEN):
            known = f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()
            raise InvalidNameError(what, name, f"nobody sees its {known}; take it out")


def check_new_column_names(names: Iterable[str]) -> None:
    """Refuse what no column can be called, and what none should be from now on."""
    names = list(names)
    check_column_names(names)
    for name in names:
        check_readable("column name", name)


def check_column_names(names: Iterable[str]) -> None:
    """Refuse what is no name, and two names that differ by case alone (DuckDB ignores it)."""
    seen: dict[str, str] = {}
    for name in names:
        check_name("column name", name)
        other = seen.get(folded(name))
        if other is not None:
            reason = "it is there twice" if other == name else f"it differs from {other!r} by case"
            raise InvalidNameError("column name", name, f"{reason}; rename one of them")
        seen[folded(name)] = name


def folded(name: str) -> str:
    """Return `name` as DuckDB compares it: ASCII letters in lower case, all else as it is."""
    return "".join(char.lower() if char.isascii() else char for char in name)
