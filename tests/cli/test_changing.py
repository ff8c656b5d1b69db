"""Commands that change rows, against a server."""

from tests.cli.conftest import Shell


def loaded(shell: Shell, table: str) -> None:
    shell.ok("ingest", table, shell.write(f"{table}.csv", "id,city,price\n1,Bern,2\n2,Chur,3\n"))


def rows(shell: Shell, table: str) -> object:
    return shell.ok("sql", f"FROM {table} ORDER BY id", "--json").json()["rows"]


def test_rows_are_updated_and_deleted_by_a_condition(quick: Shell) -> None:
    loaded(quick, "shop")
    done = quick.ok(
        "update", "shop", "--set", "price = price * 10", "--where", "city = $c", "-p", "c=Bern"
    )
    assert "main.shop: 1 row updated; 2 rows in all" in done.stdout
    assert rows(quick, "shop") == [[1, "Bern", 20], [2, "Chur", 3]]
    report = quick.ok("delete", "shop", "--where", "price > 10", "--json").json()
    assert (report["deleted_rows"], report["row_count"]) == (1, 1)
    nothing = quick.ok("delete", "shop", "--where", "id > 100")
    assert "no row changes; nothing was written" in nothing.stdout


def test_what_is_no_condition_says_so(quick: Shell) -> None:
    loaded(quick, "kept")
    refused = quick.run("delete", "kept", "--where", "1=1) OR (SELECT 1")
    assert refused.code != 0
    assert rows(quick, "kept") == [[1, "Bern", 2], [2, "Chur", 3]]
    assert "COLUMN=SQL" in quick.run("update", "kept", "--set", "x", "--where", "true").stderr


def test_a_file_is_merged_by_key_and_a_table_made_from_a_query(quick: Shell) -> None:
    loaded(quick, "items")
    more = quick.write("more.csv", "id,city,price\n2,Chur,9\n3,Thun,1\n")
    done = quick.ok("ingest", "items", more, "--mode", "upsert", "--key", "id")
    assert "1 row loaded, 1 updated; 3 rows in all" in done.stdout
    made = quick.ok("make", "cities", "SELECT city, sum(price) AS total FROM items GROUP BY city")
    assert "main.cities is made: 3 rows added" in made.stdout
    again = quick.run("make", "cities", "SELECT 1 AS a")
    assert again.code != 0 and "already" in again.stderr


def test_properties_are_shown_set_and_removed(quick: Shell) -> None:
    loaded(quick, "kept_long")
    assert "has none" in quick.ok("properties", "kept_long").stdout
    shown = quick.ok("properties", "kept_long", "gc.enabled=false", "user.owner=ada").stdout
    assert "gc.enabled" in shown and "ada" in shown
    left = quick.ok("properties", "kept_long", "--remove", "gc.enabled", "--json").json()
    assert left["properties"] == {"user.owner": "ada"}
    assert "NAME=VALUE" in quick.run("properties", "kept_long", "gc.enabled").stderr
