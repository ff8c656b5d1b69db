"""Reads files to their end, or writes them as others, one after the other, and says how that went.

It runs by its path, alone: no import of ours, no variable of the server's, limits on all it takes.
A line of stdin is what is asked, a line of stdout answers; both are JSON.
"""

import errno
import io
import json
import re
import resource
import runpy
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.compute
import pyarrow.orc
import pyarrow.parquet as pq

compute: Any = pyarrow.compute  # its stubs (of version 20) know half of what is called here
READY, GOOD, BAD, NO_MEMORY = "ready", "good", "bad", "no memory"
TOO_LARGE, NO_ROOM, REFUSED = "too large", "no room", "refused"
ROOM_BYTES = 512 * 1024**2
"""The interpreter, the engine, stacks of threads, and what is reserved without being used."""
ROW_GROUP_BYTES = 32 * 1024**2
ROW_GROUP_ROWS = 122_880
HEADER_MAX_BYTES = 1024**2
LOCAL_TIME = re.compile(rb'"local-(timestamp-(?:micros|nanos))"')
CUT = "not written: "
"""Begins the words of what is refused while values are read."""
RATIO_MAX = 200
RATIO_APPLIES_FROM_BYTES = 1024**3
"""A file may become this large, and larger where it is not `RATIO_MAX` times what it was."""


class RefusedError(Exception):
    """The file is sound, and holds what cannot be loaded; says what."""


def main(memory_max_bytes: int) -> None:
    for kind, limit in (
        (resource.RLIMIT_DATA, memory_max_bytes + ROOM_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    write_at_most(0)
    answer(READY)
    for line in sys.stdin:
        asked = json.loads(line)
        limit_cpu(asked.pop("cpu_max_s"))
        answer(outcome(asked, memory_max_bytes))


def answer(what: str) -> None:
    print(json.dumps(what), flush=True)


def limit_cpu(more_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + more_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def write_at_most(max_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, resource.RLIM_INFINITY))


def outcome(asked: dict[str, Any], memory_max_bytes: int) -> str:
    try:
        if "target" in asked:
            write_at_most(asked["max_bytes"])
            convert(**asked, memory_max_bytes=memory_max_bytes)
        else:
            taste(asked["path"], memory_max_bytes)
    except (duckdb.OutOfMemoryException, MemoryError):
        return NO_MEMORY
    except RefusedError as error:
        return f"{REFUSED}: {error}"[:500]
    except (duckdb.Error, pa.ArrowException, ValueError, OSError, zipfile.BadZipFile) as error:
        return what_failed(error)
    finally:
        write_at_most(0)
    return GOOD


def what_failed(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EFBIG or "File too large" in str(error):
        return TOO_LARGE
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return NO_ROOM
    return f"{BAD}: {error}"[:300]


def taste(path: str, memory_max_bytes: int) -> None:
    with engine(memory_max_bytes, path) as connection:
        # A hash looks at every byte of every value, and keeps none.
        connection.execute("SELECT bit_xor(hash(f)) FROM read_parquet(?) AS f", [path])
        connection.fetchall()


def engine(memory_max_bytes: int, *paths: str, extension: str = "") -> duckdb.DuckDBPyConnection:
    """Return an engine that can reach these files and nothing else."""
    allowed = ", ".join(map(literal, paths))
    settings = {  # in this order: nothing can be set after the last one
        "memory_limit": f"'{memory_max_bytes}B'",
        "temp_directory": "''",
        "TimeZone": "'UTC'",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_persistent_secrets": "false",
        "allowed_paths": f"[{allowed}]",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    connection = duckdb.connect(":memory:")
    if extension:
        folder = files(f"duckdb_extension_{extension}") / "extensions" / f"v{duckdb.__version__}"
        connection.execute(f"LOAD {literal(str(folder / f'{extension}.duckdb_extension'))}")
    for setting, value in settings.items():
        connection.execute(f"SET {setting} = {value}")
    return connection


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def convert(
    path: str,
    target: str,
    format: str,
    max_bytes: int,
    memory_max_bytes: int,
    sheet: str | None = None,
    header_row: int | None = None,
) -> None:
    if format == "avro":
        write_avro(path, target, memory_max_bytes)
        return
    most = grows_to(Path(path))
    if format == "xlsx":
        schema, batches = workbooks()["read"](path, sheet, header_row, most, RefusedError)
        write_batches(schema, batches, target, min(max_bytes, most))
        return
    with pa.OSFile(path, "rb") as file:
        schema, batches = orc(file) if format == "orc" else arrow(file)
        write_batches(schema, batches, target, min(max_bytes, most))


def grows_to(path: Path) -> int:
    """Return the bytes that a file may become; one that becomes more is no file but a bomb."""
    return max(RATIO_APPLIES_FROM_BYTES, path.stat().st_size * RATIO_MAX)


def arrow(file: pa.NativeFile) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return what an Arrow IPC file or stream holds."""
    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        return reader.schema, map(reader.get_batch, range(reader.num_record_batches))
    stream = pa.ipc.open_stream(file)
    return stream.schema, iter(stream)


@cache
def workbooks() -> dict[str, Any]:
    """Return what reads workbooks: of all files, these alone need it."""
    return runpy.run_path(str(Path(__file__).with_name("workbook.py")))


def orc(file: pa.NativeFile) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    reader = pyarrow.orc.ORCFile(file)

    def stripe(number: int) -> pa.RecordBatch:
        try:
            return reader.read_stripe(number)
        except pa.ArrowInvalid as error:
            if "out of range for nanosecond" not in str(error):
                raise
            raise RefusedError(
                "it holds a time before 1677 or after 2262, which is not read from ORC; "
                "write the file as Parquet"
            ) from error

    return reader.schema, map(stripe, range(reader.nstripes))


def write_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], target: str, max_bytes: int
) -> None:
    """Write batches, of `max_bytes` in all, as Parquet, each once all of it was looked at."""
    if len(set(schema.names)) < len(schema.names):
        raise RefusedError("two columns of the file have one name")
    plain = pa.schema([pa.field(each.name, plain_type(each.type, each.name)) for each in schema])
    waiting: list[pa.RecordBatch] = []
    all_bytes = 0
    with pq.ParquetWriter(target, plain, compression="lz4", write_statistics=False) as writer:

        def flush() -> None:
            table = pa.Table.from_batches(waiting, plain)
            waiting.clear()
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

        for batch in batches:
            batch.validate(full=True)
            columns = [
                plain_values(column, to)
                for column, to in zip(batch.columns, plain.types, strict=True)
            ]
            waiting.append(pa.RecordBatch.from_arrays(columns, schema=plain))
            all_bytes += waiting[-1].nbytes
            if all_bytes > max_bytes:  # a word that a million rows share is small until then
                raise OSError(errno.EFBIG, "the file is too large")
            size = sum(each.nbytes for each in waiting)
            if size > ROW_GROUP_BYTES or sum(map(len, waiting)) > ROW_GROUP_ROWS:
                flush()
        if waiting:
            flush()


def plain_values(column: Any, to: pa.DataType) -> Any:
    if pa.types.is_run_end_encoded(column.type):
        column = compute.run_end_decode(column)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column if column.type == to else column.cast(to)


def plain_type(type_: pa.DataType, column: str) -> pa.DataType:
    """Return the type that Parquet holds the same values in.

    Raises:
        RefusedError: there is none.
    """
    types = pa.types
    if types.is_dictionary(type_) or types.is_run_end_encoded(type_):
        return plain_type(type_.value_type, column)
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type, column)
    if types.is_map(type_):
        inner = (plain_type(type_.key_type, column), plain_type(type_.item_type, column))
        return pa.map_(*inner)
    if types.is_struct(type_):
        fields = [type_.field(number) for number in range(type_.num_fields)]
        return pa.struct([(each.name, plain_type(each.type, column)) for each in fields])
    if types.is_fixed_size_list(type_) or types.is_list(type_) or types.is_large_list(type_):
        return pa.list_(plain_type(type_.value_type, column))
    if types.is_string_view(type_):
        return pa.string()
    if types.is_binary_view(type_):
        return pa.binary()
    if types.is_float16(type_):
        return pa.float32()
    if types.is_decimal32(type_) or types.is_decimal64(type_):
        return pa.decimal128(type_.precision, type_.scale)
    if types.is_union(type_) or types.is_interval(type_) or type_.num_fields:
        raise RefusedError(f"column {column!r} is of the type {type_}; make it a string")
    return type_


def write_avro(path: str, target: str, memory_max_bytes: int) -> None:
    """Write an Avro file as Parquet: what the engine reads, in the types that its schema says."""
    schema, header = avro_schema(path)
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not fields:
        raise RefusedError("the Avro file holds no records, so there are no columns")
    with ExitStack() as stack:
        if LOCAL_TIME.search(header):
            path = stack.enter_context(without_local_times(path, header, Path(target).parent))
        source = f"read_avro({literal(path)})"
        connection = stack.enter_context(engine(memory_max_bytes, path, target, extension="avro"))
        try:
            types = connection.execute(f"FROM {source} LIMIT 0").description or []
        except duckdb.NotImplementedException as error:
            raise RefusedError(
                f"{str(error).splitlines()[0]}; write the file as Parquet"
            ) from error
        by_name = {name: type_ for name, type_, *_ in types}
        values = [
            f"{avro_value(field['name'], field['type'], by_name[field['name']])} AS "
            f"{quoted(field['name'])}"
            for field in resolved(schema, {})["fields"]
        ]
        try:
            connection.execute(
                f"COPY (SELECT {', '.join(values)} FROM {source}) TO {literal(target)} "
                f"(FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, USE_TMP_FILE false)"
            )
        except duckdb.InvalidInputException as error:
            _, told, reason = str(error).partition(CUT)
            if not told:
                raise
            raise RefusedError(reason) from error


@contextmanager
def without_local_times(path: str, header: bytes, folder: Path) -> Iterator[str]:
    """Make a copy that the engine reads: it knows no `local-timestamp-*` but that of milliseconds.

    They are counted as moments are, and the schema that we have says which is which. The copy has
    no name: it is gone with this process, whatever ends that.
    """
    with tempfile.TemporaryFile(dir=folder) as copy, Path(path).open("rb") as file:
        file.seek(len(header))
        # Blanks between words of JSON are nothing, and the header stays as long as it says.
        copy.write(LOCAL_TIME.sub(lambda found: b'"' + found[1] + b'"' + b" " * 6, header))
        shutil.copyfileobj(file, copy, 1024**2)
        copy.flush()
        yield f"/proc/self/fd/{copy.fileno()}"


def avro_value(name: str, avro: Any, read_as: Any) -> str:
    """Return SQL of a column's values.

    The engine reads a decimal as its bytes, and a moment, which Avro counts in UTC, without a zone.
    No table holds nanoseconds. Of a local time whoever loads the file says which rows have some;
    one with a zone and one inside of others would lose them there, and is looked at here.

    Args:
        avro: its type, all of it.
        read_as: a DuckDBPyType.
    """
    column, inside, given = quoted(name), json.dumps(avro), str(read_as)
    kind = without_null(avro)
    if isinstance(kind, dict) and kind.get("logicalType") == "decimal" and given == "BLOB":
        return decimal_of(column, kind["precision"], kind.get("scale", 0))
    if '"decimal"' in inside and "BLOB" in given:
        raise RefusedError(f"column {name!r} has decimals inside; write the file as Parquet")
    if "UNION(" in given:
        raise RefusedError(f"column {name!r} is a union of several types; make it a string")
    kept = kept_type(avro, read_as)
    if kept == given or (kept, given) == ("TIMESTAMP", "TIMESTAMP_NS"):
        return column
    cast = f"CAST({column} AS {kept})"
    if "TIMESTAMP_NS" not in given:
        return cast
    reason = f"{CUT}column {name!r} is finer than microseconds, which is the finest there is"
    return (
        f"CASE WHEN CAST({cast} AS {given}) IS NOT DISTINCT FROM {column} THEN {cast}"
        f" ELSE error({literal(reason)}) END"
    )


def kept_type(avro: Any, read_as: Any) -> str:
    """Return the type of the engine that a table holds, with zones where Avro's own has them."""
    kind = without_null(avro)
    if not isinstance(kind, dict):
        return str(read_as)
    if read_as.id.startswith("timestamp"):
        is_local = str(kind.get("logicalType")).startswith("local-")
        return "TIMESTAMP" if is_local else "TIMESTAMP WITH TIME ZONE"
    if read_as.id not in ("struct", "list", "map"):
        return str(read_as)
    inner = dict(read_as.children)
    types = [str(type_) for type_ in inner.values()]
    if read_as.id == "struct":
        avros = [field["type"] for field in kind["fields"]]
    else:
        avros = [kind["items"]] if read_as.id == "list" else ["string", kind["values"]]
    kept = [kept_type(*each) for each in zip(avros, inner.values(), strict=True)]
    if kept == types:
        return str(read_as)
    if read_as.id == "struct":
        parts = (f"{quoted(name)} {type_}" for name, type_ in zip(inner, kept, strict=True))
        return f"STRUCT({', '.join(parts)})"
    return f"{kept[0]}[]" if read_as.id == "list" else f"MAP({', '.join(kept)})"


def without_null(avro: Any) -> Any:
    """Return the type that is there when a value is: of a union with null the other one."""
    while True:
        if isinstance(avro, list) and len(others := [each for each in avro if each != "null"]) == 1:
            avro = others[0]
        elif isinstance(avro, dict) and isinstance(avro.get("type"), (dict, list)):
            avro = avro["type"]
        else:
            return avro


def resolved(avro: Any, known: dict[str, Any], space: str = "") -> Any:
    """Return a schema with the types in it that are only named, as one may be after its first use.

    Args:
        known: those that were named before, by their full names.
        space: the namespace that names without one are of.
    """
    if isinstance(avro, list):
        return [resolved(each, known, space) for each in avro]
    if not isinstance(avro, dict):
        return known.get(full_name(avro, space), avro)
    found = dict(avro)
    if "name" in avro:
        name = full_name(avro["name"], avro.get("namespace", space))
        space = name.rpartition(".")[0]
        known[name] = found
    for key in ("type", "items", "values"):
        if key in avro:
            found[key] = resolved(avro[key], known, space)
    if "fields" in avro:
        fields = avro["fields"]
        found["fields"] = [each | {"type": resolved(each["type"], known, space)} for each in fields]
    return found


def full_name(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"


def decimal_of(column: str, precision: int, scale: int) -> str:
    """Return SQL of the decimal that big-endian bytes in two's complement are."""
    if not (0 < precision <= 38 and 0 <= scale <= precision):
        raise RefusedError(f"column {column} is a decimal of {precision} digits; 38 are the most")
    filling = f"CASE WHEN hex({column}) >= '8' THEN 'F' ELSE '0' END"
    wide = f"lpad(hex({column}), greatest(32, strlen(hex({column})))::INTEGER, {filling})"
    number = f"(unhex({wide})::BIT::HUGEINT)"
    text = f"CASE WHEN {number} < 0 THEN '-' ELSE '' END || (abs({number}) // {10**scale})::VARCHAR"
    if scale:
        text += f" || '.' || lpad((abs({number}) % {10**scale})::VARCHAR, {scale}, '0')"
    return f"CAST({text} AS DECIMAL({precision}, {scale}))"


def avro_schema(path: str) -> tuple[Any, bytes]:
    """Return the schema of an Avro file, all blocks of which are there, and its whole header.

    The engine takes what a file holds that was cut short for all of it.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(4)
        found = dict(avro_metadata(file))
        mark = file.read(16)
        header_bytes = file.tell()
        while file.tell() < size:
            avro_long(file)  # how many rows
            block_bytes = avro_long(file)
            file.seek(max(block_bytes, 0), io.SEEK_CUR)
            if block_bytes < 0 or file.read(16) != mark:
                raise ValueError("a block of the Avro file does not end where it says")
        file.seek(0)
        return json.loads(found.get(b"avro.schema", b"")), file.read(header_bytes)


def avro_metadata(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while count := avro_long(file):
        if count < 0:
            avro_long(file)  # how many bytes they take
        for _ in range(abs(count)):
            yield avro_bytes(file), avro_bytes(file)


def avro_bytes(file: BinaryIO) -> bytes:
    size = avro_long(file)
    if not 0 <= size <= HEADER_MAX_BYTES:
        raise ValueError("the header of the Avro file is damaged or too long")
    return file.read(size)


def avro_long(file: BinaryIO) -> int:
    value, shift, more = 0, 0, True
    while more:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("the Avro file is damaged or cut off")
        value |= (byte[0] & 0x7F) << shift
        shift, more = shift + 7, byte[0] >= 0x80
    return (value >> 1) ^ -(value & 1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
