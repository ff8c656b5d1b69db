"""Column types: as text on the wire, as JSON in Iceberg metadata, as DuckDB spells them.

Inside the catalog a type is the JSON of the Iceberg specification: a string for a primitive, else
an object with `type` and, once the table is created, field ids.
Source: https://iceberg.apache.org/spec/#appendix-c-json-serialization
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, TypeAlias

from lakehouse.catalog.errors import UnsupportedTypeError, UnwritableTypeError
from lakehouse.catalog.models import Column
from lakehouse.database import literal, quoted
from lakehouse.names import InvalidNameError, check_column_names

Type: TypeAlias = str | dict[str, Any]
Field: TypeAlias = dict[str, Any]

NESTING_MAX = 32

DUCKDB = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "string": "VARCHAR",
    "uuid": "UUID",
    "binary": "BLOB",
}
# Always the same way: an INT32 column later widened breaks Spark's vectorised reader, and DuckDB
# writes HUGEINT as DOUBLE.
ICEBERG = {
    "BOOLEAN": "boolean",
    "TINYINT": "long",
    "SMALLINT": "long",
    "INTEGER": "long",
    "BIGINT": "long",
    "UTINYINT": "long",
    "USMALLINT": "long",
    "UINTEGER": "long",
    "UBIGINT": "decimal(20,0)",
    "HUGEINT": "decimal(38,0)",
    "UHUGEINT": "decimal(38,0)",
    "FLOAT": "float",
    "DOUBLE": "double",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "VARCHAR": "string",
    "UUID": "uuid",
    "BLOB": "binary",
    "GEOMETRY": "binary",
    "TIME WITH TIME ZONE": "string",
    "INTERVAL": "string",
    "BIT": "string",
    "JSON": "string",
    "BIGNUM": "string",
    '"NULL"': "string",
    "NULL": "string",
}

# A name in double quotes, a value of an ENUM in single ones, a sign, a word.
TOKEN = re.compile(r"""\s*("(?:[^"]|"")*"|'(?:[^']|'')*'|[<>(),:\[\]]|[^\s<>(),:\[\]"']+)""")
NUMBER_DIGITS_MAX = 9


class Tokens:
    """The words of a type's text, one at a time."""

    def __init__(self, text: str) -> None:
        self.text = text
        words = TOKEN.findall(text)
        self._words = deque(words)
        if "".join(text.split()) != "".join("".join(words).split()):
            raise UnsupportedTypeError(text, "it cannot be read")

    def peek(self) -> str:
        return self._words[0] if self._words else ""

    def take(self, expected: str | None = None) -> str:
        word = self.peek()
        if not word or (expected is not None and word.lower() != expected):
            wanted = f"{expected!r} is missing" if expected else "it ends too early"
            raise UnsupportedTypeError(self.text, wanted)
        return str(self._words.popleft())

    def number(self) -> int:
        word = self.take()
        if not word.isdecimal() or len(word) > NUMBER_DIGITS_MAX:
            raise UnsupportedTypeError(self.text, f"{word[:40]!r} is not a number it can have")
        return int(word)

    def between(self, opening: str, closing: str, item: Callable[[], None]) -> None:
        self.take(opening)
        item()
        while self.peek() == ",":
            self.take()
            item()
        self.take(closing)


def parse_type(text: str) -> Type:
    """Return the JSON form, without ids, of `long`, `list<string>`, `struct<a: long>` and so on.

    Raises:
        UnsupportedTypeError: Iceberg has no such type.
    """
    tokens = Tokens(text)
    parsed = parse_iceberg(tokens, 0)
    if tokens.peek():
        raise UnsupportedTypeError(text, f"{tokens.peek()!r} is too much")
    return parsed


def parse_iceberg(tokens: Tokens, depth: int) -> Type:
    if depth > NESTING_MAX:
        raise UnsupportedTypeError(tokens.text, f"it is nested deeper than {NESTING_MAX}")
    word = tokens.take().lower()
    parts: list[Any] = []

    def nested() -> None:
        parts.append(parse_iceberg(tokens, depth + 1))

    def field() -> None:
        name = unquoted(tokens.take())
        tokens.take(":")
        parts.append((name, parse_iceberg(tokens, depth + 1)))

    if word in DUCKDB:
        return word
    if word == "decimal":
        tokens.between("(", ")", lambda: parts.append(tokens.number()))
        return decimal(tokens.text, parts)
    if word == "fixed":
        tokens.between("[", "]", lambda: parts.append(tokens.number()))
        return f"fixed[{parts[0]}]"
    if word == "list":
        tokens.between("<", ">", nested)
        return list_of(tokens.text, parts)
    if word == "map":
        tokens.between("<", ">", nested)
        return map_of(tokens.text, parts)
    if word == "struct":
        tokens.between("<", ">", field)
        return struct_of(parts)
    known = ", ".join([*DUCKDB, "decimal(p,s)", "list<..>", "map<..>", "struct<..>"])
    raise UnsupportedTypeError(tokens.text, f"the types are {known}")


def iceberg_type(duckdb: str, column: str | None = None) -> str:
    """Return the text of the Iceberg type in which we store a column of this DuckDB type.

    Raises:
        UnsupportedTypeError: Iceberg cannot hold it (UNION, VARIANT).
    """
    tokens = Tokens(duckdb)
    try:
        parsed = parse_duckdb(tokens, 0)
        if tokens.peek():
            raise UnsupportedTypeError(duckdb, f"{tokens.peek()!r} is too much")
    except UnsupportedTypeError as error:
        raise UnsupportedTypeError(duckdb, str(error).partition(": ")[2], column) from error
    return type_text(parsed)


def parse_duckdb(tokens: Tokens, depth: int) -> Type:
    if depth > NESTING_MAX:
        raise UnsupportedTypeError(tokens.text, f"it is nested deeper than {NESTING_MAX}")
    word = tokens.take().upper()
    parts: list[Any] = []

    def nested() -> None:
        parts.append(parse_duckdb(tokens, depth + 1))

    def field() -> None:
        parts.append((unquoted(tokens.take()), parse_duckdb(tokens, depth + 1)))

    parsed: Type
    if word in ("TIME", "TIMESTAMP") and tokens.peek().upper() == "WITH":
        word = " ".join([word, *(tokens.take().upper() for _ in range(3))])
    if word == "DECIMAL":
        tokens.between("(", ")", lambda: parts.append(tokens.number()))
        parsed = decimal(tokens.text, parts)
    elif word == "STRUCT":
        tokens.between("(", ")", field)
        parsed = struct_of(parts)
    elif word == "MAP":
        tokens.between("(", ")", nested)
        parsed = map_of(tokens.text, parts)
    elif word == "ENUM":
        tokens.between("(", ")", lambda: parts.append(tokens.take()))
        parsed = "string"
    elif word in ICEBERG:
        parsed = ICEBERG[word]
    else:
        raise UnsupportedTypeError(tokens.text, "Iceberg has nothing like it; cast it first")
    while tokens.peek() == "[":
        tokens.take()
        if tokens.peek() != "]":
            tokens.number()  # an ARRAY: it cannot carry field ids, so it becomes a list
        tokens.take("]")
        parsed = {"type": "list", "element": parsed}
    return parsed


def unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def decimal(text: str, parts: list[int]) -> str:
    if len(parts) != 2 or not (1 <= parts[0] <= 38 and parts[1] <= parts[0]):
        raise UnsupportedTypeError(text, "a decimal has 1 to 38 digits, and fewer after the point")
    return f"decimal({parts[0]},{parts[1]})"


def list_of(text: str, parts: list[Type]) -> Type:
    if len(parts) != 1:
        raise UnsupportedTypeError(text, "a list has one type")
    return {"type": "list", "element": parts[0]}


def map_of(text: str, parts: list[Type]) -> Type:
    if len(parts) != 2:
        raise UnsupportedTypeError(text, "a map has a key type and a value type")
    return {"type": "map", "key": parts[0], "value": parts[1]}


def struct_of(parts: list[tuple[str, Type]]) -> Type:
    check_column_names(name for name, _ in parts)
    return {"type": "struct", "fields": [{"name": name, "type": type_} for name, type_ in parts]}


def type_text(type_: Type) -> str:
    """Return the text of a JSON type; ids and nullability are not part of it."""
    if isinstance(type_, str):
        return type_.replace(", ", ",")  # Java writes `decimal(9, 2)`
    if type_["type"] == "list":
        return f"list<{type_text(type_['element'])}>"
    if type_["type"] == "map":
        return f"map<{type_text(type_['key'])}, {type_text(type_['value'])}>"
    fields = (f"{field_name(each['name'])}: {type_text(each['type'])}" for each in type_["fields"])
    return f"struct<{', '.join(fields)}>"


def field_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else quoted(name)


def duckdb_type(type_: Type) -> str:
    """Return how DuckDB spells an Iceberg type, given as text or as JSON."""
    parsed = parse_type(type_) if isinstance(type_, str) else type_
    if isinstance(parsed, str):
        if parsed.startswith("decimal"):
            return parsed.upper().replace(" ", "")
        return "BLOB" if parsed.startswith("fixed") else DUCKDB[parsed]
    if parsed["type"] == "list":
        return duckdb_type(parsed["element"]) + "[]"
    if parsed["type"] == "map":
        return f"MAP({duckdb_type(parsed['key'])}, {duckdb_type(parsed['value'])})"
    fields = (f"{quoted(each['name'])} {duckdb_type(each['type'])}" for each in parsed["fields"])
    return f"STRUCT({', '.join(fields)})"


def make_fields(columns: Iterable[Column]) -> tuple[list[Field], int]:
    """Return the fields of a new schema with fresh ids, and the last id.

    All fields of a struct are numbered first, then what is inside them: the order in which Java's
    reference code numbers a create.

    Raises:
        UnsupportedTypeError: Iceberg has no such type.
        UnwritableTypeError: it has, and we cannot write it.
        InvalidNameError: two columns could not be told apart.
    """
    columns = list(columns)
    check_column_names(column.name for column in columns)
    ids = count(1)
    fields = numbered([{"name": each.name, "type": parse_type(each.type)} for each in columns], ids)
    check_writable(fields)
    check_paths(fields)
    return fields, next(ids) - 1


def check_paths(fields: Iterable[Field]) -> None:
    """Refuse two fields of one path, as `a.b` beside a struct `a` with a `b`.

    Readers of Iceberg know a field by its path, and open no table where that means two.

    Raises:
        InvalidNameError: names the path.
    """
    seen: set[str] = set()
    for path, _ in paths(fields):
        if path in seen:
            reason = "a column of that name is there, and one inside of another column is called so"
            raise InvalidNameError("column name", path, f"{reason} too; rename one of them")
        seen.add(path)


def check_writable(fields: Iterable[Field]) -> None:
    """Refuse `fixed`: DuckDB writes bytes of any length only, which readers take for damage.

    Raises:
        UnwritableTypeError: names the column.
    """
    for path, each in paths(fields):
        if isinstance(each["type"], str) and each["type"].startswith("fixed"):
            raise UnwritableTypeError(path, type_text(each["type"]))


def numbered(fields: Sequence[Field], ids: Iterator[int]) -> list[Field]:
    own = [next(ids) for _ in fields]
    return [
        {"id": id_, "name": each["name"], "required": False, "type": with_ids(each["type"], ids)}
        for id_, each in zip(own, fields, strict=True)
    ]


def with_ids(type_: Type, ids: Iterator[int]) -> Type:
    if isinstance(type_, str):
        return type_
    if type_["type"] == "struct":
        return {"type": "struct", "fields": numbered(type_["fields"], ids)}
    if type_["type"] == "list":
        id_ = next(ids)
        element = with_ids(type_["element"], ids)
        return {"type": "list", "element-id": id_, "element": element, "element-required": False}
    key_id, value_id = next(ids), next(ids)
    return {
        "type": "map",
        "key-id": key_id,
        "key": with_ids(type_["key"], ids),
        "value-id": value_id,
        "value": with_ids(type_["value"], ids),
        "value-required": False,
    }


def to_columns(fields: Iterable[Field]) -> tuple[Column, ...]:
    return tuple(Column(each["name"], type_text(each["type"])) for each in fields)


def field_ids(fields: Iterable[Field]) -> str:
    """Return DuckDB's `FIELD_IDS` for a COPY: readers find a column by id, never by name."""
    entries = (f"{literal(each['name'])}: {ids_of(each)}" for each in fields)
    return "{" + ", ".join(entries) + "}"


def ids_of(field: Field) -> str:
    type_ = field["type"]
    if isinstance(type_, str):
        return str(field["id"])
    return f"{{__duckdb_field_id: {field['id']}, {field_ids(children(type_))[1:]}"


def all_ids(fields: Iterable[Field]) -> Iterator[int]:
    """Yield the ids of fields and of all that is inside of them."""
    waiting = deque(fields)
    while waiting:
        field = waiting.popleft()
        yield field["id"]
        if not isinstance(field["type"], str):
            waiting.extend(children(field["type"]))


def leaves(fields: Iterable[Field], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Field]]:
    """Each primitive field below structs with its path as DuckDB's statistics quote it.

    Lists and maps are left out: bounds of what is inside them mean nothing.
    """
    for each in fields:
        here = (*path, each["name"])
        if isinstance(each["type"], str):
            yield ".".join(quoted(name) for name in here), each
        elif each["type"]["type"] == "struct":
            yield from leaves(each["type"]["fields"], here)


def paths(fields: Iterable[Field], above: str = "") -> Iterator[tuple[str, Field]]:
    """Yield every field, those inside of nested ones too, with its path: `tags.element.name`."""
    for each in fields:
        path = f"{above}{each['name']}"
        yield path, each
        if not isinstance(each["type"], str):
            yield from paths(children(each["type"]), f"{path}.")


def name_mapping(fields: Iterable[Field]) -> list[Field]:
    """Return the name mapping that gives these ids to the columns of files that have none.

    Source: https://iceberg.apache.org/spec/#name-mapping-serialization
    """
    result = []
    for each in fields:
        entry: Field = {"field-id": each["id"], "names": [each["name"]]}
        inner = [] if isinstance(each["type"], str) else children(each["type"])
        if inner:
            entry["fields"] = name_mapping(inner)
        result.append(entry)
    return result


def children(type_: dict[str, Any]) -> list[Field]:
    """Return what a nested type holds, under the names that files give it."""
    if type_["type"] == "struct":
        return list(type_["fields"])
    if type_["type"] == "list":
        return [{"name": "element", "id": type_["element-id"], "type": type_["element"]}]
    return [
        {"name": "key", "id": type_["key-id"], "type": type_["key"]},
        {"name": "value", "id": type_["value-id"], "type": type_["value"]},
    ]
