"""The nouns on the command line, against a real server."""

import io
import re
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Shell

PEOPLE = "name,city,score\nAda,Lyon,95\nBo,Oslo,88\n"


def load(shell: Shell, table: str, text: str = PEOPLE) -> None:
    shell.write(f"{table}.csv", text)
    shell.ok("ingest", f"{table}.csv")


def test_a_file_goes_in_and_is_named_after_itself(shell: Shell) -> None:
    shell.write("People of 2026.csv", PEOPLE)

    done = shell.ok("ingest", "People of 2026.csv")

    assert "2 rows" in done.stdout
    assert "main.people_of_2026" in done.stdout
    assert shell.ok("sql", "SELECT count(*) FROM people_of_2026", "--json").json()["rows"] == [[2]]


def test_a_table_is_named_and_appended_to(quick: Shell) -> None:
    quick.write("a.csv", PEOPLE)
    quick.write("b.csv", "name,city,score\nCy,Bergen,71\n")

    done = quick.ok("ingest", "appended", "a.csv", "b.csv", "--json")

    loads = done.json()["loads"]
    assert [each["row_count"] for each in loads] == [2, 3]
    again = quick.ok("ingest", "appended", "b.csv", "--mode", "append", "--json").json()
    assert again["loads"][0]["row_count"] == 4


def test_a_namespace_goes_before_the_dot(quick: Shell) -> None:
    quick.write("a.csv", PEOPLE)

    quick.ok("ingest", "sales.people", "a.csv")

    assert "sales.people" in quick.ok("tables", "--names").stdout.splitlines()
    assert quick.ok("describe", "sales.people", "--json").json()["namespace"] == "sales"


def test_stdin_is_a_file_too(shell: Shell) -> None:
    shell.ok("ingest", "piped", "-", "--format", "ndjson", stdin='{"a": 1}\n{"a": 2}\n')

    assert shell.ok("sql", "SELECT sum(a) FROM piped", "--json").json()["rows"] in ([[3]], [["3"]])


def test_a_dry_run_shows_and_writes_nothing(quick: Shell) -> None:
    quick.write("dry.csv", PEOPLE)

    done = quick.ok("ingest", "dry.csv", "--dry-run")

    assert "score" in done.stdout
    assert "Ada" in done.stdout
    assert quick.run("describe", "dry").code == 3
    assert quick.ok("ingest", "dry.csv", "--dry-run", "--json").json()["loads"]


def test_bad_rows_are_shown_and_nothing_is_loaded(quick: Shell) -> None:
    load(quick, "strict")
    quick.write("bad.csv", "name,city,score\nDi,Rome,a lot\n")

    done = quick.run("ingest", "strict", "bad.csv", "--mode", "append")

    assert done.code in (4, 5)
    assert "a lot" in done.stderr
    assert "score" in done.stderr
    assert quick.ok("sql", "SELECT count(*) FROM strict", "--json").json()["rows"] == [[2]]


def test_rejected_rows_are_reported_and_the_others_loaded(quick: Shell) -> None:
    load(quick, "lenient")
    quick.write("mixed.csv", "name,city,score\nDi,Rome,a lot\nEd,Nice,60\n")

    done = quick.ok("ingest", "lenient", "mixed.csv", "--mode", "append", "--on-error", "reject")

    assert "1 row rejected" in done.stdout
    assert "a lot" in done.stdout
    assert quick.ok("sql", "SELECT count(*) FROM lenient", "--json").json()["rows"] == [[3]]


def test_an_existing_table_is_not_created_again(quick: Shell) -> None:
    load(quick, "once")

    done = quick.run("ingest", "once.csv", "--mode", "create")

    assert done.code == 4
    assert "--mode append" in done.stderr


def test_types_and_partitions_are_taken(quick: Shell) -> None:
    quick.write("typed.csv", "zip,at\n01234,2026-01-01\n")

    quick.ok("ingest", "typed.csv", "--types", "zip=string", "--partition-by", "day(at)")

    described = quick.ok("describe", "typed", "--json").json()
    assert {"name": "zip", "type": "string"} in described["columns"]
    assert described["partition_by"] == ["day(at)"]


@pytest.mark.parametrize("words", [["gone.csv"], ["table", "gone.csv"], ["gone.csv", "too.csv"]])
def test_a_file_that_is_not_there_is_named(quick: Shell, words: list[str]) -> None:
    done = quick.run("ingest", *words)

    assert done.code == 3
    assert "gone.csv" in done.stderr
    assert done.stdout == ""


def test_rows_come_in_every_format(quick: Shell) -> None:
    load(quick, "formats")
    sql = "SELECT name, score FROM formats ORDER BY name"

    table = quick.ok("sql", sql).stdout
    assert re.search(r"\| name +\| score +\|", table)
    assert "\x1b[" not in table
    lines = quick.ok("sql", sql, "--format", "csv").stdout.splitlines()
    assert lines == ["name,score", "Ada,95", "Bo,88"]
    assert quick.ok("sql", sql, "--format", "ndjson").stdout.startswith('{"name":"Ada","score":95}')
    document = quick.ok("sql", sql, "--json").json()
    assert document["rows"] == [["Ada", 95], ["Bo", 88]]
    assert document["row_count"] == 2
    assert [column["name"] for column in document["columns"]] == ["name", "score"]


def test_rows_go_into_files_named_by_format(quick: Shell) -> None:
    load(quick, "exported")

    quick.ok("sql", "FROM exported ORDER BY name", "-o", "out.parquet")
    quick.ok("sql", "FROM exported ORDER BY name", "-o", "out.arrow")

    assert pq.read_table(quick.folder / "out.parquet").column("score").to_pylist() == [95, 88]
    stream = io.BytesIO((quick.folder / "out.arrow").read_bytes())
    assert pa.ipc.open_stream(stream).read_all().num_rows == 2


def test_a_failed_export_leaves_no_file(quick: Shell) -> None:
    done = quick.run("sql", "SELECT nothing", "-o", "out.csv")

    assert done.code == 5
    assert list(quick.folder.iterdir()) == []


def test_statements_come_from_stdin_and_files_with_parameters(quick: Shell) -> None:
    load(quick, "asked")
    quick.write("q.sql", "SELECT name FROM asked WHERE city = $city AND score > $least")

    named = quick.ok("sql", "-f", "q.sql", "-p", "city=Lyon", "-p", "least=90", "--json")
    assert named.json()["rows"] == [["Ada"]]
    ordered = quick.ok("sql", "--json", "-p", "Oslo", stdin="SELECT name FROM asked WHERE city = ?")
    assert ordered.json()["rows"] == [["Bo"]]


def test_a_table_can_be_read_as_it_was(quick: Shell) -> None:
    load(quick, "past")
    quick.ok("ingest", "past", "past.csv", "--mode", "append", "--json")
    snapshots = quick.ok("history", "past", "--json").json()["snapshots"]
    assert [each["row_count"] for each in snapshots] == [4, 2]

    first = str(snapshots[-1]["snapshot_id"])
    done = quick.ok("sql", "SELECT count(*) FROM past", "--as-of", f"past={first}", "--json")

    assert done.json()["rows"] == [[2]]
    assert first in quick.ok("history", "past").stdout
    assert "newest 1" in quick.ok("history", "past", "--limit", "1").stderr


def test_tables_are_listed_with_their_rows(quick: Shell) -> None:
    load(quick, "listed")

    listed = quick.ok("tables", "--namespace", "main", "--json").json()["tables"]
    found = next(each for each in listed if each["name"] == "main.listed")
    assert found["row_count"] == 2
    assert found["damaged"] is None
    assert re.search(r"main\.listed +\| +2 ", quick.ok("tables").stdout)


def test_a_description_names_columns_and_partitions(quick: Shell) -> None:
    load(quick, "described")

    shown = quick.ok("describe", "described").stdout

    assert "main.described" in shown
    assert re.search(r"\| score +\| long", shown)
    assert "partitioned by  nothing" in shown


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["describe", "there_is_none"], 3, "lakehouse tables"),
        (["history", "there_is_none"], 3, "there_is_none"),
        (["sql", "SELEKT 1"], 5, "SELEKT"),
        (["sql", "SELECT * FROM there_is_none"], 5, "there_is_none"),
        (["tables", "--url", "http://127.0.0.1:9"], 6, "lakehouse serve"),
        (["tables", "--url", "nonsense"], 5, "is not a URL"),
        (["tables", "--url", "http://127.0.0.1:9", "--data", "x"], 2, "not both"),
    ],
)
def test_errors_are_one_line_with_a_code_and_the_next_step(
    quick: Shell, words: list[str], code: int, says: str
) -> None:
    done = quick.run(*words)

    assert done.code == code
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if code != 2:
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words", "code", "said"),
    [
        ("x\n1\n", "upsert", 5, "--key names the columns that --mode upsert and --mode delete go"),
        ("x\n1\n", "upsert --key x --evolve", 5, "--evolve goes with --mode create"),
        ("x\n1\n", "append", 4, "--evolve takes the columns as they come"),
        (PEOPLE + "Cy,Rom,odd\n", "append", 4, "good rows alone with --on-error reject"),
    ],
)
def test_an_error_of_a_command_names_its_own_options(
    quick: Shell, text: str, words: str, code: int, said: str
) -> None:
    load(quick, "optioned")
    wrong = quick.write("wrong.csv", text)
    done = quick.run("ingest", "optioned", wrong, "--mode", *words.split())
    assert done.code == code, done.stderr
    assert said in done.stderr
    assert not re.search(r"\w=\w|/v1/", done.stderr), done.stderr


def test_an_error_is_one_json_document_too(shell: Shell) -> None:
    done = shell.run("describe", "there_is_none", "--json")

    error = done.json()["error"]
    assert done.code == error["exit_code"] == 3
    assert error["type"] == "table-not-found"
    assert error["status"] == 404
    assert "there_is_none" in error["detail"]
    assert error["trace_id"]


def test_colour_is_for_terminals_that_want_it(shell: Shell) -> None:
    coloured = shell.run("describe", "there_is_none", FORCE_COLOR="1", TERM="xterm")
    plain = shell.run("describe", "there_is_none", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm")

    assert "\x1b[1;31m" in coloured.stderr
    assert "31m" not in plain.stderr


def test_more_rows_than_are_shown_are_said(quick: Shell) -> None:
    done = quick.ok("sql", "SELECT unnest(range(500)) AS n", "--rows", "3")

    assert "the first 3 rows" in done.stderr
    assert "--rows 0" in done.stderr
    assert (
        len(quick.ok("sql", "SELECT unnest(range(500)) AS n", "--rows", "0").stdout.splitlines())
        > 500
    )


def test_a_terminal_sees_a_bar_then_a_spinner_then_the_result(shell: Shell) -> None:
    shell.write("seen.csv", "n\n" + "1\n" * 400_000)

    seen = shell.on_terminal("ingest", "seen.csv")

    assert "seen.csv → seen" in seen
    assert re.search(r"/s\b", seen)
    assert "the server commits" in seen
    assert "main.seen" in seen
    assert seen.rstrip().splitlines()[-1].count("400,000 rows") == 2


def test_files_say_what_they_are_or_the_options_do(quick: Shell) -> None:
    quick.ok("ingest", "formed", quick.write("a.json", '[{"id": 1, "city": "Lyon"}]'))
    quick.ok("sql", "FROM formed", "-o", "formed.orc")
    quick.ok("ingest", "formed", "formed.orc", "--mode", "append")
    quick.ok("export", "formed", "--format", "avro", "-o", "formed.avro")
    quick.ok("ingest", "as_avro", "formed.avro")
    assert quick.ok("sql", "FROM as_avro", "--json").json()["rows"] == [[1, "Lyon"]] * 2
    bars = quick.write("a.csv", "id||city\n2||Oslo\n")
    quick.ok("ingest", "formed", bars, "--delimiter", "||", "--mode", "append")
    fixed = quick.write("a.txt", "3    Zürich\n")
    options = ("--widths", "id:5,city:10", "--mode", "append")
    quick.ok("ingest", "formed", fixed, *options, "--types", "id=long")
    with zipfile.ZipFile(quick.folder / "a.zip", "w") as archive:
        archive.write(quick.folder / "a.json", "x/a.json")
        archive.writestr("b.csv", "id,city\nx,Rome\n")

    lines = quick.ok("sql", "SELECT id, city FROM formed ORDER BY id", "--format", "csv").stdout
    assert lines.split() == ["id,city", "1,Lyon", "1,Lyon", "2,Oslo", "3,Zürich"]
    refused = quick.run("ingest", "formed", "a.zip", "--mode", "append")
    assert refused.code != 0
    assert "b.csv" in refused.stderr
