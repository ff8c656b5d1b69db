"""`lakehouse schedule`: made, shown, run, paused and deleted by commands."""

from pathlib import Path

import pytest

from lakehouse.cli.schedules import option_of
from tests.cli.conftest import Shell


def test_a_schedule_from_its_first_command_to_its_last(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "totals.sql").write_text("SELECT 41 + 1 AS a")
    name, table = f"s-{tmp_path.name}"[:60], "scheduled_totals"
    shell.ok("schedule", "create", name, "0 0 29 2 *", table, "--file", "totals.sql")

    job = shell.ok("schedule", "run", name, "--json").json()
    shell.ok("jobs", "wait", job["id"])
    told = shell.ok("schedule", "show", name, "--json").json()
    shown = shell.ok("schedule", "show", name).stdout
    listed = shell.ok("schedule", "list").stdout
    paused = shell.ok("schedule", "pause", name).stdout
    resumed = shell.ok("schedule", "resume", name, "--json").json()

    assert (told["schedule"]["mode"], told["schedule"]["table"]) == ("overwrite", table)
    assert told["runs"][0]["job_id"] == job["id"]
    assert "asked" in shown
    assert name in listed
    assert "paused" in paused
    assert resumed["next_at"]
    assert shell.ok("sql", f"SELECT a FROM {table}", "--json").json()["rows"] == [[42]]
    assert shell.ok("schedule", "delete", name, "--json").json() == {"deleted": name}
    assert shell.run("schedule", "show", name).code == 3


def test_a_source_with_options(shell: Shell) -> None:
    words = ["src", "*/5 * * * *", "t", "--source", "object:in/", "--option", "evolve=true"]
    made = shell.ok("schedule", "create", *words, "--json").json()
    again = shell.run("schedule", "create", *words)
    shell.ok("schedule", "delete", "src")

    assert made["options"] == {"evolve": True}
    assert again.code == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["x", "0 * * * *", "t"], 2),
        (["x", "0 * * * *", "t", "--sql", "SELECT 1", "--source", "object:x/"], 2),
        (["x", "0 * * * *", "t", "--source", "object:x/", "--option", "evolve"], 2),
        (["x", "0 * * * *", "t", "--sql", "SELECT 1", "--file", "x.sql"], 2),
        (["x", "0 * * * *", "t", "--file", "not-there.sql"], 3),
        (["x", "hourly", "t", "--sql", "SELECT 1"], 5),
        (["x", "0 * * * *", "t", "--source", "s3://not/listed"], 7),
    ],
)
def test_what_makes_no_sense_is_refused(shell: Shell, words: list[str], code: int) -> None:
    assert shell.run("schedule", "create", *words).code == code


def test_options_are_what_a_load_takes() -> None:
    assert option_of("types=zip:string,price:double") == (
        "types",
        {"zip": "string", "price": "double"},
    )
    assert option_of("partition_by=day(at),city") == ("partition_by", ["day(at)", "city"])
    assert option_of("delimiter==") == ("delimiter", "=")
