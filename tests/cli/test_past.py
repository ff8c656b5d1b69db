"""Commands that go back, against a server."""

import json

from tests.cli.conftest import Shell


def loaded(shell: Shell, table: str, text: str = "id,name\n1,a\n2,b\n") -> None:
    shell.ok("ingest", table, shell.write(f"{table}.csv", text))


def test_a_table_is_dropped_listed_and_brought_back(quick: Shell) -> None:
    loaded(quick, "gone")
    assert "undrop" in quick.ok("drop", "gone").stdout
    (found,) = [t for t in quick.ok("tables", "--dropped", "--json").json()["tables"]
                if t["name"] == "gone"]  # fmt: skip
    assert found["uuid"] in quick.ok("tables", "--dropped").stdout
    assert "main.gone" in quick.ok("tables", "--dropped", "--names").stdout.splitlines()

    assert "main.again is back, with 2 rows" in quick.ok("undrop", "gone", "--as", "again").stdout

    assert quick.ok("sql", "SELECT count(*) FROM again", "--json").json()["rows"] == [[2]]
    missing = quick.run("undrop", "gone", "--json")
    assert missing.code == 3
    assert "`lakehouse tables --dropped` lists" in missing.json()["error"]["detail"]


def test_a_purge_is_for_good(quick: Shell) -> None:
    loaded(quick, "purged")
    assert quick.ok("drop", "purged", "--purge", "--yes", "--json").json()["purged"] is True
    assert quick.run("undrop", "purged").code == 3
    assert "goes with --purge" in quick.run("drop", "purged", "--uuid", "x").stderr


def test_snapshots_get_names_and_a_table_goes_back(quick: Shell) -> None:
    loaded(quick, "named")
    first = quick.ok("history", "named", "--json").json()["snapshots"][0]["snapshot_id"]
    assert "named at snapshot" in quick.ok("tag", "named", "start", "--keep-days", "30").stdout
    more = quick.write("more.csv", "id,name\n3,c\n")
    quick.ok("ingest", "named", more, "--mode", "append")
    assert "start" in quick.ok("history", "named").stdout
    listed = quick.ok("tag", "named").stdout
    assert "30 days" in listed and "for ever" in listed
    counted = ["sql", "SELECT count(*) FROM named", "--json"]
    assert quick.ok(*counted, "--as-of", "named=start").json()["rows"] == [[2]]

    done = quick.ok("rollback", "named", "start", "--json").json()
    assert (done["snapshot_id"], done["row_count"]) == (first, 2)
    assert quick.ok(*counted).json()["rows"] == [[2]]
    shown = quick.ok("rollback", "named", str(done["previous_snapshot_id"]))
    assert "with 3 rows" in shown.stdout
    assert f"`lakehouse rollback named {first}` undoes it" in shown.stderr

    assert quick.ok("branch", "named", "audit", "--json").json()["type"] == "branch"
    assert quick.ok("branch", "named", "audit", "--delete").stdout == "audit is removed\n"
    assert quick.run("tag", "named", "nothing", "--delete").code == 3
    assert quick.run("tag", "named", "--move").code == 2


def test_what_changed_is_shown_counted_and_exported(quick: Shell) -> None:
    loaded(quick, "moved")
    quick.ok("tag", "moved", "start")
    quick.ok("ingest", "moved", quick.write("moved.csv", "id,name\n2,b\n3,c\n"))

    counted = quick.ok("diff", "moved", "--json").json()
    assert (counted["inserted_rows"], counted["deleted_rows"]) == (1, 1)
    rows = quick.ok("diff", "moved", "start", "main", "--rows", "5", "--json").json()["rows"]
    assert sorted(row[:3] for row in rows) == [[1, "a", "delete"], [3, "c", "insert"]]
    assert "insert" in quick.ok("diff", "moved", "--rows", "1").stdout

    changed = quick.ok("changes", "moved", "--since", "start", "--json").json()
    assert [row[2] for row in changed["rows"]] == ["delete", "insert"]
    assert changed["until"] == counted["to_snapshot_id"]
    assert "4 rows" in quick.ok("changes", "moved").stderr

    said = quick.ok("export", "moved", "--as-of", "start", "-o", "out.ndjson", "--json").json()
    assert said["size_bytes"] == (quick.folder / "out.ndjson").stat().st_size
    lines = (quick.folder / "out.ndjson").read_text().splitlines()
    assert lines == ['{"id":1,"name":"a"}', '{"id":2,"name":"b"}']
    quick.ok("export", "moved", "-o", "out.json")
    rows = json.loads((quick.folder / "out.json").read_text())
    assert [row["name"] for row in rows] == ["b", "c"]
    assert quick.run("export", "moved", "--json").code == 2
    assert quick.run("export", "nothing", "-o", "no.csv").code == 3
    assert not (quick.folder / "no.csv").exists()


def test_an_export_goes_to_a_pipe(shell: Shell) -> None:
    loaded(shell, "exported_to_pipe")
    assert shell.ok("export", "exported_to_pipe").stdout.splitlines() == ["id,name", "1,a", "2,b"]
