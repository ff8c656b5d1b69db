"""`lakehouse connect`: each snippet is run as it is printed, by the engine that it is for."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import duckdb
import httpx
import pytest

from lakehouse.cli.connect_commands import ENGINES
from lakehouse.cli.connecting import FORMS, Lake, snippet, writes_to
from lakehouse.client import Grant, IcebergConfig, Role
from tests import object_store
from tests.cli.conftest import Shell
from tests.engines import duckdb_extensions, environment_of, jars
from tests.services import ServerProcess, environment, lakehouse_server

TIMEOUT_S = 240
"""Spark takes 12 s for its first answer where it has two cores to itself."""
PACKAGES = "spark.jars.packages"


@dataclass(frozen=True)
class Place:
    """A server, and what its callers and readers of its files have to bring."""

    url: str
    keys: dict[str, str]

    def connect(self, *words: str) -> str:
        return Shell(Path.cwd(), self.url).ok("connect", *words, **self.keys).stdout

    def rows_written_by(self, engine: str) -> int:
        """Return how many rows the server itself finds in the table that a snippet made."""
        statement = f"SELECT count(*) AS n FROM trial_{engine}"
        done = Shell(Path.cwd(), self.url).ok("sql", statement, "--json", **self.keys)
        return int(done.json()["rows"][0][0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A warehouse in a folder, and a server that is open to this machine."""
    with lakehouse_server(tmp_path_factory.mktemp("folder") / "data") as server:
        yield filled(Place(server.url, {}), server)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A warehouse in a bucket, and a server that asks for a token."""
    root = tmp_path_factory.mktemp("bucket")
    settings = object_store.settings(root)
    keys = {
        "AWS_ACCESS_KEY_ID": object_store.USER,
        "AWS_SECRET_ACCESS_KEY": object_store.PASSWORD,
    }
    with lakehouse_server(root / "data", port=None, **object_store.variables(settings)) as server:
        made = Shell(root, "").ok(
            "token", "create", "me", "--role", "admin", "--data", root / "data", "--json"
        )
        yield filled(Place(server.url, {"LAKEHOUSE_TOKEN": made.json()["token"], **keys}), server)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def filled(place: Place, server: ServerProcess) -> Place:
    token = place.keys.get("LAKEHOUSE_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        query = {"name": "people", "format": "ndjson"}
        rows = b'{"id":1,"name":"Ada"}\n{"id":2,"name":"Bo"}\n'
        client.post("/v1/ingest", params=query, content=rows).raise_for_status()
    return place


def said(place: Place, program: Path, *arguments: Path | str, **more: str) -> str:
    """Return what an engine prints."""
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment(**place.keys, **more),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def run_by(python: Path, place: Place, text: str, into: Path) -> str:
    (into / "snippet.py").write_text(text)
    return said(place, python, "-W", "error", into / "snippet.py")


BOTH = pytest.mark.parametrize(
    "place",
    ["folder", pytest.param("bucket", marks=pytest.mark.slow)],
    indirect=True,
)


@BOTH
def test_duckdb(place: Place, tmp_path: Path) -> None:
    extensions = duckdb_extensions(tmp_path)
    text = place.connect("duckdb", "--table", "people")
    with duckdb.connect(config={"extension_directory": str(extensions)}) as engine:
        # The shell has a function that programs have not.
        engine.create_function("getenv", lambda name: place.keys[name], ["VARCHAR"], "VARCHAR")
        rows = [engine.execute(each.query).fetchall() for each in engine.extract_statements(text)]
    assert [(1, "Ada"), (2, "Bo")] in rows
    assert rows[-1] == [(2,)]
    assert place.rows_written_by("duckdb") == 2


@BOTH
@pytest.mark.parametrize("engine", ["pyiceberg", "jupyter"])
def test_pyiceberg_and_a_notebook(place: Place, engine: str, tmp_path: Path) -> None:
    text = place.connect(engine, "--table", "people")
    assert "Ada" in run_by(Path(sys.executable), place, text, tmp_path)
    assert place.rows_written_by(engine) == 2


@BOTH
def test_polars(place: Place, tmp_path: Path) -> None:
    pytest.importorskip("polars_iceberg")
    text = place.connect("polars", "--table", "people")
    assert "Ada" in run_by(Path(sys.executable), place, text, tmp_path)
    assert place.rows_written_by("polars") == 2


@pytest.mark.slow
@BOTH
def test_daft(place: Place, tmp_path: Path) -> None:
    python = environment_of("daft") / "python"
    text = place.connect("daft", "--table", "people")
    assert "Ada" in run_by(python, place, text, tmp_path)
    assert place.rows_written_by("daft") == 2


@pytest.mark.slow
@BOTH
def test_spark(place: Place, tmp_path: Path) -> None:
    python = environment_of("spark") / "python"
    text = place.connect("spark", "--table", "people")
    assert PACKAGES in text
    # What it would fetch is here already.
    here = f'"spark.jars": {",".join(map(str, jars("jars")))!r}, "{PACKAGES}.before"'
    text = text.replace(f'"{PACKAGES}"', here)
    assert "Ada" in run_by(python, place, text, tmp_path)
    assert place.rows_written_by("spark") == 2


@pytest.mark.slow
@BOTH
def test_dbt(place: Place, tmp_path: Path) -> None:
    dbt = environment_of("dbt") / "dbt"
    duckdb_extensions(tmp_path / ".duckdb/extensions")
    (tmp_path / "profiles.yml").write_text(place.connect("dbt", "--table", "people"))
    (tmp_path / "dbt_project.yml").write_text("name: lake\nprofile: lake\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/first.sql").write_text('SELECT * FROM lake."main"."people"')
    where = f"--project-dir={tmp_path}", f"--profiles-dir={tmp_path}"
    shown = said(place, dbt, "show", "-s", "first", *where, HOME=str(tmp_path))
    assert "Ada" in shown


def test_bare_it_lists_the_engines_and_each_has_its_snippet(alone: Shell) -> None:
    done = alone.ok("connect")
    assert all(f" {name} " in done.stdout for name in ENGINES)
    assert [each["engine"] for each in alone.ok("connect", "--json").json()["engines"]] == [
        *ENGINES
    ]
    found = {each.name for each in files("lakehouse.cli.snippets").iterdir()}
    assert {f"{name}.txt" for name in ENGINES} == {name for name in found if name.endswith(".txt")}


def test_a_token_is_named_and_never_shown(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server:
        shell = Shell(tmp_path, server.url)
        secret = shell.ok(
            "token", "create", "me", "--role", "admin", "--json", "--data", tmp_path / "data"
        ).json()["token"]
        refused = shell.run("connect", "duckdb")
        assert refused.code == 7 and "LAKEHOUSE_TOKEN" in refused.stderr
        assert refused.stdout == ""
        for engine in ENGINES:
            text = shell.ok("connect", engine, LAKEHOUSE_TOKEN=secret).stdout
            assert "LAKEHOUSE_TOKEN" in text, engine
            assert secret not in text
            assert "main" in text and "people" not in text  # there is no table yet


def test_it_begins_where_the_token_may_read(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server:
        shell = Shell(tmp_path, server.url)
        rows = shell.write("rows.csv", "id\n1\n")
        shell.ok("ingest", "people", rows)
        shell.ok("ingest", "sales.orders", rows)
        create = ("token", "create", "me", "--on", "sales", "--json", "--data", server.data_dir)
        secret = shell.ok(*create).json()["token"]
        text = shell.ok("connect", "duckdb", LAKEHOUSE_TOKEN=secret).stdout
    assert "DEFAULT_SCHEMA 'sales'" in text
    assert 'FROM lake."sales"."orders"' in text and "people" not in text
    assert "trial_" not in text  # the token is a reader's: the engine would stop there


def test_without_a_server_there_is_no_snippet(alone: Shell, free_port: int, tmp_path: Path) -> None:
    nobody = alone.run("connect", "spark", "--url", f"http://127.0.0.1:{free_port}")
    assert (nobody.code, nobody.stdout) == (6, "")
    assert "no server answers" in nobody.stderr
    assert alone.run("connect", "spark", "--data", tmp_path).code == 6
    assert alone.run("connect", "oracle").code == 2


def test_it_is_the_server_that_holds_a_directory(alone: Shell, served: ServerProcess) -> None:
    found = alone.ok("connect", "trino", "--data", served.data_dir, "--json").json()
    assert (found["engine"], found["url"]) == ("trino", served.url)
    assert found["warehouse"] == "folder"
    assert f"uri={served.url}/iceberg\n" in found["snippet"]


def test_a_table_that_is_named_is_there(alone: Shell, folder: Place) -> None:
    text = folder.connect("pyiceberg", "--table", "main.people")
    assert 'load_table(("main", "people"))' in text
    refused = alone.run("connect", "pyiceberg", "--table", "nope", "--url", folder.url)
    assert (refused.code, refused.stdout) == (3, "")


def test_names_are_quoted_as_each_engine_quotes() -> None:
    words = ("a.b", "it's `a\" name")
    assert FORMS["quoted"](words) == '"a.b"."it\'s `a"" name"'
    assert FORMS["ticked"](words) == r"`a`.`b`.`it's ``a\" name`"
    assert FORMS["path"](words) == r"""("a", "b", "it's `a\" name")"""
    assert FORMS["path"](("main",)) == '("main",)'
    assert FORMS["sql"](("it's",)) == "'it''s'"


ODD = [
    'a` LIMIT 1"); print("PWNED"); ("',
    "it's `a\" \\x22 '",
    "back\\",
    '\\"); print(1)#',
    "'; DROP TABLE x; --",
    "'a'); DROP TABLE x; SELECT ('b'",
    '"a"; DROP TABLE x; SELECT "b"',
    "{{ 1 + 1 }}{% raw %}{# #}",
    "${env:HOME}",
    r"\N{BULLET} \U0001f600",
]
"""Names that a table may have, and a level of a namespace as far as it has no dot."""
PYTHON = ["daft", "jupyter", "polars", "pyiceberg", "spark"]


def of_names(engine: str, namespace: str, table: str) -> str:
    config = IcebergConfig(endpoints=[], defaults={})
    return snippet(engine, Lake("https://lake.example", config, namespace, table, True, True))


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("engine", PYTHON)
def test_a_name_runs_no_python(engine: str, name: str) -> None:
    def shape(text: str) -> tuple[int, str, list[object]]:
        """Return how many statements there are, the tree without texts, and the texts."""
        tree = ast.parse(text)
        texts: list[object] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant):
                texts.append(node.value)
                node.value = None
        return len(tree.body), ast.dump(tree), texts

    plain, odd = shape(of_names(engine, "b", "a")), shape(of_names(engine, name, name))
    assert odd[:2] == plain[:2]
    wanted = f".`{name.replace('`', '``')}`" if engine == "spark" else name
    assert any(isinstance(text, str) and wanted in text for text in odd[2])


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(("engine", "mark"), [("duckdb", ""), ("trino", "#   ")])
def test_a_name_runs_no_sql(engine: str, mark: str, name: str) -> None:
    def statements(text: str) -> list[str]:
        lines = [line.removeprefix(mark) for line in text.splitlines() if line.startswith(mark)]
        with duckdb.connect() as parser:
            # SHOW TABLES of Trino is not DuckDB's; what stands in quotes is all that matters here.
            text = "\n".join(lines).replace("SHOW TABLES FROM ", "FROM ")
            return [each.query.strip() for each in parser.extract_statements(text)]

    plain, odd = (statements(of_names(engine, each, each)) for each in ("plain", name))
    as_name, as_text = name.replace('"', '""'), name.replace("'", "''")
    expected = [
        each.replace('"plain"', f'"{as_name}"').replace("'plain'", f"'{as_text}'") for each in plain
    ]
    assert odd == expected


@pytest.mark.parametrize("name", ODD)
def test_a_name_runs_nothing_of_dbt(name: str) -> None:
    def rendered(text: str) -> str:
        """Return what Jinja makes of it, which looks for nothing but braces."""
        plain = text.replace("{{ '{' }}", "\0")
        assert "{" not in plain
        return plain.replace("\0", "{")

    text = of_names("dbt", name, name)
    (option,) = [line for line in text.splitlines() if "default_schema" in line]
    said = rendered(json.loads(option.partition(":")[2]))
    # With quotes at both ends it is a literal of SQL for dbt, which has to be a whole one.
    with duckdb.connect() as engine:
        assert engine.sql(f"SELECT {said}").fetchone() == (name,)
    model = text.splitlines()[-1].removeprefix("#   ")
    as_name = name.replace('"', '""')
    assert rendered(model) == f'SELECT * FROM lake."{as_name}"."{as_name}"'


@pytest.mark.parametrize(
    ("role", "on", "may"),
    [
        ("writer", "*", True),
        ("admin", "a", True),
        ("writer", "a.b", True),
        ("writer", "a.b.c", False),
        ("writer", "aa", False),
        ("reader", "*", False),
        ("writer", "objects:a", False),
    ],
)
def test_a_snippet_writes_where_the_caller_may(role: Role, on: str, may: bool) -> None:
    assert writes_to("a.b", Grant(role, on)) == may


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("has_token", [True, False])
@pytest.mark.parametrize("store", [{}, {"s3.endpoint": "https://s3.example", "s3.region": "eu"}])
def test_nothing_is_left_to_fill_in(engine: str, has_token: bool, store: dict[str, str]) -> None:
    config = IcebergConfig(endpoints=[], defaults=store)
    text = snippet(engine, Lake("https://lake.example", config, "a.b", "people", has_token, True))
    assert "https://lake.example/iceberg" in text
    assert ("LAKEHOUSE_TOKEN" in text) == has_token
    assert ("AWS_ACCESS_KEY_ID" in text) == bool(store)
    assert not any(line.startswith("[") or "<json" in line for line in text.splitlines())
