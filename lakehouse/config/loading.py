"""Settings from defaults, the TOML file and variables; what is wrong is said all at once."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lakehouse.config.config import Config, Section
from lakehouse.config.errors import BrokenRulesError, WrongSettingsError
from lakehouse.config.memory import default_memory_bytes
from lakehouse.config.values import builtin, converted, described

PREFIX = "LAKEHOUSE_"
MASK = "********"
LISTED_MAX = 12

SECRETS = {
    "LAKEHOUSE_TOKEN": "The token that commands and the client send, and an admin's of a server.",
    "AWS_ACCESS_KEY_ID": "Keys to the object store, unless `storage.credentials_file` names some.",
    "AWS_SECRET_ACCESS_KEY": "The secret of that key.",
    "AWS_SESSION_TOKEN": "The token of keys that end.",
}
OTHER_VARIABLES = {
    "LAKEHOUSE_URL": "The server that the commands and the client talk to.",
    "LAKEHOUSE_PYTHON": "Development: the Python that `just` uses.",
    "LAKEHOUSE_FAILPOINT": "Development: a file in which the crash test says where it kills.",
    "LAKEHOUSE_BENCH_DATA": "Development: where benchmarks keep their files.",
    "LAKEHOUSE_PROOF_REPORTS": "Development: where proofs are written.",
    "LAKEHOUSE_TEST_LONG": "Development: tests that take longer run too.",
    "LAKEHOUSE_TEST_VALUES": "Development: every call on a long value is asked: 15 minutes.",
    "LAKEHOUSE_SERVICES": "Development: the folder of the servers that `just services` builds.",
    "LAKEHOUSE_ENGINES": "Development: the folder of the engines that `just engines` brings.",
    "LAKEHOUSE_TEST_S3": "Development: the catalog's tests have their warehouse in a bucket.",
    "LAKEHOUSE_TEST_LARGE": "Development: so do those that write gigabytes.",
    "LAKEHOUSE_TEST_POSTGRES": "Development: the catalog's tests keep their state in PostgreSQL.",
    "LAKEHOUSE_TEST_SERVICES": "Development: a test that finds no real server fails.",
    "LAKEHOUSE_FUZZ": "Development: how many random statements are sent to the gate.",
    "LAKEHOUSE_SOAK": "Development: how many random sequences of changes are tried.",
}
"""Variables with our prefix that are no settings."""

SECTIONS: dict[str, type[Section]] = {
    section.name: section.type for section in msgspec.structs.fields(Config)
}
FIELDS: dict[str, msgspec.structs.FieldInfo] = {
    f"{section}.{setting.name}": setting
    for section, type_ in SECTIONS.items()
    for setting in msgspec.structs.fields(type_)
}


def variable_of(name: str) -> str:
    """`server.port` -> `LAKEHOUSE_SERVER__PORT`."""
    return PREFIX + name.upper().replace(".", "__")


VARIABLES = {variable_of(name): name for name in FIELDS}


@dataclass(frozen=True, slots=True)
class Given:
    """A value that is not the default."""

    value: Any
    origin: str
    """`lakehouse.toml:12`, or the variable."""
    is_text: bool = False
    """From a variable: `3110` is a number."""


@dataclass(slots=True)
class Reading:
    """What was found so far."""

    given: dict[str, Given] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    """Where each section was opened."""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in force: its value as plain data, and where it comes from."""

    name: str
    value: Any
    origin: str
    """`default`, `lakehouse.toml:12`, or a variable."""


def load_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings from `path` (TOML), overridden by `LAKEHOUSE_<SECTION>__<KEY>`.

    Raises:
        WrongSettingsError: it names every wrong key of file and environment, with its line and
            the nearest key that there is.
    """
    return put_together(read(path, environ))


def effective(
    path: Path | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Setting, ...]:
    """Return each setting that is in force, and its origin. Secrets are masked.

    A default that depends on the machine is shown as what it comes to here.

    Raises:
        WrongSettingsError: as in `load_config`.
    """
    reading = read(path, environ)
    config = put_together(reading)
    settings = []
    for name in FIELDS:
        section, _, key = name.partition(".")
        value = getattr(getattr(config, section), key)
        origin = reading.given[name].origin if name in reading.given else "default"
        if name == "memory.max_bytes" and value is None:
            value = default_memory_bytes()
        elif name == "server.data_dir" and value is None:
            value = data_directory(config, environ)
            origin = "STATE_DIRECTORY" if environ.get("STATE_DIRECTORY") else origin
        settings.append(Setting(name, builtin(value), origin))
    settings += [Setting(name, MASK, name) for name in SECRETS if environ.get(name)]
    return tuple(settings)


def data_directory(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where everything lies: as configured, else systemd's place, else a folder here."""
    if config.server.data_dir is not None:
        return config.server.data_dir
    state = environ.get("STATE_DIRECTORY")  # several are joined by colons; the first is ours
    return Path(state.partition(":")[0]) if state else Path("lakehouse-data")


def read(path: Path | None, environ: Mapping[str, str]) -> Reading:
    reading = Reading()
    if path is not None:
        read_file(path, reading)
    for name, value in sorted(environ.items()):
        if name in VARIABLES:
            reading.given[VARIABLES[name]] = Given(value, name, is_text=True)
        elif name.startswith(PREFIX) and name not in SECRETS | OTHER_VARIABLES:
            known = [*VARIABLES, *SECRETS, *OTHER_VARIABLES]
            reading.problems.append(f"the variable {name[:100]} is unknown{near(name, known)}")
    return reading


def read_file(path: Path, reading: Reading) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        tomllib.loads(text)
    except OSError as error:
        reading.problems.append(f"{path} cannot be read: {(error.strerror or str(error)).lower()}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        reading.problems.append(f"{path}:{line}: this is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        reading.problems.append(syntax_problem(path, text, str(error)))
    else:
        for line, values in statements(text):
            read_statement(f"{path}:{line}", values, reading)


def syntax_problem(path: Path, text: str, message: str) -> str:
    found = re.search(r"\(at line (\d+), column \d+\)", message)
    line = found[1] if found else text.count("\n") + 1
    return f"{path}:{line}: this is not TOML: {message.partition(' (at ')[0].lower()}"


def statements(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, values) for each statement of a file that is TOML as a whole.

    `tomllib` says no lines. But each statement of a good file parses alone, so a line that does
    not parse goes on with the next one.
    """
    header, begun, buffer = "", 0, ""
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        begun = begun if buffer else number
        buffer += line
        try:
            tomllib.loads(buffer)
        except tomllib.TOMLDecodeError:
            continue
        statement, buffer = buffer, ""
        if statement.lstrip().startswith("["):
            header = statement
            yield begun, tomllib.loads(header)
        elif values := tomllib.loads(statement):
            yield begun, tomllib.loads(header + statement) if header else values


def read_statement(origin: str, values: dict[str, Any], reading: Reading) -> None:
    for section, keys in values.items():
        if section not in SECTIONS:
            if section not in reading.lines:  # said once, not for each of its keys
                what = "section" if isinstance(keys, dict | list) else "key"
                hint = near(section, SECTIONS, elsewhere=FIELDS)
                reading.problems.append(f"{origin}: the {what} {section[:80]!r} is unknown{hint}")
        elif not isinstance(keys, dict):
            reading.problems.append(f"{origin}: {section} is a section: write [{section}]")
        else:
            read_keys(origin, section, keys, reading)
        reading.lines.setdefault(section, origin)


def read_keys(origin: str, section: str, keys: dict[str, Any], reading: Reading) -> None:
    known = SECTIONS[section].__struct_fields__
    for key, value in keys.items():
        if key in known:
            reading.given[f"{section}.{key}"] = Given(value, origin)
        else:
            hint = near(key, known, elsewhere=FIELDS)
            reading.problems.append(f"{origin}: the key {key[:80]!r} of {section} is unknown{hint}")


def near(name: str, known: Iterable[str], *, elsewhere: Iterable[str] = ()) -> str:
    """Return `; did you mean ...?` with the nearest name that there is, else all of them."""
    known, keys = list(known), {key_of(each): each for each in (*elsewhere, *known)}
    close = (
        [each for key, each in keys.items() if key == key_of(name)]
        or difflib.get_close_matches(name, known, n=1)
        or [keys[key] for key in difflib.get_close_matches(key_of(name), keys, n=1)]
    )
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if len(known) < LISTED_MAX else ""


def key_of(name: str) -> str:
    """`server.port` and `LAKEHOUSE_SERVER__PORT` -> `port`."""
    return re.split(r"__|\.", name.removeprefix(PREFIX).lower())[-1]


def put_together(reading: Reading) -> Config:
    """Return the settings, checked one by one, then those of each section, then all together."""
    problems = list(reading.problems)
    sections: dict[str, Section] = {}
    for section, type_ in SECTIONS.items():
        values: dict[str, Any] = {}
        for setting in msgspec.structs.fields(type_):
            name = f"{section}.{setting.name}"
            if name not in reading.given:
                continue
            given = reading.given[name]
            try:
                values[setting.name] = converted(given.value, setting.type, is_text=given.is_text)
            except ValueError:
                problems.append(
                    f"{given.origin}: {name} is {shown(given.value)}, not {described(setting.type)}"
                )
        try:
            sections[section] = type_(**values)
        except BrokenRulesError as error:
            problems += [sentence(reading, f"{section}.{key}", why) for key, why in error.rules]
    if not problems:
        try:
            return Config(**sections)  # type: ignore[arg-type]
        except BrokenRulesError as error:
            problems += [sentence(reading, key, why) for key, why in error.rules]
    raise WrongSettingsError(sorted(problems, key=by_line))


def by_line(problem: str) -> tuple[bool, int]:
    """The file from its top to its end, then what no line is to blame for."""
    line = re.match(r"\S+:(\d+): ", problem)
    return (line is None, int(line[1]) if line else 0)


def sentence(reading: Reading, name: str, why: str) -> str:
    given = reading.given.get(name)
    return f"{given.origin}: {name} {why}" if given else f"{name} {why}"


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
