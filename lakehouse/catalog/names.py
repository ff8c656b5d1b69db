"""Names of namespaces, tables and columns: checked once, here; quoted once, in `database`."""

import unicodedata
from collections.abc import Iterable

from lakehouse.catalog.errors import InvalidNameError
from lakehouse.catalog.models import TableName

NAME_MAX_BYTES = 255
DEFAULT_NAMESPACE = "main"
RESERVED_NAMESPACES = frozenset(
    "memory system temp information_schema pg_catalog lake ledger lakehouse vectors".split()  # noqa: SIM905 - one line
)
SQL_SCHEMAS = frozenset(["information_schema", "pg_catalog"])
"""As the name of a table each would read as the schema that every SQL client asks."""


def parse_table_name(text: str) -> TableName:
    """Return the table that `namespace.name` or `name` (in `main`) means.

    Everything before the first dot is the namespace: those cannot hold dots, tables can.

    Raises:
        InvalidNameError: it cannot be the name of a table.
    """
    namespace, dot, name = text.partition(".")
    return check_table_name(namespace, name) if dot else check_table_name(DEFAULT_NAMESPACE, text)


def check_table_name(namespace: str, name: str) -> TableName:
    """Return both as a `TableName`; `InvalidNameError` when one of them is refused."""
    return TableName(check_namespace(namespace), check_name("table name", name))


def check_namespace(name: str) -> str:
    check_name("namespace", name)
    if "." in name:
        raise InvalidNameError("namespace", name, "it has a dot")
    if name.lower() in RESERVED_NAMESPACES:
        raise InvalidNameError("namespace", name, "it is reserved")
    return name


def check_name(what: str, name: str) -> str:
    """Return `name` when it is 1 to 255 bytes of UTF-8 in NFC, without control characters or `/`.

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
    if "/" in name or any(unicodedata.category(char) == "Cc" for char in name):
        raise InvalidNameError(what, name, "it has a `/` or a control character")
    if not unicodedata.is_normalized("NFC", name):
        raise InvalidNameError(what, name, "it is not in Unicode form NFC; normalise it")
    return name


def check_new_name(what: str, name: str) -> str:
    """Refuse, when something is made, a name that misleads whoever reads it.

    What has such a name already can still be read, renamed and dropped.
    """
    check_name(what, name)
    if name.strip() != name or name.strip(".") != name:
        better = name.strip(". ") or "another one"
        raise InvalidNameError(
            what, name, f"it begins or ends with a space or a dot; take {better[:80]!r}"
        )
    if name.lower() in SQL_SCHEMAS:
        raise InvalidNameError(what, name, f"SQL knows a schema {name!r}; take another name")
    return name


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
