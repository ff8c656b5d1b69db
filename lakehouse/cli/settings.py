"""`config show` and `config check`, and the settings that options change."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.text import Text

from lakehouse.cli import output
from lakehouse.config import PREFIX, Config, load_config
from lakehouse.errors import LakehouseError

DEFAULT_DATA_DIR = Path("lakehouse-data")
SECRET = re.compile(r"(secret|password|token|access_key)(?!.*_file$)")
CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
MASK = "********"


def settings(
    config_file: Path | None,
    *,
    data_dir: Path | None = None,
    host: str | None = None,
    port: int | None = None,
) -> Config:
    """Return the settings, with those that options gave.

    Raises:
        InvalidInputError: the file or a variable is wrong.
    """
    config = load_config(config_file)
    given = {"data_dir": data_dir, "host": host, "port": port}
    changed = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **changed))


def data_directory(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where everything lies: as configured, else systemd's place, else a folder here."""
    if config.server.data_dir is not None:
        return config.server.data_dir
    state = environ.get("STATE_DIRECTORY")  # several are joined by colons; the first is ours
    return Path(state.partition(":")[0]) if state else DEFAULT_DATA_DIR


def problems_of(config_file: Path | None) -> tuple[Config | None, list[str]]:
    """Return the settings, or everything that is wrong with them."""
    try:
        return load_config(config_file), []
    except LakehouseError as error:
        found = error.context.get("problems")
        return None, [str(each) for each in found] if isinstance(found, list) else [error.detail]


def check(config_file: Path | None, as_json: bool) -> None:
    """Say all that is wrong; the exit code is 5 then."""
    _, problems = problems_of(config_file)
    if as_json:
        output.emit({"ok": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            output.stderr().print(Text(f"error: {output.visible(problem)}", "red"), soft_wrap=True)
    else:
        output.stdout().print("The configuration is right.", style="green")
    if problems:
        from lakehouse.cli.exits import REFUSED

        click.get_current_context().exit(REFUSED)


def show(config_file: Path | None, as_json: bool) -> None:
    rows = [
        {"name": name, "value": masked(name, value), "origin": origin}
        for name, value, origin in effective(config_file)
    ]
    if as_json:
        output.emit({"settings": rows})
        return
    output.show(
        [("setting", ""), ("value", ""), ("origin", "")],
        [(row["name"], row["value"], row["origin"]) for row in rows],
    )


def effective(
    config_file: Path | None, environ: Mapping[str, str] = os.environ
) -> Iterator[tuple[str, Any, str]]:
    """Yield every setting with its value and its origin: a variable, the file, or the default."""
    config = load_config(config_file, environ)
    in_file = tomllib.loads(config_file.read_text("utf-8")) if config_file else {}
    for section, values in msgspec.to_builtins(config).items():
        for key, value in values.items():
            name, variable = f"{section}.{key}", f"{PREFIX}{section}__{key}".upper()
            if variable in environ:
                yield name, value, variable
            elif key in in_file.get(section, {}):
                yield name, value, str(config_file)
            else:
                yield name, value, "default"


def masked(name: str, value: Any) -> Any:
    if isinstance(value, str) and value:
        return MASK if SECRET.search(name) else CREDENTIALS.sub(MASK, value)
    return value
