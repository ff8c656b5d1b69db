"""Imports point down and through the front door; HTTP and engines stay where they belong.

The layers and the doors are read from docs/architecture.md, so that page cannot drift.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"

VAGUE = {"utils", "util", "common", "base", "services", "manager", "helpers", "misc"}
READ_AT_RUN_TIME = {"routes", "models"}  # Litestar and msgspec read their annotations


def block(name: str) -> list[list[str]]:
    """Return the words of each line of the fenced block `name` of the page."""
    found = re.search(rf"^```{name}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"docs/architecture.md has no block named {name}"
    return [line.split() for line in found[1].splitlines() if line.strip()]


LEVEL = {name: level for level, line in enumerate(reversed(block("layers"))) for name in line}
DOORS = {engine: set(owners) for engine, *owners in block("doors")}


@dataclass(frozen=True)
class Import:
    module: str  # dotted, in full; for `from lakehouse import x` it is `lakehouse.x`
    line: int
    relative: bool = False


def imports(tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield Import(node.module or "", node.lineno, relative=True)
        elif isinstance(node, ast.ImportFrom) and node.module == "lakehouse":
            yield from (Import(f"lakehouse.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", node.lineno)


def violations(package_root: Path) -> list[str]:
    """Return one sentence for each rule that a file of the tree breaks."""
    return [
        f"{path.relative_to(package_root.parent)}{sentence}"
        for path in sorted(package_root.rglob("*.py"))
        for sentence in broken_in(path, package_root)
    ]


def broken_in(path: Path, package_root: Path) -> Iterator[str]:
    parts = path.relative_to(package_root).with_suffix("").parts
    package, stem = parts[0], kind_of(parts[-1])
    tree = ast.parse(path.read_text())

    if stem in VAGUE:
        yield f": say what it is; {stem!r} names nothing"
    if package == "__init__":  # the version, nothing else
        yield from (
            f":{each.line}: the top of the package imports nothing" for each in imports(tree)
        )
        return
    if package not in LEVEL:
        yield f": {package} is not in the layers of docs/architecture.md"
        return
    if stem == "__init__" and not ast.get_docstring(tree):
        yield f": the package {package} says in one sentence what it is"
    if stem in READ_AT_RUN_TIME:
        yield from annotations_that_vanish(tree, stem)

    place = stem if stem in {"routes", "guards"} else package
    for each in imports(tree):
        if each.relative:
            yield f":{each.line}: {package} imports in full, from lakehouse..."
            continue
        yield from (f":{each.line}: {why}" for why in wrong_with(each.module, package, place))


def kind_of(stem: str) -> str:
    """Return what a file is by its name: `schema_routes` are routes like any."""
    return "routes" if stem.endswith("_routes") else stem


def wrong_with(module: str, package: str, place: str) -> Iterator[str]:
    top, _, rest = module.partition(".")
    if top in DOORS and not DOORS[top] & {package, place}:
        if top == "litestar":
            yield f"{package} imports litestar: only the edge speaks HTTP"
        else:
            owners = " and ".join(f"lakehouse.{owner}" for owner in sorted(DOORS[top]))
            yield f"{package} imports {top}: it is used through {owners}"
    if top != "lakehouse" or not rest:
        return
    target, _, inner = rest.partition(".")
    inner = kind_of(inner)
    if target == package or target.startswith("__"):
        return
    if target not in LEVEL:
        yield f"{package} imports {target}, which is not in the layers"
        return
    if inner in {"routes", "guards"} and package != "app":
        yield f"{package} imports the routes of {target}: app.py alone puts them together"
        return
    level = LEVEL[inner] if inner in {"routes", "guards"} else LEVEL[target]
    if level == LEVEL[place]:
        yield f"{package} imports {target}: packages on one line do not know each other"
    elif level > LEVEL[place]:
        yield f"{package} imports {target}: imports point down"
    elif inner and package != "app" and target != "api":  # api is a shelf, it has no noun
        front = f"lakehouse.{target}"
        yield f"{package} imports {front}.{inner}: use {front}, its front door"


def annotations_that_vanish(tree: ast.Module, stem: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            yield f":{node.lineno}: {stem}.py is read while it runs: no __future__ annotations"
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield f":{node.lineno}: {stem}.py is read while it runs: no TYPE_CHECKING"


def test_the_tree_keeps_its_layers_and_doors() -> None:
    assert violations(ROOT / "lakehouse") == []


PLANTED = {
    "query/query.py": (
        "from lakehouse.memory import Memory",
        "query/query.py:1: query imports memory: packages on one line do not know each other",
    ),
    "catalog/catalog.py": (
        "from lakehouse.ingest import load",
        "catalog/catalog.py:1: catalog imports ingest: imports point down",
    ),
    "storage/local.py": (
        "from lakehouse import query",
        "storage/local.py:1: storage imports query: imports point down",
    ),
    "ingest/load.py": (
        "import os\nfrom lakehouse.catalog.tables import Tables",
        "ingest/load.py:2: ingest imports lakehouse.catalog.tables: "
        "use lakehouse.catalog, its front door",
    ),
    "ingest/files.py": (
        "def read():\n    import duckdb",
        "ingest/files.py:2: ingest imports duckdb: "
        "it is used through lakehouse.database and lakehouse.taster",
    ),
    "query/encoding.py": (
        "from litestar import Response",
        "query/encoding.py:1: query imports litestar: only the edge speaks HTTP",
    ),
    "storage/s3.py": (
        "from pyiceberg.io import FileIO",
        "storage/s3.py:1: storage imports pyiceberg: "
        "it is used through lakehouse.catalog and lakehouse.iceberg",
    ),
    "catalog/pointers.py": (
        "import sqlite3",
        "catalog/pointers.py:1: catalog imports sqlite3: it is used through lakehouse.state",
    ),
    "api/streams.py": (
        "from lakehouse.query.routes import QueryController",
        "api/streams.py:1: api imports the routes of query: app.py alone puts them together",
    ),
    "query/models.py": (
        "from __future__ import annotations",
        "query/models.py:1: models.py is read while it runs: no __future__ annotations",
    ),
    "ingest/routes.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import datetime",
        "ingest/routes.py:2: routes.py is read while it runs: no TYPE_CHECKING",
    ),
    "query/rows.py": (
        "from .encoding import encode",
        "query/rows.py:1: query imports in full, from lakehouse...",
    ),
    "ingest/utils.py": ("", "ingest/utils.py: say what it is; 'utils' names nothing"),
    "query/__init__.py": (
        "",
        "query/__init__.py: the package query says in one sentence what it is",
    ),
    "reports/pdf.py": (
        "",
        "reports/pdf.py: reports is not in the layers of docs/architecture.md",
    ),
    "__init__.py": (
        "import duckdb",
        "__init__.py:1: the top of the package imports nothing",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_named(name: str, tmp_path: Path) -> None:
    source, sentence = PLANTED[name]
    planted = tmp_path / "lakehouse" / name
    planted.parent.mkdir(parents=True)
    planted.write_text(source + "\n")

    assert violations(tmp_path / "lakehouse") == [f"lakehouse/{sentence}"]


def test_what_the_layers_allow_is_not_named(tmp_path: Path) -> None:
    allowed = {
        "app.py": "import litestar\nfrom lakehouse.query.routes import QueryController",
        "query/__init__.py": '"""SQL out."""\nfrom lakehouse.query.query import Query',
        "query/query.py": "import pyarrow\nfrom lakehouse.catalog import Catalog",
        "query/routes.py": "import litestar\nfrom lakehouse.api.streams import rows",
        "database.py": "import duckdb\nfrom lakehouse.errors import LakehouseError",
    }
    for name, source in allowed.items():
        path = tmp_path / "lakehouse" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source + "\n")

    assert violations(tmp_path / "lakehouse") == []


def test_the_page_says_of_each_package_what_its_docstring_says() -> None:
    said = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    files = {path.stem: path for path in (ROOT / "lakehouse").glob("[a-z]*.py")}
    files |= {path.parent.name: path for path in (ROOT / "lakehouse").glob("*/__init__.py")}

    sentences = {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        for name, path in files.items()
    }
    assert said == {name: text.replace("\n", " ") for name, text in sentences.items()}


def test_what_a_run_leaves_behind_is_not_in_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
