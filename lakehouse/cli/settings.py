"""`config show` and `config check`, and the settings that options change."""

from pathlib import Path

import click
import msgspec
from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli.exits import REFUSED
from lakehouse.config import Config, WrongSettingsError, effective, load_config


def settings(
    config_file: Path | None,
    *,
    data_dir: Path | None = None,
    host: str | None = None,
    port: int | None = None,
) -> Config:
    """Return the settings, with those that options gave.

    Raises:
        WrongSettingsError: it names all that is wrong.
    """
    config = load_config(config_file)
    given = {"data_dir": data_dir, "host": host, "port": port}
    changed = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **changed))


def problems_of(config_file: Path | None) -> tuple[Config | None, list[str]]:
    """Return the settings, or everything that is wrong with them."""
    try:
        return load_config(config_file), []
    except WrongSettingsError as error:
        return None, list(error.problems)


def check(config_file: Path | None, as_json: bool) -> None:
    """Say all that is wrong, a line each; the exit code is 5 then."""
    _, problems = problems_of(config_file)
    if as_json:
        output.emit({"ok": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            output.stderr().print(Text(f"error: {output.visible(problem)}", "red"), soft_wrap=True)
    else:
        output.stdout().print("The configuration is right.", style="green")
    if problems:
        click.get_current_context().exit(REFUSED)


def show(config_file: Path | None, as_json: bool) -> None:
    found = effective(config_file)
    if as_json:
        rows = [{"name": it.name, "value": it.value, "origin": it.origin} for it in found]
        output.emit({"settings": rows})
        return
    output.show(
        [("setting", ""), ("value", ""), ("origin", "")],
        [(it.name, it.value, it.origin) for it in found],
    )
