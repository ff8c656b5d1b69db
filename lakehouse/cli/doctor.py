"""`doctor`: is everything here that the configuration names, and if not, what mends it?"""

import fcntl
import os
import platform
import shlex
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec
from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli.settings import problems_of
from lakehouse.client import Client
from lakehouse.config import (
    MEMORY_SHARE,
    CatalogConfig,
    Config,
    StorageConfig,
    available_memory_bytes,
    data_directory,
    default_memory_bytes,
)
from lakehouse.database import EXTENSIONS, Database, DatabaseSettings, extension_file
from lakehouse.disk import Disk
from lakehouse.errors import LakehouseError
from lakehouse.state import DataDirectory, catalog_server
from lakehouse.storage import open_warehouse

PYTHON_MIN = (3, 11)
PROBE_MEMORY_BYTES = 256 * 1024 * 1024
HEALTH_TIMEOUT_S = 2.0


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    mend: str | None = None
    """The command that mends it, or what to do."""


def doctor(data_dir: Path | None, config_file: Path | None, as_json: bool) -> None:
    checks = list(examined(data_dir, config_file))
    missing = [check for check in checks if not check.ok]
    if as_json:
        output.emit({"ok": not missing, "missing": missing, "checks": checks})
    else:
        target = output.stdout()
        for check in checks:
            mark = Text("ok      ", "green") if check.ok else Text("missing ", "bold red")
            target.print(
                Text.assemble(mark, f"{check.name}: {output.visible(check.detail)}"), soft_wrap=True
            )
            if check.mend:
                target.print(Text(f"        → {check.mend}", "yellow"), soft_wrap=True)
    if missing:
        click.get_current_context().exit(1)


def examined(data_dir: Path | None, config_file: Path | None) -> Iterator[Check]:
    yield python()
    yield from engine()
    config, problems = problems_of(config_file)
    yield from (
        Check("configuration", False, problem, again("lakehouse config check", config_file))
        for problem in problems
    )
    if config is None:  # what it would have named is not known
        return
    yield Check(
        "configuration", True, str(config_file) if config_file else "defaults and variables"
    )
    directory = (data_dir or data_directory(config)).absolute()
    yield from data(directory, config.disk.reserve_bytes)
    if config.catalog.uri is not None:
        yield catalog(config.catalog)
    if config.storage.warehouse is not None:
        yield bucket(config.storage)
    yield port(config)
    yield memory(config)


def again(command: str, config_file: Path | None) -> str:
    return f"{command} --config {shlex.quote(str(config_file))}" if config_file else command


def python() -> Check:
    found = platform.python_version()
    if sys.version_info >= PYTHON_MIN:
        return Check("python", True, found)
    wanted = ".".join(map(str, PYTHON_MIN))
    return Check("python", False, f"{found} is older than {wanted}", f"install Python {wanted}")


def engine() -> Iterator[Check]:
    """Look for the extensions that came as wheels, then load them all as the server does."""
    version = metadata.version("duckdb")
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    missing = [name for name in EXTENSIONS if not has_extension(name)]
    for name in missing:
        package = f"duckdb-extension-{name}=={version}"
        yield Check(f"extension {name}", False, f"none for DuckDB {version}", f"{pip} {package}")
    if missing:
        return
    failure = engine_failure()
    if failure is None:
        yield Check("engine", True, f"DuckDB {version} with {', '.join(EXTENSIONS)}")
        return
    mend = f"{pip} --force-reinstall duckdb=={version} " + " ".join(
        f"duckdb-extension-{name}=={version}" for name in EXTENSIONS
    )
    yield Check("engine", False, f"DuckDB {version} does not start: {failure}", mend)


def has_extension(name: str) -> bool:
    try:
        return extension_file(name).is_file()
    except ModuleNotFoundError:
        return False


def engine_failure() -> str | None:
    with TemporaryDirectory(prefix="lakehouse-doctor-") as folder:
        settings = DatabaseSettings(
            directories=(Path(folder),),
            temp_dir=Path(folder) / "spill",
            memory_max_bytes=PROBE_MEMORY_BYTES,
            temp_max_bytes=PROBE_MEMORY_BYTES,
        )
        try:
            with Database.open(settings) as database, database.cursor() as cursor:
                cursor.execute("SELECT 1").fetchall()
        except Exception as error:  # whatever keeps it from starting is what we look for
            return f"{type(error).__name__}: {error}"
    return None


def data(directory: Path, reserve_bytes: int | None = None) -> Iterator[Check]:
    """Look at the data directory, or at the place where it will be made, and change nothing."""
    quoted = shlex.quote(str(directory))
    there = nearest(directory)
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        mend = f"sudo install -d -m 700 -o {os.getuid()} -g {os.getgid()} {quoted}"
        yield Check("data directory", False, f"{there} cannot be written", mend)
        return
    if there != directory:
        yield Check("data directory", True, f"{directory} will be made")
    elif mode_of(directory) & 0o067:  # `storage.group` lets its members pass through, no more
        detail = f"{directory} can be entered by others (mode {mode_of(directory):o})"
        yield Check("data directory", False, detail, f"chmod 700 {quoted}")
    else:
        yield Check("data directory", True, str(directory))
    if (directory / "format").is_file() and (problem := format_problem(directory)):
        yield Check("format", False, problem, "install the lakehouse that wrote it")
    if owner := holder(directory):
        yield Check("lock", True, f"held by {owner}")
    yield disk(there, reserve_bytes)


def disk(folder: Path, reserve_bytes: int | None) -> Check:
    usage = Disk(folder, reserve_bytes).usage()
    free, reserve = output.size(usage.free_bytes), output.size(usage.reserve_bytes)
    detail = f"{free} free; uploads leave {reserve} of it"
    if usage.room_bytes > 0:
        return Check("disk", True, detail)
    return Check("disk", False, f"{detail}, so nothing can be loaded", f"make room on {folder}")


def nearest(path: Path) -> Path:
    """Return the path, or the first of its parents that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def format_problem(directory: Path) -> str | None:
    """Return why the format of the directory is not ours, found out on a copy of its mark."""
    with TemporaryDirectory(prefix="lakehouse-doctor-") as folder:
        copy = Path(folder) / "data"
        copy.mkdir(mode=0o700)
        shutil.copyfile(directory / "format", copy / "format")
        try:
            with DataDirectory.open(copy):
                return None
        except LakehouseError as error:
            return error.detail.replace(str(copy), str(directory))


def holder(directory: Path) -> str | None:
    """Return which process holds the directory; None when none does.

    The lock is shared for the moment of the question, so it never counts as a holder itself.
    """
    try:
        with (directory / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return described((directory / "lock").read_bytes())
    except OSError:
        return None
    return None


def described(lock: bytes) -> str:
    try:
        said = msgspec.json.decode(lock, type=dict[str, object])
    except msgspec.DecodeError:
        return "another process"
    return f"PID {said.get('pid')} on {said.get('host')} at {said.get('address')}"


def catalog(config: CatalogConfig) -> Check:
    """Does the PostgreSQL that has the catalog answer us?"""
    try:
        return Check("catalog", True, f"PostgreSQL {catalog_server(config)} at {config.uri}")
    except LakehouseError as error:
        return Check("catalog", False, error.detail, "see docs/postgresql.md")


def bucket(config: StorageConfig) -> Check:
    """Does the bucket that has the warehouse answer us, with the keys that the server would use?"""
    with TemporaryDirectory(prefix="lakehouse-doctor-") as folder:
        found = open_warehouse(config, Path(folder), Path(folder)).bucket
        assert found is not None, "the settings name one"
        try:
            found.check()
        except LakehouseError as error:
            return Check("warehouse", False, error.detail, "see docs/storage.md")
    return Check("warehouse", True, f"{config.warehouse} at {config.endpoint}")


def port(config: Config) -> Check:
    """Is the port free, or is it our own server that has it?"""
    host, number = config.server.host, config.server.port
    where = f"{host}:{number}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            reason = error.strerror
        else:
            return Check("port", True, f"{where} is free")
    url = f"http://[{host}]:{number}" if ":" in host else f"http://{where}"
    try:
        with Client(url, timeout_s=HEALTH_TIMEOUT_S) as lake:
            if lake.health().service == "lakehouse":
                return Check("port", True, f"{where}: a lakehouse is running")
    except LakehouseError:
        pass
    mend = f"LAKEHOUSE_SERVER__PORT={number + 1} lakehouse serve, or see who has it: ss -ltnp"
    return Check("port", False, f"{where} cannot be used: {reason}", mend)


def memory(config: Config) -> Check:
    """Does the budget fit into what the machine and the control group give?"""
    budget, available = config.memory.max_bytes, available_memory_bytes()
    if budget is None:
        detail = f"{output.size(default_memory_bytes())}, {MEMORY_SHARE:.0%} of what there is"
        return Check("memory", True, detail)
    if budget <= available:
        return Check("memory", True, f"{output.size(budget)} of {output.size(available)}")
    detail = f"memory.max_bytes is {budget:,}, more than the {available:,} there are"
    mend = f"set memory.max_bytes to {default_memory_bytes():_}, or leave it out"
    return Check("memory", False, detail, mend)
