"""Reads Parquet files to their end, one after the other, and says how that went.

It runs by its path, alone: no import of ours, no variable of the server's, limits on all it takes.
A line of stdin names a file and its seconds of CPU, a line of stdout answers; both are JSON.
"""

import json
import resource
import sys

import duckdb

READY, GOOD, BAD, NO_MEMORY = "ready", "good", "bad", "no memory"
ROOM_BYTES = 512 * 1024**2
"""The interpreter, the engine, stacks of threads, and what is reserved without being used."""


def main(memory_max_bytes: int) -> None:
    for kind, limit in (
        (resource.RLIMIT_DATA, memory_max_bytes + ROOM_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    answer(READY)
    for line in sys.stdin:
        path, cpu_max_s = json.loads(line)
        limit_cpu(cpu_max_s)
        answer(read(path, memory_max_bytes))


def answer(what: str) -> None:
    print(json.dumps(what), flush=True)


def limit_cpu(more_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + more_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def read(path: str, memory_max_bytes: int) -> str:
    name = path.replace("'", "''")
    settings = {  # in this order: nothing can be set after the last one
        "memory_limit": f"'{memory_max_bytes}B'",
        "temp_directory": "''",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_persistent_secrets": "false",
        "allowed_paths": f"['{name}']",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    try:
        with duckdb.connect(":memory:") as connection:
            for setting, value in settings.items():
                connection.execute(f"SET {setting} = {value}")
            # A hash looks at every byte of every value, and keeps none.
            connection.execute("SELECT bit_xor(hash(f)) FROM read_parquet(?) AS f", [path])
            connection.fetchall()
    except (duckdb.OutOfMemoryException, MemoryError):
        return NO_MEMORY
    except duckdb.Error as error:
        return f"{BAD}: {error}"[:300]
    return GOOD


if __name__ == "__main__":
    main(int(sys.argv[1]))
