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
    status = quick.run("maintenance", "status", "nowhere")
    assert status.code == 3 and "no table is named 'main.nowhere'" in status.stderr


def test_what_was_done_to_a_table_that_was_dropped_is_still_listed(quick: Shell) -> None:
    for number in range(6):
        quick.write("left.csv", f"id\n{number}\n")
        quick.ok("ingest", "left.csv", "--mode", "append" if number else "create")
    quick.ok("maintenance", "run", "left")
    assert [run["table"] for run in listed(quick, "LEFT")] == ["main.left"], "as SQL finds it"
    quick.ok("drop", "left")
    assert [run["table"] for run in listed(quick, "left")] == ["main.left"]


def listed(quick: Shell, table: str) -> list[dict[str, object]]:
    runs: list[dict[str, object]] = quick.ok("maintenance", "status", table, "--json").json()[
        "runs"
    ]
    return runs
