"""`lakehouse schema`, and a load that brings its columns along."""

from tests.cli.conftest import Shell


def test_columns_are_shown_and_changed(quick: Shell) -> None:
    quick.ok("ingest", "shaped", quick.write("shaped.csv", "id,name\n1,a\n"))
    quick.ok("schema", "add", "shaped", "place", "struct<zip: int>", "--after", "id")
    quick.ok("schema", "widen", "shaped", "place.zip", "long")
    quick.ok("schema", "rename", "shaped", "place.zip", "code")
    quick.ok("schema", "move", "shaped", "name", "--first")
    found = quick.ok("schema", "show", "shaped", "--json").json()
    assert [(each["id"], each["name"]) for each in found["columns"]] == [
        (2, "name"),
        (1, "id"),
        (3, "place"),
    ]
    assert found["columns"][2]["type"] == "struct<code: long>"
    assert "place.code" in quick.ok("schema", "drop", "shaped", "name").stdout
    refused = quick.run("schema", "move", "shaped", "id")
    assert refused.code != 0 and "say where" in refused.stderr


def test_a_load_brings_its_columns_when_it_is_told_to(quick: Shell) -> None:
    quick.ok("ingest", "brought", quick.write("one.csv", "id,name\n1,a\n"))
    more = quick.write("two.csv", "id,city\n2,Rome\n")
    assert "--evolve" in quick.run("ingest", "brought", more, "--mode", "append").stderr
    quick.ok("ingest", "brought", more, "--mode", "append", "--evolve")
    answer = quick.ok("sql", "SELECT * FROM brought ORDER BY id", "--json").json()
    assert answer["rows"] == [[1, "a", None], [2, None, "Rome"]]
