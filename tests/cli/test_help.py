"""Help that teaches, and loads nothing for it."""

import os
import subprocess
import sys

import click
import pytest
import rich_click

from lakehouse.cli import lakehouse

HEAVY = [
    "duckdb",
    "httpx",
    "litestar",
    "granian",
    "pyarrow",
    "lakehouse.client",
    "lakehouse.config",
]


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in lakehouse.commands.items():
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {child}": it for child, it in command.commands.items()}
    return found


def help_of(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    return done.stdout


def test_there_are_the_nouns() -> None:
    nouns = ["serve", "demo", "ingest", "sql", "tables", "describe", "history", "config", "doctor"]
    assert set(nouns) <= set(lakehouse.commands)


@pytest.mark.parametrize("name", commands())
def test_each_command_says_what_it_does_and_shows_examples(name: str) -> None:
    command = commands()[name]

    assert command.help
    assert f"  lakehouse {name}" in str(command.epilog)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no help"


def test_each_command_that_answers_has_json() -> None:
    for name, command in commands().items():
        if not isinstance(command, click.Group):
            options = {option for parameter in command.params for option in parameter.opts}
            assert "--json" in options, name


def test_the_first_page_explains_the_exit_codes() -> None:
    shown = " ".join(help_of().split())

    assert "Exit codes: 0 done" in shown
    assert "3 not found" in shown


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from lakehouse.cli import lakehouse;"
        "lakehouse(['--help'], standalone_mode=False);"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "heavy: []" in done.stdout


def test_wrong_usage_exits_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", "sql", "--nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
    assert done.stdout == ""


def test_every_command_has_its_place_in_the_help() -> None:
    groups = rich_click.rich_click.COMMAND_GROUPS["*lakehouse"]
    placed = [name for group in groups for name in group["commands"]]
    assert sorted(placed) == sorted(lakehouse.commands)
