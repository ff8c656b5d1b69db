"""Every sentence of the page on security has what shows it, or says what it waits for."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lakehouse.app import Lakehouse, create_app
from tests.query.test_security_list import REFUSED
from tests.services import ROOT, client_of

PAGE = ROOT / "docs" / "security-model.md"
ROWS = Path(__file__).with_name("requirements.toml")
UNIT = ROOT / "deploy" / "lakehouse.service"
ADDRESS = re.compile(
    "address|bucket|callback|directory|endpoint|file|folder|hook|host|href|link|location|path"
    "|proxy|server|source|uri|url"
)
"""What a field may be called that holds where to go."""
REVIEWED = {
    "addresses": "networks that a token may be used from; nothing is sent there",
    "clear_source": "whether a merge leaves the collection empty that it takes from",
    "directory": "one of `backup.directories`, or 403",
    "file": "the bytes of an upload",
    "filename": "what an upload was called at home: its ending says the format, nothing is opened",
    "source": "a key, or a bucket and prefix that `storage.sources` lists, at `storage.endpoint`",
    "files": "prefix and metadata of an adoption: keys of the warehouse, or 400",
}


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    says: str
    tests: list[str] = []
    later: str = ""
    why: str = ""
    differs: str = ""
    refused: bool = False
    """The statements in it are in the list of those that are refused."""


def load_rows() -> list[Row]:
    return msgspec.convert(tomllib.loads(ROWS.read_text())["row"], list[Row])


def sentences(page: str) -> Iterator[str]:
    """Yield what the page says: its sentences, the parts of those, the items of its list."""
    for block in re.split(r"\n(?:\s*\n|(?=[-#]))", page):
        text = " ".join(line.strip() for line in block.splitlines() if not line.startswith("#"))
        yield from filter(None, re.split(r"(?<=[.;])\s+(?![^(]*\))| · ", text.removeprefix("- ")))


def test_every_sentence_has_a_row_and_every_row_a_sentence() -> None:
    said = list(sentences(PAGE.read_text()))
    rows = [row.says for row in load_rows()]

    assert len(said) > 80
    assert [each for each in said if each not in rows] == [], "a row is missing for each of these"
    assert [each for each in rows if each not in said] == [], "the page no longer says these"
    assert rows == said, "rows are in the order of the page"


@cache
def functions(path: str) -> frozenset[str]:
    """Return the functions of a file."""
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(each.name for each in tree.body if isinstance(each, kinds))


@pytest.mark.parametrize("row", load_rows(), ids=lambda row: ascii(row.says[:60]))
def test_a_row_names_tests_that_are_there_or_what_it_waits_for(row: Row) -> None:
    assert row.tests or row.later or row.why or row.refused
    for node in row.tests:
        path, _, name = node.partition("::")
        assert (ROOT / path).is_file(), path
        assert name in functions(path), node
    if row.refused:
        written = re.findall(r"`([^`]+)`", row.says)
        begins = [re.split(r"\.\.|\*$", each)[0] for each in written]
        assert begins
        for begin in begins:
            assert any(begin in statement for statement in REFUSED), begin


def test_what_waits_is_little_and_named() -> None:
    """`pytest -s` lists it. A part that has come has its tests, and waits no longer."""
    waiting = [row for row in load_rows() if row.later]
    print(*(f"later ({row.later}): {row.says[:80]}" for row in waiting), sep="\n")

    packages = {path.name for path in (ROOT / "lakehouse").iterdir() if path.is_dir()}
    for word, package in {"agent memory": "memory", "vectors": "vectors"}.items():
        still = [row.says for row in waiting if word in row.later]
        assert package not in packages or not still, f"{package} is there: show {still}"
    assert len([row for row in waiting if not row.tests]) <= 3


async def test_no_field_of_a_request_is_an_address_or_a_path_of_the_host(lake: Lakehouse) -> None:
    async with client_of(create_app(lake).from_operator) as client:
        names = set(fields(await document(client)))

    assert len(names) > 60
    assert {each for each in names if ADDRESS.search(each.lower())} == set(REVIEWED)


async def document(client: httpx.AsyncClient) -> Any:
    return (await client.get("/schema/openapi.json")).json()


def fields(openapi: Any) -> Iterator[str]:
    """Yield the name of everything that a request may say."""
    for operations in openapi["paths"].values():
        for operation in operations.values():
            yield from (each["name"] for each in operation.get("parameters", []))
            yield from properties(operation.get("requestBody", {}), openapi, frozenset())


def properties(schema: Any, openapi: Any, above: frozenset[str]) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from properties(each, openapi, above)
    elif isinstance(schema, dict):
        name = schema.get("$ref", "").rpartition("/")[2]
        if name and name not in above:
            yield from properties(openapi["components"]["schemas"][name], openapi, above | {name})
        yield from schema.get("properties", {})
        for key, value in schema.items():
            if key not in {"example", "examples"}:
                yield from properties(value, openapi, above)


def test_the_unit_has_what_the_page_names() -> None:
    """`systemd-analyze` gives points; this says that what was promised is in it."""
    unit = UNIT.read_text()
    (row,) = (each for each in load_rows() if each.says.startswith("systemd:"))
    for named in re.findall(r"`([^`]+)`", row.says):
        assert re.search(rf"^#? ?{named}(?:=(?!no)|$)", unit, re.MULTILINE), named
