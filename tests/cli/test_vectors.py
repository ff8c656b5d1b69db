"""Collections as commands: files in, what is near out."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli.conftest import Shell


def test_json_lines_are_added_in_batches_and_found(quick: Shell) -> None:
    rows = [{"id": n, "vector": [1, n], "year": 2000 + n % 30} for n in range(2_500)]
    quick.write("items.jsonl", "\n".join(map(json.dumps, rows)))
    quick.ok("vectors", "create", "lines", "--dimension", "2", "--column", "year=integer")

    added = quick.ok("vectors", "add", "lines", "items.jsonl", "--json").json()
    words = ("vectors", "search", "lines", "--vector", "[1, 0]", "-k", "2")
    found = quick.ok(*words, "--filter", '{"year": 2005}', "--json").json()
    checked = quick.ok("vectors", "check", "lines", "--queries", "5", "--json").json()

    assert added == {"added": 2_500, "length": 2_500}
    assert [hit["id"] for hit in found["results"]] == ["5", "35"]
    assert checked["recall"] == 1.0
    assert "2500" in quick.ok("vectors", "info", "lines").stdout


def test_csv_and_parquet_name_their_columns(quick: Shell) -> None:
    quick.write("a.csv", "key,said,zip,year\nx,The lake froze over.,01234,2024\n")
    table = pa.table({"key": ["y"], "said": ["Interest rates were raised."], "year": [2020]})
    pq.write_table(table, quick.folder / "b.parquet")
    quick.ok("vectors", "create", "named")
    for file in ("a.csv", "b.parquet"):
        quick.ok("vectors", "add", "named", file, "--id", "key", "--text", "said")

    found = quick.ok("vectors", "search", "named", "ice", "--json").json()["results"]

    words = quick.ok("vectors", "search", "named", "froze", "--mode", "text")

    assert "score" in words.stdout and " x " in words.stdout and " y " not in words.stdout
    assert [hit["id"] for hit in found] == ["x", "y"]
    assert found[0]["metadata"] == {"zip": "01234", "year": 2024}


def test_a_wrong_row_is_named(quick: Shell) -> None:
    quick.write("bad.jsonl", '{"id": "a", "vector": [1, 0]}\n{"id": "b"}\n')
    quick.write("long.jsonl", '{"id": "a", "vector": [1, 0, 0]}\n')
    quick.write("cells.csv", "id,vector\na\n")
    quick.ok("vectors", "create", "strict", "--dimension", "2")

    for file, words in (("bad", "row 2"), ("long", "rows 1 to 1")):
        refused = quick.run("vectors", "add", "strict", f"{file}.jsonl")
        assert refused.code == 5
        assert words in " ".join(refused.stderr.split())
    assert "row 1" in quick.run("vectors", "add", "strict", "cells.csv").stderr
    (quick.folder / "bytes.csv").write_bytes(b'id,vector\nok,"[1, 0]"\n\xff,"[1, 0]"\n')
    broken = quick.run("vectors", "add", "strict", "bytes.csv")
    assert broken.code == 5 and "row 2" in broken.stderr
    assert quick.ok("vectors", "info", "strict", "--json").json()["length"] == 0


def test_a_dropped_collection_is_not_found(quick: Shell) -> None:
    quick.ok("vectors", "create", "gone", "--dimension", "2")
    quick.ok("vectors", "drop", "gone")

    assert quick.run("vectors", "info", "gone").code == 3
    assert "gone" not in quick.ok("vectors", "list").stdout
    assert quick.run("vectors", "search", "gone").code == 2


def test_files_are_written_together_when_it_is_asked_for(quick: Shell) -> None:
    quick.ok("vectors", "create", "tidy", "--dimension", "2")
    for number in range(3):
        quick.write("one.jsonl", json.dumps({"id": number, "vector": [1, number]}))
        quick.ok("vectors", "add", "tidy", "one.jsonl")

    done = quick.ok("vectors", "optimize", "tidy", "--json").json()

    assert (done["merged"], done["fragments"], done["built"]) == (3, 1, [])
    assert "pieces now" in quick.ok("vectors", "optimize", "tidy").stdout
    assert quick.run("vectors", "optimize", "nobody").code == 3


def test_texts_of_the_same_model_are_not_embedded_again(quick: Shell) -> None:
    quick.write("said.jsonl", json.dumps({"id": "a", "text": "The lake froze over."}))
    quick.ok("vectors", "create", "said")
    quick.ok("vectors", "add", "said", "said.jsonl")

    assert "Nothing to do" in quick.ok("vectors", "reembed", "said").stdout
    assert quick.ok("vectors", "reembed", "said", "--json").json()["embedded"] == 0
    assert quick.run("vectors", "reembed", "said", "--model", "nobody").code == 3


def test_markdown_and_texts_are_split_and_replaced_by_their_paths(quick: Shell) -> None:
    sections = "\n\n".join(f"## Part {n}\n\n{'The lake froze over. ' * 20}" for n in range(5))
    quick.write("guide.md", f"# Guide\n\n{sections}")
    quick.write("said.txt", "Interest rates were raised again. " * 100)
    quick.ok("vectors", "create", "guides")

    added = quick.ok("vectors", "add", "guides", "guide.md", "said.txt", "--json").json()
    words = ("vectors", "search", "guides", "ice in winter", "-k", "1", "--json")
    (found,) = quick.ok(*words).json()["results"]
    quick.write("guide.md", "# Guide\n\nInterest rates were raised again.")
    again = quick.ok("vectors", "add", "guides", "guide.md")

    chunks = {each["id"]: each["chunks"] for each in added["added"]}
    assert chunks["guide.md"] == 6 and chunks["said.txt"] >= 4 and added["failed"] == []
    assert added["length"] == sum(chunks.values())
    assert found["metadata"]["document"] == "guide.md"
    assert found["metadata"]["headings"][0] == "Guide"
    assert f"has {chunks['said.txt'] + 1} items" in " ".join(again.stdout.split())


def test_what_is_no_text_is_named_and_the_others_are_there(quick: Shell) -> None:
    quick.write("one.notes", "The lake froze over.")
    quick.write("empty.txt", " ")
    (quick.folder / "bytes.txt").write_bytes(b"\xff\xfe")
    quick.write("row.csv", "id,text\na,b\n")
    quick.ok("vectors", "create", "some")

    mixed = quick.run("vectors", "add", "some", "row.csv", "empty.txt")
    failed = quick.run("vectors", "add", "some", "--documents", "one.notes", "empty.txt")
    broken = quick.run("vectors", "add", "some", "bytes.txt")
    missing = quick.run("vectors", "add", "some", "nothing.md")

    assert mixed.code == 2 and "two commands" in mixed.stderr
    assert failed.code == 5 and "empty.txt" in failed.stderr and "1 document added" in failed.stdout
    assert broken.code == 5 and "no text in UTF-8" in broken.stderr
    assert missing.code == 5 and "no such file" in missing.stderr
    assert quick.ok("vectors", "info", "some", "--json").json()["length"] == 1


def test_a_collection_is_derived_from_a_table(quick: Shell) -> None:
    quick.write("reviews.csv", "nr,comment,stars\n1,The lake froze over.,5\n2,Rates rose.,1\n")
    quick.ok("ingest", "reviews.csv")
    named = ("--id", "nr", "--text", "comment", "--metadata", "stars")

    quick.ok("vectors", "create", "opinions", "--from-table", "reviews", *named)

    found = quick.ok("vectors", "search", "opinions", "ice", "-k", "1", "--json").json()["results"]
    assert [(hit["id"], hit["metadata"]) for hit in found] == [("1", {"stars": 5})]
    told = quick.ok("vectors", "info", "opinions").stdout
    assert "reviews (nr, comment)" in told and "current" in told
    refused = quick.run("vectors", "create", "none", "--metadata", "stars")
    assert refused.code == 2 and "--from-table" in refused.stderr


def test_a_statement_reads_what_a_search_finds(quick: Shell) -> None:
    quick.write("notes.jsonl", '{"id": "a", "text": "The lake froze over."}\n')
    quick.ok("vectors", "create", "asked")
    quick.ok("vectors", "add", "asked", "notes.jsonl")
    search = 'hits={"collection": "asked", "text": "ice", "k": 1}'

    found = quick.ok("sql", "SELECT id FROM hits", "--search", search, "--json").json()
    refused = quick.run("sql", "SELECT 1", "--search", "hits=asked")
    missing = quick.run("sql", "SELECT 1", "--search", 'hits={"collection": "none", "text": "a"}')

    assert found["rows"] == [["a"]]
    assert refused.code == 2 and "NAME=" in refused.stderr
    assert missing.code == 3
