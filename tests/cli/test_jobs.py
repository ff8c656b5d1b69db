"""`lakehouse jobs` and `lakehouse ingest --background`."""

from tests.cli.conftest import Shell

CSV = "name,score\nAda,95\nBo,88\n"
BAD = "a,b\n" + "1,2\n" * 2000 + "1,2,3\n"


def begin(quick: Shell, table: str, text: str = CSV) -> str:
    """Return the id of the job that loads `text`."""
    quick.write(f"{table}.csv", text)
    (job,) = quick.ok("ingest", f"{table}.csv", "--background", "--json").json()["loads"]
    job_id: str = job["id"]
    return job_id


def test_a_load_in_the_background_is_waited_for(quick: Shell) -> None:
    job_id = begin(quick, "waited")

    done = quick.ok("jobs", "wait", job_id)

    assert "succeeded" in done.stdout
    assert done.stderr == ""
    assert quick.ok("sql", "SELECT count(*) AS n FROM waited", "--json").json()["rows"] == [[2]]


def test_a_person_is_told_which_job_it_is(quick: Shell) -> None:
    quick.write("told.csv", CSV)

    said = quick.ok("ingest", "told.csv", "--background").stdout

    job_id = said.split()[-1]
    assert said.startswith("main.told is loaded by the job")
    assert quick.ok("jobs", "show", job_id, "--json").json()["subject"] == "main.told"


def test_waiting_exits_as_the_load_itself_would(quick: Shell) -> None:
    job_id = begin(quick, "bad", BAD)

    waited = quick.run("jobs", "wait", job_id)
    loaded = quick.run("ingest", "bad.csv")

    assert waited.code == loaded.code == 5
    assert "line 2002" in waited.stderr
    shown = quick.ok("jobs", "show", job_id)
    assert "failed" in shown.stdout
    assert "line 2002" in shown.stdout


def test_jobs_are_listed_by_kind_and_state(quick: Shell) -> None:
    job_id = begin(quick, "listed_by_job")
    quick.ok("jobs", "wait", job_id)

    listed = quick.ok("jobs", "list", "--kind", "ingest", "--state", "succeeded", "-n", "1")

    assert job_id in listed.stdout
    assert "100%" in listed.stdout
    found = quick.ok("jobs", "list", "--json").json()["jobs"]
    assert job_id in [job["id"] for job in found]
    assert "No jobs" in quick.ok("jobs", "list", "--kind", "none").stdout


def test_a_job_that_has_ended_stays_as_it_is(quick: Shell) -> None:
    job_id = begin(quick, "ended")
    quick.ok("jobs", "wait", job_id)

    assert quick.ok("jobs", "cancel", job_id, "--json").json()["state"] == "succeeded"


def test_a_job_that_is_not_there_exits_3_and_says_what_to_do(quick: Shell) -> None:
    for command in ("show", "cancel", "wait"):
        done = quick.run("jobs", command, "nothing")
        assert done.code == 3
        assert "lakehouse jobs list" in done.stderr


def test_what_has_no_background_is_wrong_usage(quick: Shell) -> None:
    quick.write("t.csv", CSV)

    assert quick.run("ingest", "t.csv", "--background", "--dry-run").code == 2
    assert quick.run("ingest", "t.csv", "--background", "--data", "lake").code == 2


def test_a_terminal_shows_a_bar(shell: Shell) -> None:
    job_id = begin(shell, "barred")

    shown = shell.on_terminal("jobs", "wait", job_id)

    assert "ingest main.barred" in shown
