"""`lakehouse maintenance`: what would be done, done, and what was done."""

from tests.cli.conftest import Shell


def test_small_files_of_a_table_become_one_and_the_run_is_listed(quick: Shell) -> None:
    for number in range(6):
        quick.write("small.csv", f"id\n{number}\n")
        quick.ok("ingest", "small.csv", "--mode", "append" if number else "create")

    planned = quick.ok("maintenance", "run", "small", "--dry-run", "--json").json()["runs"]
    done = quick.ok("maintenance", "run", "small")
    listed = quick.ok("maintenance", "status", "small", "--json").json()

    assert {run["outcome"] for run in planned} == {"planned", "nothing"}
    assert "compact" in done.stdout and "done" in done.stdout
    assert listed["enabled"] is True
    assert [run["task"] for run in listed["runs"]] == ["compact"]
    assert listed["runs"][0]["item_count"] == 6
    assert quick.ok("sql", "SELECT count(*) AS n FROM small", "--json").json()["rows"] == [[6]]
    assert "Nothing is worth doing" in quick.ok("maintenance", "run", "small").stdout


def test_a_table_that_is_not_there_is_said(quick: Shell) -> None:
    assert quick.run("maintenance", "run", "nowhere").code == 3
    assert "nowhere" in quick.run("maintenance", "run", "nowhere").stderr
