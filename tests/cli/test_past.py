"""Commands that go back, against a server."""

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
    assert "dropped=true" in missing.json()["error"]["detail"]


def test_a_purge_is_for_good(quick: Shell) -> None:
    loaded(quick, "purged")
    assert quick.ok("drop", "purged", "--purge", "--json").json()["purged"] is True
    assert quick.run("undrop", "purged").code == 3
    assert "goes with --purge" in quick.run("drop", "purged", "--uuid", "x").stderr
