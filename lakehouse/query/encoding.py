"""Values as text: every DuckDB type as exact JSON (and CSV), a column of a batch at a time.

No flat value passes through Python on its own: columns are cast, escaped and joined by
`pyarrow.compute`, so a row costs about 0.5 µs a column. What Arrow prints wrongly (infinite and
far dates, `24:00:00`, decimals in scientific notation) is masked out and written here.

| DuckDB                                  | JSON                                                   |
| --------------------------------------- | ------------------------------------------------------ |
| BOOLEAN, integers up to 64 bits         | `true`, number                                         |
| HUGEINT, UHUGEINT, BIGNUM, DECIMAL      | string, all digits, never an exponent                  |
| FLOAT, DOUBLE                           | number, shortest that reads back equal; always with a  |
|                                         | point or exponent; "NaN", "Infinity", "-Infinity"      |
| VARCHAR, ENUM, UUID, BIT, JSON          | string                                                 |
| BLOB                                    | string, base64                                         |
| DATE, TIME, TIMESTAMP*                  | ISO 8601; a fraction only where it is not zero; `Z`    |
|                                         | where zoned; "infinity", "-infinity"                   |
| INTERVAL                                | ISO 8601 duration, a sign on each part: "P1M-2DT0.5S"  |
| LIST, ARRAY                             | array                                                  |
| STRUCT                                  | object; without field names an array                   |
| MAP                                     | object; a key that is no string is its JSON text       |
| UNION                                   | the value of the member                                |
"""

import binascii
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its stubs (of version 20) know half of what is called here

Column: TypeAlias = Any
"""A pyarrow Array."""
Texts: TypeAlias = Any
"""A pyarrow StringArray."""

NULL = "null"
BETWEEN_ROWS = "],["
JSON_SAFE = bytes(code for code in range(256) if code >= 0x20 and code not in b'"\\')
CSV_SAFE = bytes(code for code in range(256) if code not in b'",\r\n')
END = 2**31 - 1

FEW_BYTES = 64 * 1024
FEW_VALUES = 32
ORJSON_AGREES = frozenset(
    pa.type_for_alias(name).id
    for name in (
        *("bool", "string", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
    )
)

DAY_S = 86_400
YEAR_1_S, YEAR_9999_S = -62_135_596_800, 253_402_300_799
UNIT = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
INFINITE_DAY, INFINITE = 2**31 - 1, 2**63 - 1
PLAIN_SCALE_MAX = 6  # Arrow writes decimals with an exponent when they have a longer scale


def json_rows(batch: pa.RecordBatch) -> Texts:
    """Return the rows of `batch` as JSON without the outer brackets, each with `BETWEEN_ROWS`."""
    words = ["", *[","] * (batch.num_columns - 1)]
    return woven(words, batch.columns, BETWEEN_ROWS)


def few_json_rows(batch: pa.RecordBatch) -> bytes | None:
    """Return all rows of a small batch of plain types, as `json_rows` would, and nothing after.

    For a point read the kernels' fixed costs are most of the time: 130 µs against 10.
    """
    if batch.num_rows * batch.num_columns > FEW_VALUES or batch.nbytes > FEW_BYTES:
        return None
    if not all(kind.id in ORJSON_AGREES for kind in batch.schema.types):
        return None
    return orjson.dumps(list(zip(*(c.to_pylist() for c in batch.columns), strict=True)))[2:-2]


def ndjson_rows(batch: pa.RecordBatch, names: Sequence[str], between: str) -> Texts:
    """Return the rows of `batch` as JSON objects, each with `between`. `names` are unique."""
    words = [f",{member(name)}" for name in names]
    return woven(["{" + words[0][1:], *words[1:]], batch.columns, "}" + between)


def csv_rows(batch: pa.RecordBatch) -> Texts:
    """Return the rows of `batch` per RFC 4180, with line ends; NULL is nothing, no text is `""`."""
    columns = [csv_text(column) for column in batch.columns]
    parts = [part for column in columns for part in (column, ",")]
    return joined([*parts[:-1], "\r\n"], "", "")


def woven(words: Sequence[str], columns: Sequence[Column], closing: str) -> Texts:
    """Return one text for each row: every value as JSON after its word, and `closing`.

    The quotes around texts are among the words where no value is null: each value is copied once.
    """
    parts: list[Any] = []
    closes = ""
    for word, values in zip(words, columns, strict=True):
        texts, quote = (json_text(values), "") if values.null_count else bare(values)
        parts += [closes + word + quote, texts]
        closes = quote
    return joined([*parts, closes + closing], "", NULL)


def joined(columns: Sequence[Texts | str], separator: str, null: str) -> Texts:
    return pc.binary_join_element_wise(
        *columns, separator, null_handling="replace", null_replacement=null
    )


def member(name: str) -> str:
    return orjson.dumps(name).decode() + ":"


def fitting(texts: Texts, room_bytes: int) -> int:
    """Return how many of `texts`, from the first, fit into `room_bytes`."""
    _, offsets_buffer, _ = texts.buffers()
    offsets = memoryview(offsets_buffer).cast("i")
    first = offsets[texts.offset]
    low, high = 0, len(texts)
    while low < high:
        middle = (low + high + 1) // 2
        size = offsets[texts.offset + middle] - first
        low, high = (middle, high) if size <= room_bytes else (low, middle - 1)
    return low


def json_text(values: Column) -> Texts:
    """Return each value as JSON; a null stays null."""
    texts, quote = bare(values)
    return quoted(texts) if quote else texts


def bare(values: Column) -> tuple[Texts, str]:
    """Return each value as JSON without the quotes around it, and these: two, or none."""
    if (encode := NESTED.get(values.type.id)) is not None:
        return encode(values), ""
    if pa.types.is_boolean(values.type) or pa.types.is_integer(values.type):
        return pc.cast(values, pa.string()), ""
    if pa.types.is_floating(values.type):
        return float_text(values, '"'), ""
    texts = plain_text(values)
    return (escaped(texts) if may_need_escape(values.type) else texts), '"'


def csv_text(values: Column) -> Texts:
    """Return each value as a CSV field; a null stays null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_union(values.type):
        return union_text(values, csv_text)
    if values.type.id in NESTED:
        return csv_field(json_text(values))
    if pa.types.is_boolean(values.type) or pa.types.is_integer(values.type):
        return pc.cast(values, pa.string())
    if pa.types.is_floating(values.type):
        return float_text(values, "")
    text = plain_text(values)
    may_need_quotes = may_need_escape(values.type) or pa.types.is_binary(values.type)
    return csv_field(text) if may_need_quotes else text


def plain_text(values: Column) -> Texts:
    """Return each value as text, not quoted and not escaped."""
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return base64_text(values)
    if pa.types.is_decimal(kind):
        return decimal_text(values)
    if pa.types.is_timestamp(kind):
        return timestamp_text(values)
    if pa.types.is_date32(kind):
        return date_text(values)
    if pa.types.is_time(kind):
        return time_text(values)
    if pa.types.is_interval(kind):
        return by_value(values, lambda it: duration(it.months, it.days, it.nanoseconds))
    return pc.cast(values, pa.string())  # large and view strings, null; anything else is our bug


def may_need_escape(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def prefixed(texts: Texts, text: str) -> Texts:
    return pc.binary_replace_slice(texts, 0, 0, text)


def quoted(texts: Texts) -> Texts:
    # Two splices: three times faster than joining with two literals.
    return pc.binary_replace_slice(prefixed(texts, '"'), END, END, '"')


def content(texts: Texts, but_last: int = 0) -> bytes:
    """Return all of `texts` in one piece, without its last `but_last` bytes."""
    _, offsets_buffer, data = texts.buffers()
    if not len(texts) or data is None:
        return b""
    offsets = memoryview(offsets_buffer).cast("i")
    start, stop = offsets[texts.offset], offsets[texts.offset + len(texts)]
    found: bytes = data.slice(start, stop - start - but_last).to_pybytes()
    return found


def escaped(texts: Texts) -> Texts:
    """Return `texts` with what JSON does not take inside a string escaped."""
    found = set(content(texts).translate(None, JSON_SAFE))  # one pass in C; mostly empty
    if ord("\\") in found:
        texts = pc.replace_substring(texts, "\\", "\\\\")
    for code in sorted(found - {ord("\\")}):
        texts = pc.replace_substring(texts, chr(code), orjson.dumps(chr(code)).decode()[1:-1])
    return texts


def csv_field(texts: Texts) -> Texts:
    found = set(content(texts).translate(None, CSV_SAFE))
    needs_quotes = pc.equal(pc.binary_length(texts), 0)
    for code in found:
        needs_quotes = pc.or_(needs_quotes, pc.match_substring(texts, chr(code)))
    if not pc.any(needs_quotes).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""') if ord('"') in found else texts
    return pc.if_else(needs_quotes, quoted(doubled), texts)


def float_text(values: Column, quote: str) -> Texts:
    texts = pc.cast(values, pa.string())
    whole = pc.equal(values, pc.trunc(values))
    if pc.any(whole).as_py():  # `1` would come back as an integer, and `-0` as 0
        some = texts.filter(whole)
        has_mark = pc.match_substring_regex(some, "[.a-z]")
        some = pc.if_else(has_mark, some, pc.binary_replace_slice(some, END, END, ".0"))
        texts = pc.replace_with_mask(texts, pc.fill_null(whole, False), some)
    finite = pc.is_finite(values)
    if not pc.all(finite).as_py():
        texts = pc.if_else(pc.is_nan(values), quote + "NaN" + quote, texts)
        texts = pc.if_else(pc.equal(texts, "inf"), quote + "Infinity" + quote, texts)
        texts = pc.if_else(pc.equal(texts, "-inf"), quote + "-Infinity" + quote, texts)
    return texts


def decimal_text(values: Column) -> Texts:
    """Return all digits, never an exponent: Arrow writes `0E-10` for a zero of scale 10."""
    scale = values.type.scale
    if scale <= PLAIN_SCALE_MAX and pa.types.is_decimal128(values.type):
        return pc.cast(values, pa.string())
    if not pa.types.is_decimal128(values.type):
        return by_value(values, lambda it: format(it, "f"))
    digits = pc.cast(
        pa.Array.from_buffers(
            pa.decimal128(38, 0), len(values), values.buffers(), -1, values.offset
        ),
        pa.string(),
    )
    negative = pc.starts_with(digits, "-")
    digits = pc.utf8_lpad(pc.utf8_ltrim(digits, "-"), scale + 1, "0")
    texts = pc.binary_replace_slice(digits, -scale, -scale, ".")
    return pc.if_else(negative, prefixed(texts, "-"), texts)


def timestamp_text(values: Column) -> Texts:
    unit, zone = values.type.unit, "Z" if values.type.tz else ""
    scale = UNIT[unit]
    bounds = (YEAR_1_S * scale, YEAR_9999_S * scale + scale - 1)
    if unit == "ns":
        bounds = (-INFINITE + 1, INFINITE - 1)
    numbers = values.view(pa.int64())
    if unit != "s":
        with suppress(pa.ArrowInvalid):  # whole seconds have no fraction to take out again
            return timestamp_text(pc.cast(values, pa.timestamp("s", values.type.tz)))
    texts = pc.binary_replace_slice(pc.cast(values, pa.string()), 10, 11, "T")
    texts = without_zero_fraction(texts, unit, len("2020-01-01T00:00:00"), zone)
    return outside(texts, numbers, bounds, lambda it: far_timestamp(it, scale, zone))


def date_text(values: Column) -> Texts:
    bounds = (YEAR_1_S // DAY_S, YEAR_9999_S // DAY_S)
    texts = pc.cast(values, pa.string())
    return outside(texts, values.view(pa.int32()), bounds, far_date)


def time_text(values: Column) -> Texts:
    unit = values.type.unit
    numbers = pc.cast(values.view(pa.int32() if unit in {"s", "ms"} else pa.int64()), pa.int64())
    texts = without_zero_fraction(pc.cast(values, pa.string()), unit, len("00:00:00"), "")
    return outside(texts, numbers, (0, DAY_S * UNIT[unit] - 1), lambda it: "24:00:00")


def without_zero_fraction(texts: Texts, unit: str, keep: int, zone: str) -> Texts:
    digits = len(str(UNIT[unit])) - 1
    if not digits:
        return texts
    zero = pc.ends_with(texts, "." + "0" * digits + zone)
    if not pc.any(zero).as_py():
        return texts
    return pc.if_else(zero, pc.binary_replace_slice(texts, keep, END, zone), texts)


def outside(
    texts: Texts, numbers: Any, bounds: tuple[int, int], write: Callable[[int], str]
) -> Texts:
    """Return `texts`, with those whose number is not within `bounds` written by `write`."""
    low, high = bounds
    ends = pc.min_max(numbers).as_py()
    if ends["min"] is None or (low <= ends["min"] and ends["max"] <= high):
        return texts
    far = pc.fill_null(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)), False)
    written = pa.array(map(write, numbers.filter(far).to_pylist()), pa.string())
    return pc.replace_with_mask(texts, far, written)


def far_timestamp(number: int, scale: int, zone: str) -> str:
    if abs(number) >= INFINITE:
        return "infinity" if number > 0 else "-infinity"
    seconds, fraction = divmod(number, scale)
    days, second = divmod(seconds, DAY_S)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    digits = f".{fraction:0{len(str(scale)) - 1}}" if fraction else ""
    return f"{far_date(days)}T{clock}{digits}{zone}"


def far_date(days: int) -> str:
    """Return the proleptic Gregorian date `days` after 1970-01-01; year 0 is 1 BC, as in ISO 8601.

    Source: https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    """
    if abs(days) == INFINITE_DAY:
        return "infinity" if days > 0 else "-infinity"
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day_of_year = day - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    day_of_month = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += era * 400 + (month <= 2)
    return f"{'-' * (year < 0)}{abs(year):04}-{month:02}-{day_of_month:02}"


def duration(months: int, days: int, nanoseconds: int) -> str:
    """Return an ISO 8601 duration, each part with its own sign (as PostgreSQL's `iso_8601`)."""
    year, month = divmod(abs(months), 12)
    sign = "-" if months < 0 else ""
    date = "".join(f"{sign}{n}{unit}" for n, unit in ((year, "Y"), (month, "M")) if n)
    date += f"{days}D" if days else ""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    sign = "-" if nanoseconds < 0 else ""
    tail = f"{second}.{fraction:09}".rstrip("0") if fraction else str(second)
    time = "".join(f"{sign}{n}{unit}" for n, unit in ((hour, "H"), (minute, "M")) if n)
    time += f"{sign}{tail}S" if second or fraction else ""
    return f"P{date}{'T' * bool(time)}{time}" if date or time else "PT0S"


def base64_text(values: Column) -> Texts:
    # By its buffers, and not value by value, as in `lines`: a blob may be all the memory there is.
    values = pc.cast(values, pa.large_binary())
    _, offsets_buffer, data_buffer = values.buffers()
    offsets = memoryview(offsets_buffer).cast("q")[values.offset : values.offset + len(values) + 1]
    data = memoryview(data_buffer or b"")
    texts = (
        binascii.b2a_base64(data[start:end], newline=False)
        for start, end in itertools.pairwise(offsets)
    )
    return masked(pa.array(texts, pa.binary(), size=len(values)).cast(pa.string()), values)


def by_value(values: Column, write: Callable[[Any], str]) -> Texts:
    """For the few small types that Arrow has no text for: intervals, 256 bit decimals."""
    return pa.array([None if it is None else write(it) for it in values.to_pylist()], pa.string())


def list_text(values: Column) -> Texts:
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    return masked(bracketed(json_text(values.flatten()), lengths, "[", "]"), values)


def array_text(values: Column) -> Texts:
    size = values.type.list_size
    lengths = pc.if_else(values.is_valid(), pa.scalar(size, pa.int32()), pa.scalar(0, pa.int32()))
    return masked(bracketed(json_text(values.flatten()), lengths, "[", "]"), values)


def map_text(values: Column) -> Texts:
    entries = values.cast(pa.list_(entry_type(values.type)))
    pairs = entries.flatten()
    keys, items = pairs.flatten()
    key = json_text(keys)
    if not json_is_string(keys.type):
        bare = pc.invert(pc.starts_with(key, '"'))
        key = pc.if_else(bare, quoted(escaped(key)), key)
    texts = joined([key, json_text(items)], ":", NULL)
    lengths = pc.fill_null(pc.list_value_length(entries), 0)
    return masked(bracketed(texts, lengths, "{", "}"), values)


def entry_type(kind: Any) -> pa.DataType:
    return pa.struct(
        [pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)]
    )


def json_is_string(kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return not number and kind.id not in NESTED


def struct_text(values: Column) -> Texts:
    names = [field.name for field in values.type]
    children = values.flatten()
    opening, closing = "{}" if any(names) else "[]"
    words = [opening, *[","] * (len(names) - 1)]
    if any(names):
        words = [word + member(name) for word, name in zip(words, names, strict=True)]
    return masked(woven(words, children, closing), values)


def union_text(values: Column, text: Callable[[Column], Texts] | None = None) -> Texts:
    """Sparse unions only: every member is as long as the union, so no index is needed."""
    text = text or json_text
    codes = values.type_codes
    texts = pa.nulls(len(values), pa.string())
    for position, code in enumerate(values.type.type_codes):
        texts = pc.if_else(pc.equal(codes, code), text(values.field(position)), texts)
    return texts


def bracketed(texts: Texts, lengths: Any, opening: str, closing: str) -> Texts:
    """Return one text for each of `lengths`: so many of `texts`, with commas and brackets."""
    ends = pc.cumulative_sum(pc.cast(lengths, pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    lists: Any = pa.ListArray.from_arrays(offsets, pc.fill_null(texts, NULL))
    return bracketed_each(pc.binary_join(lists, ","), opening, closing)


def bracketed_each(texts: Texts, opening: str, closing: str) -> Texts:
    return pc.binary_replace_slice(prefixed(texts, opening), END, END, closing)


def masked(texts: Texts, values: Column) -> Texts:
    return pc.if_else(values.is_valid(), texts, None) if values.null_count else texts


def decoded(values: Column) -> Texts:
    return json_text(values.dictionary_decode())


NESTED: dict[int, Callable[[Any], Texts]] = {
    pa.lib.Type_LIST: list_text,
    pa.lib.Type_LARGE_LIST: list_text,
    pa.lib.Type_FIXED_SIZE_LIST: array_text,
    pa.lib.Type_MAP: map_text,
    pa.lib.Type_STRUCT: struct_text,
    pa.lib.Type_SPARSE_UNION: union_text,
    pa.lib.Type_DICTIONARY: decoded,
}
